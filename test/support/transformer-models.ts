// Small models with the real names and shapes of their families and seeded weights, and what they compute, in plain lines
// of f64: nothing here knows how bindings/transformer reads a config or names a tensor.
import { type TransformerOptions, loadTransformerWith } from "../../bindings/transformer/model/load-transformer.ts";
import type { Transformer } from "../../bindings/transformer/model/transformer.ts";
import type { Heed } from "../../bindings/heed.ts";
import type { ModelTensor } from "../../bindings/transformer/model/tensors.ts";
import { activationReference } from "./activations.ts";
import { normReference } from "./blocks.ts";
import { blocksOf } from "./builds.ts";
import { linearReference } from "./linear.ts";
import { floats, uniform } from "./random.ts";
import { reference } from "./reference.ts";
import { type Round, exactly } from "./rounding.ts";
import {
  type LayerParts,
  type Matrix,
  type ModelType,
  SIZES,
  type Scale,
  configOf,
  tensorsOf,
} from "./transformer-files.ts";
import { rotaryReference } from "./rotary.ts";

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

  const tensors = tensorsOf(type, {
    sizes,
    parts,
    word,
    positions,
    typeTable,
    embedNorm,
    finalNorm,
    head: isLlama && !isTied ? head : undefined,
    dense,
    denseNorm,
    classifier,
  });

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
    let x: Float64Array = new Float64Array(tokens.length * hidden);
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
      let found: Float64Array = new Float64Array(0);
      encode(tokens, undefined, (n, weights) => n === layer && (found = weights));
      return found;
    },
    logits: (tokens) => product(encode(tokens), { weight: head, bias: undefined, out: vocab, into: hidden }, kind),
    classify: (tokens) => {
      const rows = encode(tokens);
      let row: Float64Array = kind.causal ? rows.slice(-hidden) : rows.slice(0, hidden);
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

/** `loadTransformer` on an instance of any build. */
export function loaderOf(heed: Heed): (options: TransformerOptions) => Promise<Transformer> {
  return (options) => loadTransformerWith(() => Promise.resolve(blocksOf(heed)), heed, options);
}

/** The length of the difference, as a share of that of `exact`. */
export function distanceOf(out: ArrayLike<number>, exact: ArrayLike<number>): number {
  const difference = Math.hypot(...Array.from(out, (value, n) => value - exact[n]!));
  return out.length === exact.length ? difference / Math.hypot(...Array.from(exact)) : NaN;
}
