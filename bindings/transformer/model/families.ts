// The families of models that are known: what their tensors are called, and what their configs say. The source of each
// is its modeling file in https://github.com/huggingface/transformers/tree/main/src/transformers/models.

import { wrongValue } from "../../check.ts";
import { type Fields, activationOf } from "./fields.ts";
import type { Family, LayerSpec, Spec, TensorNames } from "./spec.ts";

const BERT_NAMES: TensorNames = {
  word: "embeddings.word_embeddings",
  position: "embeddings.position_embeddings",
  type: "embeddings.token_type_embeddings",
  embedNorm: "embeddings.LayerNorm",
  qkv: ["query", "key", "value"].map((name) => `encoder.layer.{}.attention.self.${name}`) as [string, string, string],
  o: "encoder.layer.{}.attention.output.dense",
  attentionNorm: ["encoder.layer.{}.attention.output.LayerNorm"],
  up: ["encoder.layer.{}.intermediate.dense"],
  down: "encoder.layer.{}.output.dense",
  ffnNorm: ["encoder.layer.{}.output.LayerNorm"],
  dense: "pooler.dense",
  classifier: "classifier",
};

const BERT: Family = {
  isCausal: false,
  order: "post",
  norm: "layer",
  normOffset: 0,
  isGated: false,
  transposed: false,
  denseActivation: "tanh",
  prefixes: ["bert."],
  names: BERT_NAMES,
  ignored: /^(embeddings\.position_ids|cls\..*|qa_outputs\..*)$/,
  read: (fields) => readBert(fields, 0),
};

function readBert(fields: Fields, firstPosition: number): Omit<Spec, "type" | "family"> {
  fields.only("position_embedding_type", "absolute");
  const positions = fields.number("max_position_embeddings", 512);
  return {
    ...sizesOf(fields),
    activation: activationOf(fields, ["hidden_act"], false, "gelu"),
    eps: fields.number("layer_norm_eps", 1e-12, 0),
    positions,
    types: fields.number("type_vocab_size", 2, 0),
    firstPosition,
    maxLength: positions - firstPosition,
    biases: { qkv: true, o: true, ffn: true, norm: true, head: true },
    labels: labelsOf(fields),
    layers: layersOf(fields, () => ({ window: undefined, rotary: undefined })),
  };
}

const ROBERTA: Family = {
  ...BERT,
  prefixes: ["roberta."],
  names: { ...BERT_NAMES, dense: "classifier.dense", classifier: "classifier.out_proj" },
  ignored: /^(embeddings\.position_ids|lm_head\..*|qa_outputs\..*|pooler\..*)$/,
  // Positions are counted from behind the row of the padding.
  read: (fields) => readBert(fields, fields.number("pad_token_id", 1, 0) + 1),
};

const DISTILBERT: Family = {
  ...BERT,
  denseActivation: "relu",
  prefixes: ["distilbert."],
  names: {
    word: "embeddings.word_embeddings",
    position: "embeddings.position_embeddings",
    embedNorm: "embeddings.LayerNorm",
    qkv: ["q", "k", "v"].map((name) => `transformer.layer.{}.attention.${name}_lin`) as [string, string, string],
    o: "transformer.layer.{}.attention.out_lin",
    attentionNorm: ["transformer.layer.{}.sa_layer_norm"],
    up: ["transformer.layer.{}.ffn.lin1"],
    down: "transformer.layer.{}.ffn.lin2",
    ffnNorm: ["transformer.layer.{}.output_layer_norm"],
    dense: "pre_classifier",
    classifier: "classifier",
  },
  ignored: /^(embeddings\.position_ids|vocab_(transform|layer_norm|projector)\..*|qa_outputs\..*)$/,
  read: (fields) => ({
    ...readBert(fields, 0),
    activation: activationOf(fields, ["activation"], false, "gelu"),
    eps: 1e-12,
    types: 0,
  }),
};

