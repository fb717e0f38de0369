import type { Stage } from "../attention-weights/options.ts";
import type { AttentionOptions } from "../attention/options.ts";
import { wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import type { Layout } from "../memory/layout.ts";
import { type OnnxTensor, checkShape } from "./operands.ts";

/** The sizes of {@link Rows}: `length` rows of `dim` floats for each of `heads` heads of each of `batch` entries. */
export interface RowSizes {
  batch: number;
  heads: number;
  length: number;
  dim: number;
}

/**
 * The rows of q, k, v or an output, in the layout in which they came; the other layout is made when it is first read.
 */
export class Rows implements RowSizes {
  readonly batch: number;
  readonly heads: number;
  readonly length: number;
  readonly dim: number;
  /** The layout of `data`. */
  readonly layout: Layout;
  readonly data: Float32Array;
  /** `data` in the other layout, once it was read. */
  #other: Float32Array | undefined;

  constructor({ batch, heads, length, dim }: RowSizes, layout: Layout, data: Float32Array) {
    this.batch = batch;
    this.heads = heads;
    this.length = length;
    this.dim = dim;
    this.layout = layout;
    this.data = data;
  }

  /**
   * The rows of a tensor [batch, heads, length, dim] or [batch, length, heads·dim].
   *
   * @throws RangeError for a shape that does not have `heads` heads; `name` names the tensor in it
   */
  static fromTensor(name: string, { shape, data }: OnnxTensor, heads: number): Rows {
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

  /** [batch, heads, length, dim] */
  get shape(): [number, number, number, number] {
    return [this.batch, this.heads, this.length, this.dim];
  }

  /** The floats in this layout: those that came in, or a copy that is made once. */
  dataIn(layout: Layout): Float32Array {
    const { batch, heads, length, dim } = this;
    if (layout === this.layout || heads === 1 || length === 1) return this.data;
    const [outer, inner] = layout === "bhld" ? [length, heads] : [heads, length];
    return (this.#other ??= swapMiddle(this.data, batch, outer, inner, dim));
  }

  /** As a tensor [batch, heads, length, dim]. */
  get unpacked(): OnnxTensor {
    return { data: this.dataIn("bhld"), shape: this.shape };
  }

  /** As a tensor [batch, length, heads·dim]. */
  get packed(): OnnxTensor {
    return { data: this.dataIn("blhd"), shape: [this.batch, this.length, this.heads * this.dim] };
  }
}

/** The columns [start, start + width) of a matrix with rows of `rowLength` floats, copied. */
export function columns(data: Float32Array, rowLength: number, start: number, width: number): Float32Array {
  const rows = rowLength === 0 ? 0 : data.length / rowLength;
  const taken = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const first = row * rowLength + start;
    taken.set(data.subarray(first, first + width), row * width);
  }
  return taken;
}

/** The options of attention that rows do not settle. */
export type ScoreOptions = Omit<
  AttentionOptions,
  "numHeads" | "numKvHeads" | "headDim" | "valueDim" | "batch" | "layout" | "out" | "lse"
>;

/** Attention from q over k and v. Where all came as "blhd" nothing is copied into the other layout. */
export function attend(heed: Heed, q: Rows, k: Rows, v: Rows, options: ScoreOptions): Rows {
  const layout = [q, k, v].every((rows) => rows.layout === "blhd") ? "blhd" : "bhld";
  const { batch, heads: numHeads, length, dim: headDim } = q;
  const sizes = { numHeads, numKvHeads: k.heads, headDim, valueDim: v.dim, batch, layout } as const;
  const { out } = heed.attention(q.dataIn(layout), k.dataIn(layout), v.dataIn(layout), { ...options, ...sizes });
  return new Rows({ batch, heads: numHeads, length, dim: v.dim }, layout, out);
}

/** The scores of every query and key after `stage`, [batch, heads, q.length, k.length]. */
export function scores(heed: Heed, q: Rows, k: Rows, options: ScoreOptions, stage: Stage): OnnxTensor {
  const layout = q.layout === "blhd" && k.layout === "blhd" ? "blhd" : "bhld";
  const { batch, heads: numHeads, dim: headDim } = q;
  const sizes = { numHeads, numKvHeads: k.heads, headDim, batch, layout, stage } as const;
  // The stages before the masks have a score for every key, padding included.
  const { kvLengths } = stage === "masked" || stage === "softmax" ? options : {};
  const { weights } = heed.attentionWeights(q.dataIn(layout), k.dataIn(layout), { ...options, ...sizes, kvLengths });
  return { data: weights, shape: [batch, numHeads, q.length, k.length] };
}

/** A copy of a tensor [outer, a, b, dim] as [outer, b, a, dim]. */
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
