import type { Stage } from "../attention-weights/options.ts";
import type { AttentionOptions } from "../attention/options.ts";
import { wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import type { Layout } from "../memory/layout.ts";
import { type OnnxTensor, checkShape } from "./operands.ts";

interface Sizes {
  batch: number;
  heads: number;
  length: number;
  dim: number;
}

/** The rows of q, k, v or an output: `length` of `dim` floats for each head of each batch entry, in the order that they came in. */
export class Rows {
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly dim: number;
  /** That of `data`. */
  readonly layout: Layout;
  readonly data: Float32Array;
  /** The same in the other layout, once it was asked for. */
  #other: Float32Array | undefined;

  constructor({ batch, heads, length, dim }: Sizes, layout: Layout, data: Float32Array) {
    this.batch = batch;
    this.heads = heads;
    this.length = length;
    this.dim = dim;
    this.layout = layout;
    this.data = data;
  }

  /** A tensor [batch, heads, length, dim], or [batch, length, heads·dim]. */
  static of(name: string, { shape, data }: OnnxTensor, heads: number): Rows {
    if (shape.length === 4) {
      const [batch, , length, dim] = shape as [number, number, number, number];
      checkShape(name, shape, [batch, heads, length, dim]);
      return new Rows({ batch, heads, length, dim }, "bhld", data);
    }
    const [batch, length, width] = shape as [number, number, number];
    const dim = width / heads;
    if (!Number.isInteger(dim) || dim === 0) {
      throw wrongValue(`${name}.shape[2]`, `a multiple of ${heads} (heads)`, width);
    }
    return new Rows({ batch, heads, length, dim }, "blhd", data);
  }

  get shape(): [number, number, number, number] {
    return [this.batch, this.heads, this.length, this.dim];
  }

  in(layout: Layout): Float32Array {
    const { batch, heads, length, dim } = this;
    if (layout === this.layout || heads === 1 || length === 1) return this.data;
    const [outer, inner] = layout === "bhld" ? [length, heads] : [heads, length];
    return (this.#other ??= swapMiddle(this.data, batch, outer, inner, dim));
  }

  /** As a tensor [batch, heads, length, dim]. */
  get unpacked(): OnnxTensor {
    return { data: this.in("bhld"), shape: this.shape };
  }

  /** As a tensor [batch, length, heads·dim]. */
  get packed(): OnnxTensor {
    return { data: this.in("blhd"), shape: [this.batch, this.length, this.heads * this.dim] };
  }
}

/**
 * `length` rows for each head of each batch entry: the first starts[batch entry] of `past`, then those of `next`, then zeros.
 */
export function written(past: Rows | undefined, next: Rows, starts: ArrayLike<number>, length: number): Rows {
  const { batch, heads, dim } = next;
  const data = new Float32Array(batch * heads * length * dim);
  const part = (rows: Float32Array, each: number, n: number) => rows.subarray(n * each * dim, (n + 1) * each * dim);
  for (let n = 0; n < batch * heads; n++) {
    const to = part(data, length, n);
    const start = starts[Math.floor(n / heads)]! * dim;
    if (past) to.set(part(past.in("bhld"), past.length, n).subarray(0, start));
    to.set(part(next.in("bhld"), next.length, n), start);
  }
  return new Rows({ batch, heads, length, dim }, "bhld", data);
}

/** The rows of `past`, which may be absent, before those of `next`. */
export function appended(past: Rows | undefined, next: Rows): Rows {
  if (!past) return next;
  return written(past, next, new Array<number>(next.batch).fill(past.length), past.length + next.length);
}

/** Columns from `start` on, `width` of them, of a matrix whose rows have `of` columns. */
export function columns(data: Float32Array, of: number, start: number, width: number): Float32Array {
  const rows = of === 0 ? 0 : data.length / of;
  const taken = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    taken.set(data.subarray(row * of + start, row * of + start + width), row * width);
  }
  return taken;
}

/** The options that rows do not settle. */
export type ScoreOptions = Omit<
  AttentionOptions,
  "numHeads" | "numKvHeads" | "headDim" | "valueDim" | "batch" | "layout" | "out" | "lse"
>;

/** Attention, in the layout of the rows where they agree. */
export function attend(heed: Heed, q: Rows, k: Rows, v: Rows, options: ScoreOptions): Rows {
  const layout = [q, k, v].every((rows) => rows.layout === "blhd") ? "blhd" : "bhld";
  const { batch, heads: numHeads, length, dim: headDim } = q;
  const sizes = { numHeads, numKvHeads: k.heads, headDim, valueDim: v.dim, batch, layout } as const;
  const { out } = heed.attention(q.in(layout), k.in(layout), v.in(layout), { ...options, ...sizes });
  return new Rows({ batch, heads: numHeads, length, dim: v.dim }, layout, out);
}

/** The scores of every query and key at some stage, [batch, heads, q.length, k.length]. */
export function scores(heed: Heed, q: Rows, k: Rows, options: ScoreOptions, stage: Stage): OnnxTensor {
  const layout = q.layout === "blhd" && k.layout === "blhd" ? "blhd" : "bhld";
  const { batch, heads: numHeads, dim: headDim } = q;
  const sizes = { numHeads, numKvHeads: k.heads, headDim, batch, layout, stage } as const;
  // Before the masks every key has a score.
  const { kvLengths } = stage === "masked" || stage === "softmax" ? options : {};
  const { weights } = heed.attentionWeights(q.in(layout), k.in(layout), { ...options, ...sizes, kvLengths });
  return { data: weights, shape: [batch, numHeads, q.length, k.length] };
}

/** [outer, a, b, dim] as [outer, b, a, dim]. */
function swapMiddle(data: Float32Array, outer: number, a: number, b: number, dim: number): Float32Array {
  const swapped = new Float32Array(data.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < a; i++) {
      for (let j = 0; j < b; j++) {
        const from = ((o * a + i) * b + j) * dim;
        swapped.set(data.subarray(from, from + dim), ((o * b + j) * a + i) * dim);
      }
    }
  }
  return swapped;
}