const MODERNBERT: Family = {
  isCausal: false,
  order: "pre",
  norm: "layer",
  normOffset: 0,
  isGated: true,
  transposed: false,
  denseActivation: "gelu",
  skipsFirstNorm: true,
  prefixes: ["model."],
  names: {
    word: "embeddings.tok_embeddings",
    embedNorm: "embeddings.norm",
    finalNorm: "final_norm",
    qkv: ["layers.{}.attn.Wqkv"],
    o: "layers.{}.attn.Wo",
    attentionNorm: ["layers.{}.attn_norm"],
    up: ["layers.{}.mlp.Wi"],
    down: "layers.{}.mlp.Wo",
    ffnNorm: ["layers.{}.mlp_norm"],
    dense: "head.dense",
    denseNorm: "head.norm",
    classifier: "classifier",
  },
  // The head of the masked language model has the dense part and the norm of the one that classifies.
  ignored: /^decoder\..*$/,
  read: (fields) => {
    fields.only("classifier_activation", "gelu");
    const sizes = sizesOf(fields);
    const left = fields.number("local_attention", 128) >> 1;
    const every = fields.number("global_attn_every_n_layers", 3);
    const pooling = fields.get("classifier_pooling") ?? "cls";
    if (pooling !== "cls" && pooling !== "mean") {
      throw wrongValue("config.classifier_pooling", '"cls" or "mean"', pooling);
    }
    const [whole, near] = ["full_attention", "sliding_attention"].map((layerType, n) =>
      fields.get("rope_parameters") === undefined
        ? fields.plainRotary(
            sizes.headDim,
            fields.number(n === 0 ? "global_rope_theta" : "local_rope_theta", n === 0 ? 160000 : 10000),
          )
        : fields.rotary({ headDim: sizes.headDim, layerType }),
    );
    return {
      ...sizes,
      activation: activationOf(fields, ["hidden_activation"], true, "gelu"),
      eps: fields.number("norm_eps", 1e-5, 0),
      maxLength: fields.number("max_position_embeddings", 8192),
      biases: {
        qkv: fields.boolean("attention_bias", false),
        o: fields.boolean("attention_bias", false),
        ffn: fields.boolean("mlp_bias", false),
        norm: fields.boolean("norm_bias", false),
        head: fields.boolean("classifier_bias", false),
      },
      labels: labelsOf(fields),
      pooling,
      layers: layersOf(fields, (layer) => {
        const isWhole = layer % every === 0;
        return { window: isWhole ? undefined : { left, right: left }, rotary: isWhole ? whole : near };
      }),
    };
  },
};

const GPT2: Family = {
  isCausal: true,
  order: "pre",
  norm: "layer",
  normOffset: 0,
  isGated: false,
  transposed: true,
  prefixes: ["transformer."],
  names: {
    word: "wte",
    position: "wpe",
    finalNorm: "ln_f",
    lmHead: "lm_head",
    qkv: ["h.{}.attn.c_attn"],
    o: "h.{}.attn.c_proj",
    attentionNorm: ["h.{}.ln_1"],
    up: ["h.{}.mlp.c_fc"],
    down: "h.{}.mlp.c_proj",
    ffnNorm: ["h.{}.ln_2"],
    classifier: "score",
  },
  ignored: /^h\.\d+\.attn\.(masked_)?bias$/,
  read: (fields) => {
    fields.only("scale_attn_weights", true);
    fields.only("scale_attn_by_inverse_layer_idx", false);
    const sizes = sizesOf(fields);
    const positions = fields.number(["n_positions", "n_ctx"], 1024);
    return {
      ...sizes,
      ffnSize: fields.number("n_inner", 4 * sizes.hiddenSize),
      activation: activationOf(fields, ["activation_function"], false, "gelu_new"),
      eps: fields.number("layer_norm_epsilon", 1e-5, 0),
      positions,
      maxLength: positions,
      biases: { qkv: true, o: true, ffn: true, norm: true, head: false },
      tied: fields.boolean("tie_word_embeddings", true),
      labels: labelsOf(fields),
      layers: layersOf(fields, () => ({ window: undefined, rotary: undefined })),
    };
  },
};

const LLAMA_NAMES: TensorNames = {
  word: "embed_tokens",
  finalNorm: "norm",
  lmHead: "lm_head",
  qkv: ["q", "k", "v"].map((name) => `layers.{}.self_attn.${name}_proj`) as [string, string, string],
  o: "layers.{}.self_attn.o_proj",
  attentionNorm: ["layers.{}.input_layernorm"],
  up: ["layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"],
  down: "layers.{}.mlp.down_proj",
  ffnNorm: ["layers.{}.post_attention_layernorm"],
  classifier: "score",
};

const LLAMA: Family = {
  isCausal: true,
  order: "pre",
  norm: "rms",
  normOffset: 0,
  isGated: true,
  transposed: false,
  prefixes: ["model."],
  names: LLAMA_NAMES,
  ignored: /rotary_emb\.inv_freq$/,
  read: (fields) => readLlama(fields, { window: undefined }),
};

/** Llama, and what others of its kind do otherwise. */
function readLlama(
  fields: Fields,
  { window, qkvBias }: { window: LayerSpec["window"]; qkvBias?: boolean },
): Omit<Spec, "type" | "family"> {
  const sizes = sizesOf(fields);
  const rotary = fields.rotary({ headDim: sizes.headDim });
  const bias = fields.boolean("attention_bias", false);
  return {
    ...sizes,
    activation: activationOf(fields, ["hidden_act"], true, "silu"),
    eps: fields.number("rms_norm_eps", 1e-6, 0),
    maxLength: fields.number("max_position_embeddings", 2048),
    biases: { qkv: qkvBias ?? bias, o: bias, ffn: fields.boolean("mlp_bias", false), norm: false, head: false },
    tied: fields.boolean("tie_word_embeddings", false),
    labels: labelsOf(fields),
    layers: layersOf(fields, () => ({ window, rotary })),
  };
}

