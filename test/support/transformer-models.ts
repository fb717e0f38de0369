// Small models with the real names and shapes of their families and seeded weights, and what they compute, in plain lines
// of f64: nothing here knows how bindings/transformer reads a config or names a tensor.
import type { ModelTensor } from "../../bindings/transformer/model/tensors.ts";
import { activationReference } from "./activations.ts";
import { normReference } from "./blocks.ts";
import { linearReference, transposed } from "./linear.ts";
import { floats, uniform } from "./random.ts";
import { reference } from "./reference.ts";
import { type Round, exactly } from "./rounding.ts";
import { rotaryReference } from "./rotary.ts";

interface Matrix {
  weight: Float32Array;
  bias: Float32Array | undefined;
  out: number;
  into: number;
}
interface Scale {
  weight: Float32Array;
  bias: Float32Array | undefined;
}
interface LayerParts {
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

/** How a family computes. */
interface Kind {
  order: "post" | "pre" | "both";
  norm: "layer" | "rms";
  unitOffset?: boolean;
  activation: "gelu" | "gelu-tanh" | "silu";
  causal: boolean;
  eps: number;
  scale: number;
  embedScale: number;
  round: Round;
  /** The window and the base of the angles of a layer. */
  layer(n: number): { left?: number; right?: number; base?: number };
}

const SIZES = { hidden: 24, heads: 3, kvHeads: 3, headDim: 8, ffn: 40, layers: 2, vocab: 37, positions: 20, types: 2 };

/** A small model: what `loadTransformer` gets, and what it should compute. */
export interface SmallModel {
  config: Record<string, unknown>;
  tensors: Record<string, ModelTensor>;
  vocab: number;
  hidden: number;
  /** [tokens, hidden], of one sequence. */
  encode: (tokens: readonly number[], types?: readonly number[]) => Float64Array;
  /** [tokens, vocab] */
  logits: (tokens: readonly number[]) => Float64Array;
  /** [numHeads, tokens, tokens]: the attention weights of a layer. */
  attentions: (tokens: readonly number[], layer: number) => Float64Array;
  /** [labels] */
  classify: (tokens: readonly number[]) => Float64Array;
}

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

/** A model of a type with seeded weights. `round` is applied to the result of every operation. */
export function smallModel(type: ModelType, round: Round = exactly): SmallModel {
  const next = uniform(1);
  const isLlama = !["bert", "roberta", "distilbert", "modernbert", "gpt2"].includes(type);
  const sizes = { ...SIZES, kvHeads: isLlama ? 1 : 3 };
  const { hidden, heads, kvHeads, headDim, ffn, layers, vocab, types } = sizes;
  const isBert = ["bert", "roberta", "distilbert"].includes(type);
  const hasBias = isBert || type === "gpt2";
  const array = (length: number, size = 1): Float32Array => floats(length, next).map((x) => x * size);
  const matrix = (out: number, into: number, biased = hasBias): Matrix => ({
    weight: array(out * into, 2 / Math.sqrt(into)),
    bias: biased ? array(out, 0.3) : undefined,
    out,
    into,
  });
  const scale = (dim = hidden): Scale => ({
    weight: array(dim, 0.3).map((x) => (type === "gemma3_text" ? x : 1 + x)),
    bias: hasBias ? array(dim, 0.3) : undefined,
  });
  const hasQkNorm = type === "qwen3" || type === "gemma3_text";
  const parts: LayerParts[] = Array.from({ length: layers }, (_, n) => ({
    q: matrix(heads * headDim, hidden, hasBias || type === "qwen2"),
    k: matrix(kvHeads * headDim, hidden, hasBias || type === "qwen2"),
    v: matrix(kvHeads * headDim, hidden, hasBias || type === "qwen2"),
    o: matrix(hidden, heads * headDim),
    gate: isLlama || type === "modernbert" ? matrix(ffn, hidden) : undefined,
    up: matrix(ffn, hidden),
    down: matrix(hidden, ffn),
    norms:
      type === "gemma3_text"
        ? [scale(), scale(), scale(), scale()]
        : [type === "modernbert" && n === 0 ? undefined : scale(), scale()],
    qNorm: hasQkNorm ? scale(headDim) : undefined,
    kNorm: hasQkNorm ? scale(headDim) : undefined,
  }));
  const word = array(vocab * hidden);
  const positions = isBert || type === "gpt2" ? array(sizes.positions * hidden) : undefined;
  const typeTable = type === "bert" || type === "roberta" ? array((type === "bert" ? types : 1) * hidden) : undefined;
  const embedNorm = isBert || type === "modernbert" ? scale() : undefined;
  const finalNorm = isBert ? undefined : scale();
  const isTied = type !== "llama" && type !== "mistral";
  const head = isLlama && !isTied ? array(vocab * hidden) : word;
  const labels = type === "bert" ? 3 : 2;
  const dense = type === "modernbert" ? matrix(hidden, hidden, false) : isBert ? matrix(hidden, hidden) : undefined;
  const denseNorm = type === "modernbert" ? scale() : undefined;
  const classifier = matrix(labels, hidden, isBert || type === "modernbert");

  // The files, as each family writes them.
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
    if (!isTied) put("lm_head.weight", head, vocab, hidden);
    put("score.weight", classifier.weight, labels, hidden);
  }

