import { type Problem, sees } from "./problem.ts";

/** Some rows of the exact result, and how far an f32 computation may be from them. */
export interface Reference {
  /** Offsets of the rows in the result [batch, seqLenQ, numHeads, headDim]. */
  offsets: number[];
  /** [rows, headDim] in f64. */
  rows: Float64Array;
  /** 16 × the error of the plain three-pass f32 computation of the same rows, but at least 2⁻²⁰. */
  tolerance: number;
}

/** Multiplications worth waiting for: about half a second, f64 and f32 together. */
const BUDGET = 2 ** 26;

/** Rows spread over the whole result, the first and the last among them; all of them where the problem is small. */
export function makeReference(problem: Problem): Reference {
  const { batch, numHeads, seqLenQ, seqLenKv, headDim } = problem.shape;
  const total = batch * seqLenQ * numHeads;
  const count = Math.min(total, Math.max(2, Math.ceil(BUDGET / (seqLenKv * headDim))));
  const offsets = Array.from({ length: count }, (_, n) => Math.floor((n * (total - 1)) / (count - 1)) * headDim);
  const rows = new Float64Array(count * headDim);
  let naiveError = 0;
  offsets.forEach((offset, n) => {
    const exact = attendRow(problem, offset / headDim, false);
    const naive = attendRow(problem, offset / headDim, true);
    rows.set(exact, n * headDim);
    for (let d = 0; d < headDim; d++) naiveError = Math.max(naiveError, Math.abs(exact[d]! - naive[d]!));
  });
  return { offsets, rows, tolerance: Math.max(16 * naiveError, 2 ** -20) };
}

/** Row `row` = (b·seqLenQ + i)·numHeads + h of the result in f64, or with every step rounded to f32. */
function attendRow(problem: Problem, row: number, f32: boolean): Float64Array {
  const { numHeads, numKvHeads, seqLenQ, seqLenKv, headDim } = problem.shape;
  const { q, k, v } = problem;
  const h = row % numHeads;
  const i = Math.floor(row / numHeads) % seqLenQ;
  const b = Math.floor(row / numHeads / seqLenQ);
  const kv = (b * seqLenKv * numKvHeads + Math.floor((h * numKvHeads) / numHeads)) * headDim;
  const scale = round(1 / Math.sqrt(headDim), f32);

  const p = new Float64Array(seqLenKv);
  let m = -Infinity;
  for (let j = 0; j < seqLenKv; j++) {
    if (!sees(problem, b, i, j)) {
      p[j] = -Infinity;
      continue;
    }
    const kj = kv + j * numKvHeads * headDim;
    let dot = 0;
    for (let d = 0; d < headDim; d++) dot = round(dot + round(q[row * headDim + d]! * k[kj + d]!, f32), f32);
    p[j] = round(dot * scale, f32);
    m = Math.max(m, p[j]!);
  }
  let l = 0;
  for (let j = 0; j < seqLenKv; j++) {
    p[j] = round(Math.exp(round(p[j]! - m, f32)), f32);
    l = round(l + p[j]!, f32);
  }
  const out = new Float64Array(headDim);
  for (let j = 0; j < seqLenKv; j++) {
    const vj = kv + j * numKvHeads * headDim;
    const weight = round(p[j]! / l, f32);
    for (let d = 0; d < headDim; d++) out[d] = round(out[d]! + round(weight * v[vj + d]!, f32), f32);
  }
  return out;
}

function round(x: number, f32: boolean): number {
  return f32 ? Math.fround(x) : x;
}

/** The largest absolute error of `out` [batch, seqLenQ, numHeads, headDim] in the reference's rows, or NaN. */
export function maxError(out: Float32Array, { offsets, rows }: Reference): number {
  const headDim = rows.length / offsets.length;
  let error = 0;
  offsets.forEach((offset, n) => {
    for (let d = 0; d < headDim; d++) error = Math.max(error, Math.abs(out[offset + d]! - rows[n * headDim + d]!));
  });
  return error;
}
