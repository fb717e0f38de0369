import type { Value } from "./load.ts";

/** [batch, heads, length, dim] */
export interface Rows {
  batch: number;
  heads: number;
  length: number;
  dim: number;
  data: Float32Array<ArrayBuffer>;
}

/** A tensor [batch, heads, length, dim], or [batch, length, heads·dim] in other order. */
export function rowsOf({ shape, data }: Value, heads: number): Rows {
  if (shape.length === 4) {
    const [batch, ownHeads, length, dim] = shape as [number, number, number, number];
    return { batch, heads: ownHeads, length, dim, data };
  }
  const [batch, length, width] = shape as [number, number, number];
  const dim = width / heads;
  return { batch, heads, length, dim, data: swapMiddle(data, batch, length, heads, dim) };
}

/** [batch, heads, length, dim] as [batch, length, heads·dim]. */
export function packed({ batch, heads, length, dim, data }: Rows): Float32Array<ArrayBuffer> {
  return swapMiddle(data, batch, heads, length, dim);
}

/** The rows of `past` before those of `next`, in every head of every batch entry. */
export function appended(past: Rows, next: Rows): Rows {
  const length = past.length + next.length;
  const data = new Float32Array(past.batch * past.heads * length * past.dim);
  for (let n = 0; n < past.batch * past.heads; n++) {
    const at = n * length * past.dim;
    data.set(part(past, n), at);
    data.set(part(next, n), at + past.length * past.dim);
  }
  return { ...past, length, data };
}

/** The rows of head n % heads of batch entry n / heads. */
export function part({ length, dim, data }: Rows, n: number): Float32Array<ArrayBuffer> {
  return data.subarray(n * length * dim, (n + 1) * length * dim);
}

/** [outer, a, b, dim] as [outer, b, a, dim]. */
function swapMiddle(data: Float32Array, outer: number, a: number, b: number, dim: number): Float32Array<ArrayBuffer> {
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