  const kinds: Record<ModelType, Partial<Kind>> = {
    bert: { eps: 1e-12 },
    roberta: { eps: 1e-5 },
    distilbert: { eps: 1e-12 },
    modernbert: {
      order: "pre",
      eps: 1e-5,
      // The first layer of every two sees all, the others four keys to either side.
      layer: (n) => (n % 2 === 0 ? { base: 160000 } : { base: 10000, left: 4, right: 4 }),
    },
    gpt2: { order: "pre", eps: 1e-5, activation: "gelu-tanh", causal: true },
    llama: { layer: () => ({ base: 500 }) },
    mistral: { layer: () => ({ base: 10000, left: 3, right: 0 }) },
    qwen2: { layer: () => ({ base: 1e6 }) },
    qwen3: { layer: () => ({ base: 1e6 }) },
    gemma3_text: {
      order: "both",
      unitOffset: true,
      activation: "gelu-tanh",
      scale: 1 / 4,
      embedScale: Math.fround(Math.sqrt(hidden)),
      layer: (n) => (n % 2 === 0 ? { base: 10000, left: 4, right: 0 } : { base: 1e6 }),
    },
  };
  const kind: Kind = {
    order: isLlama ? "pre" : "post",
    norm: isLlama ? "rms" : "layer",
    activation: isLlama ? "silu" : "gelu",
    causal: isLlama,
    eps: 1e-6,
    scale: 1 / Math.sqrt(headDim),
    embedScale: 1,
    round,
    layer: () => ({}),
    ...kinds[type],
  };
  const config = configOf(type, sizes, labels);

