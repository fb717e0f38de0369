// The files of small models: tensors with the names and shapes of their families, and the config.json beside them.
import type { ModelTensor } from "../../bindings/transformer/model/tensors.ts";
import { transposed } from "./linear.ts";

export interface Matrix {
  weight: Float32Array;
  bias: Float32Array | undefined;
  out: number;
  into: number;
}
export interface Scale {
  weight: Float32Array;
  bias: Float32Array | undefined;
}
export interface LayerParts {
  q: Matrix;
  k: Matrix;
  v: Matrix;
  o: Matrix;
  gate: Matrix | undefined;
  up: Matrix;
  down: Matrix;
  norms: (Scale | undefined)[];
  qNorm: Scale | undefined;
  kNorm: Scale | undefined;
}

export const SIZES = {
  hidden: 24,
  heads: 3,
  kvHeads: 3,
  headDim: 8,
  ffn: 40,
  layers: 2,
  vocab: 37,
  positions: 20,
  types: 2,
};

export const MODEL_TYPES = [
  "bert",
  "roberta",
  "distilbert",
  "modernbert",
  "gpt2",
  "llama",
  "mistral",
  "qwen2",
  "qwen3",
  "gemma3_text",
] as const;
export type ModelType = (typeof MODEL_TYPES)[number];
export const CAUSAL_TYPES: readonly ModelType[] = ["gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma3_text"];

/** What a model is made of; the head of a language model where it is not the table of the words. */
export interface ModelParts {
  sizes: typeof SIZES;
  parts: LayerParts[];
  word: Float32Array;
  positions: Float32Array | undefined;
  typeTable: Float32Array | undefined;
  embedNorm: Scale | undefined;
  finalNorm: Scale | undefined;
  head: Float32Array | undefined;
  dense: Matrix | undefined;
  denseNorm: Scale | undefined;
  classifier: Matrix;
}

/** The tensors of a model, as its family writes them. */
export function tensorsOf(type: ModelType, model: ModelParts): Record<string, ModelTensor> {
  const { sizes, parts, word, positions, typeTable, embedNorm, finalNorm, head, dense, denseNorm, classifier } = model;
  const { vocab, hidden } = sizes;
  const labels = classifier.out;
  const tensors: Record<string, ModelTensor> = {};
  const put = (name: string, data: Float32Array | undefined, ...shape: number[]): void => {
    if (data) tensors[name] = { data, shape };
  };
  const putMatrix = (name: string, { weight, bias, out, into }: Matrix, isTransposed = false): void => {
    put(
      `${name}.weight`,
      isTransposed ? transposed(weight, out, into) : weight,
      ...(isTransposed ? [into, out] : [out, into]),
    );
    put(`${name}.bias`, bias, out);
  };
  const putScale = (name: string, of: Scale | undefined): void => {
    if (!of) return;
    put(`${name}.weight`, of.weight, of.weight.length);
    put(`${name}.bias`, of.bias, of.weight.length);
  };
  const stacked = (...all: Matrix[]): Matrix => ({
    weight: Float32Array.from(all.flatMap(({ weight }) => [...weight])),
    bias: all[0]!.bias && Float32Array.from(all.flatMap(({ bias }) => [...bias!])),
    out: all.reduce((sum, { out }) => sum + out, 0),
    into: all[0]!.into,
  });
  if (type === "bert" || type === "roberta" || type === "distilbert") {
    const isDistil = type === "distilbert";
    const prefix = `${type}.`;
    put(`${prefix}embeddings.word_embeddings.weight`, word, vocab, hidden);
    put(`${prefix}embeddings.position_embeddings.weight`, positions, sizes.positions, hidden);
    put(`${prefix}embeddings.token_type_embeddings.weight`, typeTable, (typeTable?.length ?? 0) / hidden, hidden);
    putScale(`${prefix}embeddings.LayerNorm`, embedNorm);
    parts.forEach(({ q, k, v, o, up, down, norms }, n) => {
      const layer = isDistil ? `${prefix}transformer.layer.${n}.` : `${prefix}encoder.layer.${n}.`;
      const names = isDistil
        ? ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"]
        : [
            ...["query", "key", "value"].map((name) => `attention.self.${name}`),
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
          ];
      [q, k, v, o, up, down].forEach((one, i) => putMatrix(layer + names[i]!, one));
      putScale(layer + (isDistil ? "sa_layer_norm" : "attention.output.LayerNorm"), norms[0]);
      putScale(layer + (isDistil ? "output_layer_norm" : "output.LayerNorm"), norms[1]);
    });
    putMatrix(isDistil ? "pre_classifier" : type === "bert" ? "bert.pooler.dense" : "classifier.dense", dense!);
    putMatrix(type === "roberta" ? "classifier.out_proj" : "classifier", classifier);
  } else if (type === "modernbert") {
    put("model.embeddings.tok_embeddings.weight", word, vocab, hidden);
    putScale("model.embeddings.norm", embedNorm);
    parts.forEach(({ q, k, v, o, gate, up, down, norms }, n) => {
      const layer = `model.layers.${n}.`;
      putMatrix(`${layer}attn.Wqkv`, stacked(q, k, v));
      putMatrix(`${layer}attn.Wo`, o);
      putMatrix(`${layer}mlp.Wi`, stacked(gate!, up));
      putMatrix(`${layer}mlp.Wo`, down);
      putScale(`${layer}attn_norm`, norms[0]);
      putScale(`${layer}mlp_norm`, norms[1]);
    });
    putScale("model.final_norm", finalNorm);
    putMatrix("head.dense", dense!);
    putScale("head.norm", denseNorm);
    putMatrix("classifier", classifier);
  } else if (type === "gpt2") {
    put("transformer.wte.weight", word, vocab, hidden);
    put("transformer.wpe.weight", positions, sizes.positions, hidden);
    parts.forEach(({ q, k, v, o, up, down, norms }, n) => {
      const layer = `transformer.h.${n}.`;
      putMatrix(`${layer}attn.c_attn`, stacked(q, k, v), true);
      putMatrix(`${layer}attn.c_proj`, o, true);
      putMatrix(`${layer}mlp.c_fc`, up, true);
      putMatrix(`${layer}mlp.c_proj`, down, true);
      putScale(`${layer}ln_1`, norms[0]);
      putScale(`${layer}ln_2`, norms[1]);
      put(`${layer}attn.bias`, new Float32Array(16), 1, 1, 4, 4);
    });
    putScale("transformer.ln_f", finalNorm);
    put("lm_head.weight", word, vocab, hidden);
    put("score.weight", classifier.weight, labels, hidden);
  } else {
    put("model.embed_tokens.weight", word, vocab, hidden);
    parts.forEach(({ q, k, v, o, gate, up, down, norms, qNorm, kNorm }, n) => {
      const layer = `model.layers.${n}.`;
      [q, k, v, o].forEach((one, i) => putMatrix(`${layer}self_attn.${"qkvo"[i]!}_proj`, one));
      [gate!, up, down].forEach((one, i) => putMatrix(`${layer}mlp.${["gate", "up", "down"][i]!}_proj`, one));
      const names =
        type === "gemma3_text"
          ? ["input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"]
          : ["input_layernorm", "post_attention_layernorm"];
      names.forEach((name, i) => putScale(layer + name, norms[i]));
      putScale(`${layer}self_attn.q_norm`, qNorm);
      putScale(`${layer}self_attn.k_norm`, kNorm);
    });
    putScale("model.norm", finalNorm);
    if (head) put("lm_head.weight", head, vocab, hidden);
    put("score.weight", classifier.weight, labels, hidden);
  }
  return tensors;
}

