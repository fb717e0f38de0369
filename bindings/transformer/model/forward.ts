// The blocks of a model over the rows of some tokens. What a layer adds to the rows waits in `update` until the next norm,
// which adds it as it reads both:
//
//     "pre"   n = norm(x)       update = layer(n)              x ← x + update, n = norm(x), …
//     "both"  n = norm(x)       update = norm(layer(n))        the same
//     "post"  update = layer(x) x ← norm(x + update)
//
// A forward pass stops between its calls, so that an asynchronous one can give the thread back there.

import type { Heed } from "../../heed.ts";
import type { PackedLinear } from "../../layer/packed-linear.ts";
import type { Tensor } from "../../memory/tensor.ts";
import type { Blocks } from "../blocks.ts";
import type { LayerSpec, Spec } from "./spec.ts";
import { type Floats, toF32 } from "./tensors.ts";
import type { LayerWeights, Norm, Weights } from "./weights.ts";

/** A model that is loaded. */
export interface Loaded {
  readonly heed: Heed;
  readonly blocks: Blocks;
  readonly spec: Spec;
  readonly weights: Weights;
}

/** A call of attention that a pass has come to: done at once, or in slices. */
export interface Attend {
  sync(): unknown;
  async(signal: Signal | undefined): Promise<unknown>;
}

/** What is read of an AbortSignal. */
export interface Signal {
  readonly aborted: boolean;
  readonly reason?: unknown;
}

/** A pass, which stops after each call, and before each call of attention. */
export type Pass<Result> = Generator<Attend | undefined, Result, undefined>;

/** Attention of one layer: `out` of q, and of k and v, which have been projected and normalised. */
export type AttendLayer = (layer: number, spec: LayerSpec, rows: QkvRows) => Attend;

/** Rows of one layer, [tokens, heads, headDim]. */
export interface QkvRows {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly out: Tensor;
}

/** The rows of a pass in linear memory, [tokens, …]. */
export class PassRows {
  readonly tokens: number;
  readonly x: Tensor;
  readonly normed: Tensor;
  readonly update: Tensor;
  readonly inner: Tensor;
  readonly qkv: QkvRows;
  readonly #tensors: Tensor[] = [];

  constructor(heed: Heed, spec: Spec, tokens: number) {
    const { hiddenSize, numHeads, numKvHeads, headDim, ffnSize } = spec;
    const make = (floats: number): Tensor => {
      const tensor = heed.tensor(tokens * floats);
      this.#tensors.push(tensor);
      return tensor;
    };
    this.tokens = tokens;
    try {
      this.x = make(hiddenSize);
      this.normed = make(hiddenSize);
      this.update = make(hiddenSize);
      this.inner = make(ffnSize);
      const [q, k] = [numHeads * headDim, numKvHeads * headDim];
      this.qkv = { q: make(q), k: make(k), v: make(k), out: make(q) };
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  dispose(): void {
    for (const tensor of this.#tensors.splice(0)) tensor.dispose();
  }
}

/** x = the rows of the words, with those of their positions and types. */
export function embed(
  { blocks, spec, weights }: Loaded,
  tokens: Int32Array,
  positions: Int32Array,
  types: Int32Array | undefined,
  x: Tensor,
): void {
  const { hiddenSize, embedScale, firstPosition } = spec;
  const { word, position, type, embedNorm } = weights;
  // Of 16 bits the rows that are read are converted, of 32 bits they are read in place.
  const isWide = word.dtype === "f32";
  blocks.embed(isWide ? tokens : tokens.map((_, n) => n), {
    table: isWide ? toF32(word) : rowsOf(word, tokens, hiddenSize),
    dim: hiddenSize,
    scale: embedScale,
    positionTable: position,
    positions: position && positions.map((n) => n + firstPosition),
    typeTable: type,
    types: type && types,
    out: x,
  });
  if (embedNorm) norm(blocks, spec, embedNorm, x, undefined, x);
}

/** Rows of a table of 16 bits, as f32. */
function rowsOf({ data, dtype }: Floats, numbers: Int32Array, dim: number): Float32Array {
  const rows = new (data.constructor as typeof Float32Array)(numbers.length * dim);
  numbers.forEach((number, n) => rows.set(data.subarray(number * dim, (number + 1) * dim), n * dim));
  return toF32({ data: rows, dtype });
}

/** The blocks of a model; x becomes their result, but for the last norm of "pre" and "both", which `finish` does. */
export function* forward({ heed, blocks, spec, weights }: Loaded, rows: PassRows, attend: AttendLayer): Pass<void> {
  const { x, normed, update, inner, qkv } = rows;
  const { family, activation } = spec;
  const isPost = family.order === "post";
  const linear = (from: Tensor, weight: PackedLinear, out: Tensor): void =>
    void heed.linear(from, weight, undefined, { out });
  for (const [layer, one] of spec.layers.entries()) {
    const own: LayerWeights = weights.layers[layer]!;
    const { attentionNorm, postAttentionNorm, ffnNorm, postFfnNorm, qNorm, kNorm } = own;
    let from = x;
    if (!isPost && attentionNorm) {
      norm(blocks, spec, attentionNorm, layer > 0 ? update : x, layer > 0 ? x : undefined, normed);
      from = normed;
    }
    linear(from, own.q, qkv.q);
    linear(from, own.k, qkv.k);
    linear(from, own.v, qkv.v);
    if (qNorm) norm(blocks, spec, qNorm, qkv.q, undefined, qkv.q);
    if (kNorm) norm(blocks, spec, kNorm, qkv.k, undefined, qkv.k);
    yield attend(layer, one, qkv);
    linear(qkv.out, own.o, update);
    if (postAttentionNorm) norm(blocks, spec, postAttentionNorm, update, undefined, update);
    yield;

    if (isPost) norm(blocks, spec, attentionNorm!, update, x, x, false);
    else norm(blocks, spec, ffnNorm, update, x, normed);
    heed.linear(isPost ? x : normed, own.up, undefined, { activation, out: inner });
    yield;
    linear(inner, own.down, update);
    if (postFfnNorm) norm(blocks, spec, postFfnNorm, update, undefined, update);
    if (isPost) norm(blocks, spec, ffnNorm, update, x, x, false);
    yield;
  }
}

/** The last norm over all rows; x becomes what comes out of the model. */
export function finishAll({ blocks, spec, weights }: Loaded, { x, update }: PassRows): void {
  if (spec.family.order !== "post") norm(blocks, spec, weights.finalNorm!, update, x, x, false);
}

/** The last norm over the last row alone, [hiddenSize]. */
export function finishLast({ blocks, spec, weights }: Loaded, { x, update }: PassRows): Float32Array {
  const last = (of: Tensor): Float32Array => of.data.slice(-spec.hiddenSize);
  return norm(blocks, spec, weights.finalNorm!, last(update), last(x), undefined, false) as Float32Array;
}

/** out = norm(x + residual); where `keepsSum`, residual becomes x + residual. */
function norm(
  blocks: Blocks,
  spec: Spec,
  { weight, bias }: Norm,
  x: Tensor | Float32Array,
  residual: Tensor | Float32Array | undefined,
  out: Tensor | undefined,
  keepsSum = residual !== undefined,
): Float32Array | Tensor {
  const { eps, family } = spec;
  const common = { weight, eps, residual, sum: keepsSum ? residual : undefined, out };
  const { out: to } =
    family.norm === "rms"
      ? blocks.rmsNorm(x, { ...common, unitOffset: family.normOffset === 1 })
      : blocks.layerNorm(x, { ...common, bias });
  return to;
}