  const encode = (
    tokens: readonly number[],
    tokenTypes?: readonly number[],
    look?: (layer: number, weights: Float64Array) => void,
  ): Float64Array => {
    let x = new Float64Array(tokens.length * hidden);
    tokens.forEach((token, n) => {
      for (let d = 0; d < hidden; d++) {
        // RoBERTa counts positions from 2 on, behind that of its padding, which is token 1.
        const position = positions?.[(n + (type === "roberta" ? 2 : 0)) * hidden + d] ?? 0;
        const ofType = typeTable?.[(tokenTypes?.[n] ?? 0) * hidden + d] ?? 0;
        x[n * hidden + d] = round(round(round(kind.embedScale * word[token * hidden + d]!) + position) + ofType);
      }
    });
    if (embedNorm) x = normalise(x, embedNorm, kind);
    parts.forEach((part, n) => {
      const { norms, gate } = part;
      const [before, behind] = kind.order === "both" ? [norms[0], norms[1]] : [norms[0], undefined];
      const [beforeFfn, behindFfn] = kind.order === "both" ? [norms[2], norms[3]] : [norms[1], undefined];
      const isPost = kind.order === "post";
      const attended = attend(isPost || !before ? x : normalise(x, before, kind), part, sizes, kind, n);
      look?.(n, attended.weights);
      let update = attended.out;
      if (behind) update = normalise(update, behind, kind);
      x = x.map((value, at) => round(value + update[at]!));
      if (isPost) x = normalise(x, before!, kind);
      const from = isPost ? x : normalise(x, beforeFfn!, kind);
      const up = product(from, part.up, kind);
      const inner = gate
        ? product(from, gate, kind).map((value, at) =>
            round(activationReference(kind.activation, value, round) * up[at]!),
          )
        : up.map((value) => activationReference(kind.activation, value, round));
      update = product(inner, part.down, kind);
      if (behindFfn) update = normalise(update, behindFfn, kind);
      x = x.map((value, at) => round(value + update[at]!));
      if (isPost) x = normalise(x, beforeFfn!, kind);
    });
    return finalNorm ? normalise(x, finalNorm, kind) : x;
  };
  return {
    config,
    tensors,
    vocab,
    hidden,
    encode: (tokens, tokenTypes) => encode(tokens, tokenTypes),
    attentions: (tokens, layer) => {
      let found = new Float64Array(0);
      encode(tokens, undefined, (n, weights) => n === layer && (found = weights));
      return found;
    },
    logits: (tokens) => product(encode(tokens), { weight: head, bias: undefined, out: vocab, into: hidden }, kind),
    classify: (tokens) => {
      const rows = encode(tokens);
      let row = kind.causal ? rows.slice(-hidden) : rows.slice(0, hidden);
      if (type === "modernbert") {
        row = row.map((_, d) =>
          round(tokens.reduce((sum, _token, n) => round(sum + rows[n * hidden + d]!), 0) / tokens.length),
        );
      }
      if (dense) {
        row = product(row, dense, kind);
        if (type === "modernbert")
          row = normalise(
            row.map((value) => activationReference("gelu", value, round)),
            denseNorm!,
            kind,
          );
        else row = row.map((value) => (type === "distilbert" ? Math.max(0, value) : round(Math.tanh(value))));
      }
      return product(row, classifier, kind);
    },
  };
}

function product(x: Float64Array, { weight, bias, out, into }: Matrix, { round }: Kind): Float64Array {
  return linearReference(x, { weight, bias, inFeatures: into, outFeatures: out }, round);
}

function normalise(x: Float64Array, { weight, bias }: Scale, { norm, unitOffset, eps, round }: Kind): Float64Array {
  const offset = unitOffset ? 1 : 0;
  return normReference(x, { kind: norm, dim: weight.length, eps, weight, bias, offset }, round);
}

function attend(
  x: Float64Array,
  { q, k, v, o, qNorm, kNorm }: LayerParts,
  { heads, kvHeads, headDim }: { heads: number; kvHeads: number; headDim: number },
  kind: Kind,
  layer: number,
): { out: Float64Array; weights: Float64Array } {
  const { left, right, base } = kind.layer(layer);
  const rows = (of: Matrix, scale: Scale | undefined, numHeads: number): Float64Array => {
    const projected = product(x, of, kind);
    const scaled = scale ? normalise(projected, scale, kind) : projected;
    return base === undefined
      ? scaled
      : rotaryReference(scaled as unknown as Float32Array, { numHeads, headDim, base }, kind.round);
  };
  const { out, weights } = reference(
    rows(q, qNorm, heads) as unknown as Float32Array,
    rows(k, kNorm, kvHeads) as unknown as Float32Array,
    product(x, v, kind) as unknown as Float32Array,
    {
      numHeads: heads,
      numKvHeads: kvHeads,
      headDim,
      scale: kind.scale,
      causal: kind.causal,
      window: left === undefined ? undefined : { left, right },
    },
    kind.round,
  );
  return { out: product(out, o, kind), weights };
}

/** The config.json that such a model has. */
function configOf(type: ModelType, sizes: typeof SIZES, labels: number): Record<string, unknown> {
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