/** The config.json that such a model has. */
export function configOf(type: ModelType, sizes: typeof SIZES, labels: number): Record<string, unknown> {
  const { hidden, heads, kvHeads, headDim, ffn, layers, vocab, positions } = sizes;
  const common = {
    model_type: type,
    vocab_size: vocab,
    id2label: Object.fromEntries(Array.from({ length: labels }, (_, n) => [n, `L${n}`])),
  };
  const usual = {
    ...common,
    hidden_size: hidden,
    num_attention_heads: heads,
    num_hidden_layers: layers,
    intermediate_size: ffn,
  };
  const llama = { ...usual, num_key_value_heads: kvHeads, head_dim: headDim, hidden_act: "silu", rms_norm_eps: 1e-6 };
  switch (type) {
    case "bert":
      return {
        ...usual,
        hidden_act: "gelu",
        layer_norm_eps: 1e-12,
        max_position_embeddings: positions,
        type_vocab_size: 2,
      };
    case "roberta":
      return {
        ...usual,
        hidden_act: "gelu",
        layer_norm_eps: 1e-5,
        max_position_embeddings: positions,
        type_vocab_size: 1,
        pad_token_id: 1,
      };
    case "distilbert":
      return {
        ...common,
        dim: hidden,
        n_heads: heads,
        n_layers: layers,
        hidden_dim: ffn,
        activation: "gelu",
        max_position_embeddings: positions,
      };
    case "modernbert":
      return {
        ...usual,
        hidden_activation: "gelu",
        norm_eps: 1e-5,
        local_attention: 8,
        global_attn_every_n_layers: 2,
        global_rope_theta: 160000,
        local_rope_theta: 10000,
        classifier_pooling: "mean",
        max_position_embeddings: 64,
      };
    case "gpt2":
      return {
        ...common,
        n_embd: hidden,
        n_head: heads,
        n_layer: layers,
        n_inner: ffn,
        n_positions: positions,
        activation_function: "gelu_new",
        layer_norm_epsilon: 1e-5,
      };
    case "llama":
      return { ...llama, rope_theta: 500, max_position_embeddings: 64, tie_word_embeddings: false };
    case "mistral":
      return { ...llama, sliding_window: 4, max_position_embeddings: 64, tie_word_embeddings: false };
    case "qwen2":
    case "qwen3":
      return {
        ...llama,
        rope_theta: 1e6,
        use_sliding_window: false,
        sliding_window: 4,
        max_position_embeddings: 64,
        tie_word_embeddings: true,
      };
    case "gemma3_text":
      return {
        ...llama,
        hidden_activation: "gelu_pytorch_tanh",
        query_pre_attn_scalar: 16,
        sliding_window: 5,
        layer_types: ["sliding_attention", "full_attention"],
        rope_theta: 1e6,
        rope_local_base_freq: 10000,
        max_position_embeddings: 64,
      };
  }
}
