// The layouts and masks that peers compute in.
import { type Problem, sees } from "../harness/problem.ts";
import type { Floats } from "../harness/random.ts";

/** [batch, rows, heads, dim] as [batch, heads, rows, dim], or back, as `rows` and `heads` change places. */
export function swapRowsAndHeads(
  from: Float32Array,
  { batch, rows, heads, dim }: { batch: number; rows: number; heads: number; dim: number },
): Floats {
  const to = new Float32Array(from.length);
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < rows; i++) {
      for (let h = 0; h < heads; h++) {
        const start = ((b * rows + i) * heads + h) * dim;
        to.set(from.subarray(start, start + dim), ((b * heads + h) * rows + i) * dim);
      }
    }
  }
  return to;
}

/** Each [rows, columns] matrix as [columns, rows]. */
export function transpose(from: Floats, rows: number, columns: number): Floats {
  const to = new Float32Array(from.length);
  for (let start = 0; start < from.length; start += rows * columns) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) to[start + j * rows + i] = from[start + i * columns + j]!;
    }
  }
  return to;
}

/** q, k and v as [batch, heads, rows, dim], the layout that most peers compute in. */
export function byHeads({ shape, q, k, v }: Problem): { q: Floats; k: Floats; v: Floats } {
  const { batch, numHeads, numKvHeads, seqLenQ, seqLenKv, headDim } = shape;
  const kv = { batch, rows: seqLenKv, heads: numKvHeads, dim: headDim };
  return {
    q: swapRowsAndHeads(q, { batch, rows: seqLenQ, heads: numHeads, dim: headDim }),
    k: swapRowsAndHeads(k, kv),
    v: swapRowsAndHeads(v, kv),
  };
}

/** A result [batch, heads, rows, dim] as [batch, rows, heads, dim]. */
export function fromHeads(out: Float32Array, { shape }: Problem): Floats {
  const { batch, numHeads, seqLenQ, headDim } = shape;
  return swapRowsAndHeads(out, { batch, rows: numHeads, heads: seqLenQ, dim: headDim });
}

/** K or V, [batch, KV heads, rows, dim], with each head repeated for every query head that reads it. */
export function expandHeads(kv: Floats, { shape }: Problem): Floats {
  const { numHeads, numKvHeads, seqLenKv, headDim } = shape;
  const group = numHeads / numKvHeads;
  if (group === 1) return kv;
  const size = seqLenKv * headDim;
  const expanded = new Float32Array(kv.length * group);
  for (let h = 0; h < expanded.length / size; h++) {
    const from = Math.floor(h / group) * size;
    expanded.set(kv.subarray(from, from + size), h * size);
  }
  return expanded;
}

/** Q / √headDim, so that the peer need not scale its scores. */
export function scaled(q: Floats, headDim: number): Floats {
  return q.map((x) => x / Math.sqrt(headDim));
}

/** Added to a score, this leaves a weight of 0. */
export const MASKED = -1e30;

/** Whether something is masked. */
export function isMasked({ shape, keepKeys }: Problem): boolean {
  return shape.causal === true || shape.window !== undefined || keepKeys !== undefined;
}

/** The mask as [batch or 1, 1, seqLenQ or 1, seqLenKv], to be added to the scores. */
export function biasOf(problem: Problem): { data: Floats; dims: [number, number, number, number] } {
  const { batch, seqLenQ, seqLenKv, causal, window } = problem.shape;
  const batches = problem.keepKeys ? batch : 1;
  const rows = causal || window !== undefined ? seqLenQ : 1;
  const data = new Float32Array(batches * rows * seqLenKv);
  for (let at = 0; at < data.length; at++) {
    const row = Math.floor(at / seqLenKv);
    if (!sees(problem, Math.floor(row / rows), row % rows, at % seqLenKv)) data[at] = MASKED;
  }
  return { data, dims: [batches, 1, rows, seqLenKv] };
}
