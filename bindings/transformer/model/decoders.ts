// Models in which a token sees those before it: what their tensors are called, and what their configs say.
// The source of each is its modeling file in https://github.com/huggingface/transformers/tree/main/src/transformers/models.

import { type Fields, activationOf } from "./fields.ts";
import { layersOf, sizesOf } from "./sizes.ts";
import type { Family, LayerSpec, Spec, TensorNames } from "./spec.ts";

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
    const positions = fields.size(["n_positions", "n_ctx"], 1024);
    return {
      ...sizes,
      ffnSize: fields.size("n_inner", 4 * sizes.hiddenSize),
      activation: activationOf(fields, ["activation_function"], false, "gelu_new"),
      eps: fields.number("layer_norm_epsilon", 1e-5, 0),
      positions,
      maxLength: positions,
      biases: { qkv: true, o: true, ffn: true, norm: true, head: false },
      tied: fields.boolean("tie_word_embeddings", true),
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
    maxLength: fields.size("max_position_embeddings", 2048),
    biases: { qkv: qkvBias ?? bias, o: bias, ffn: fields.boolean("mlp_bias", false), norm: false, head: false },
    tied: fields.boolean("tie_word_embeddings", false),
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
    const every = fields.size(["sliding_window_pattern", "_sliding_window_pattern"], 6);
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
export const DECODERS: Readonly<Record<string, Family>> = {
  gpt2: GPT2,
  llama: LLAMA,
  mistral: MISTRAL,
  qwen2: QWEN2,
  qwen3: QWEN3,
  gemma3_text: GEMMA3,
};

/** `sliding_window` counts the query's own key. */
function windowOf(fields: Fields): LayerSpec["window"] {
  const size = fields.get("sliding_window");
  return size === undefined ? undefined : { left: fields.size("sliding_window") - 1, right: 0 };
}