const MISTRAL: Family = {
  ...LLAMA,
  read: (fields) => readLlama(fields, { window: windowOf(fields) }),
};

const QWEN2: Family = {
  ...LLAMA,
  read: (fields) => {
    fields.only("use_sliding_window", false);
    return readLlama(fields, { window: undefined, qkvBias: true });
  },
};

const QWEN3: Family = {
  ...LLAMA,
  names: { ...LLAMA_NAMES, qNorm: "layers.{}.self_attn.q_norm", kNorm: "layers.{}.self_attn.k_norm" },
  read: (fields) => {
    fields.only("use_sliding_window", false);
    return readLlama(fields, { window: undefined });
  },
};

const GEMMA3: Family = {
  ...LLAMA,
  order: "both",
  normOffset: 1,
  names: {
    ...QWEN3.names,
    attentionNorm: ["layers.{}.input_layernorm", "layers.{}.post_attention_layernorm"],
    ffnNorm: ["layers.{}.pre_feedforward_layernorm", "layers.{}.post_feedforward_layernorm"],
  },
  read: (fields) => {
    fields.only("attn_logit_softcapping");
    fields.only("final_logit_softcapping");
    fields.only("use_bidirectional_attention", false);
    const common = readLlama(fields, { window: undefined });
    const { headDim, hiddenSize } = common;
    const window = windowOf(fields);
    const every = fields.number(["sliding_window_pattern", "_sliding_window_pattern"], 6);
    const types = fields.get("layer_types");
    const isNear = (layer: number): boolean =>
      Array.isArray(types) ? types[layer] === "sliding_attention" : (layer + 1) % every !== 0;
    const has = (name: string): boolean => fields.get(name) !== undefined;
    const near = has("rope_parameters")
      ? fields.rotary({ headDim, layerType: "sliding_attention" })
      : fields.plainRotary(headDim, fields.number("rope_local_base_freq", 10000));
    const far = has("rope_parameters")
      ? fields.rotary({ headDim, layerType: "full_attention" })
      : fields.rotary({ headDim, base: fields.number("rope_theta", 1e6) });
    return {
      ...common,
      activation: activationOf(fields, ["hidden_activation", "hidden_act"], true, "gelu_pytorch_tanh"),
      scale: fields.number("query_pre_attn_scalar", 256) ** -0.5,
      embedScale: Math.fround(Math.sqrt(hiddenSize)),
      tied: fields.boolean("tie_word_embeddings", true),
      layers: layersOf(fields, (layer) =>
        isNear(layer) ? { window, rotary: near } : { window: undefined, rotary: far },
      ),
    };
  },
};

/** By `model_type`. */
export const FAMILIES: Readonly<Record<string, Family>> = {
  bert: BERT,
  roberta: ROBERTA,
  "xlm-roberta": ROBERTA,
  distilbert: DISTILBERT,
  modernbert: MODERNBERT,
  gpt2: GPT2,
  llama: LLAMA,
  mistral: MISTRAL,
  qwen2: QWEN2,
  qwen3: QWEN3,
  gemma3_text: GEMMA3,
};

/** The sizes, and defaults for what most families lack. */
function sizesOf(fields: Fields) {
  const hiddenSize = fields.number(["hidden_size", "n_embd", "dim"]);
  const numHeads = fields.number(["num_attention_heads", "n_head", "n_heads"]);
  const headDim = fields.number("head_dim", hiddenSize / numHeads);
  if (!Number.isInteger(headDim)) throw wrongValue("config.hidden_size", `a multiple of ${numHeads} heads`, hiddenSize);
  return {
    hiddenSize,
    numHeads,
    headDim,
    numKvHeads: fields.number("num_key_value_heads", numHeads),
    vocabSize: fields.number("vocab_size"),
    ffnSize: fields.number(["intermediate_size", "n_inner", "hidden_dim"], 4 * hiddenSize),
    scale: headDim ** -0.5,
    positions: 0,
    types: 0,
    firstPosition: 0,
    embedScale: 1,
    tied: true,
    pooling: "cls" as "mean" | "cls" | "last",
  };
}

function layersOf(fields: Fields, layerOf: (layer: number) => LayerSpec): LayerSpec[] {
  const length = fields.number(["num_hidden_layers", "n_layer", "n_layers"]);
  return Array.from({ length }, (_, layer) => layerOf(layer));
}

/** The labels of a head that classifies; Hugging Face has two where nothing is said. */
function labelsOf(fields: Fields): number {
  const names = fields.get("id2label");
  return fields.number("num_labels", typeof names === "object" ? Object.keys(names as object).length : 2);
}

/** `sliding_window` counts the query's own key. */
function windowOf(fields: Fields): LayerSpec["window"] {
  const size = fields.get("sliding_window");
  return size === undefined ? undefined : { left: fields.number("sliding_window") - 1, right: 0 };
}
