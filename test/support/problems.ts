import { integer, floats, uniform } from "./random.ts";
import type { PlainOptions } from "./reference.ts";

/** Arguments of one call of attention. */
export interface Problem {
  q: Float32Array<ArrayBuffer>;
  k: Float32Array<ArrayBuffer>;
  v: Float32Array<ArrayBuffer>;
  options: PlainOptions;
}

/** The sizes of a problem; what is left out is small and odd. */
export interface Sizes {
  batch?: number;
  numHeads?: number;
  numKvHeads?: number;
  seqLenQ?: number;
  seqLenKv?: number;
  headDim?: number;
  valueDim?: number;
}

/** Random q, k and v for the sizes, and `options` besides. */
export function problemOf(sizes: Sizes, options: Partial<PlainOptions> = {}, seed = 1): Problem {
  const { batch = 2, numHeads = 4, numKvHeads = numHeads, seqLenQ = 13, seqLenKv = 29, headDim = 24 } = sizes;
  const { valueDim = headDim } = sizes;
  const next = uniform(seed);
  return {
    q: floats(batch * seqLenQ * numHeads * headDim, next),
    k: floats(batch * seqLenKv * numKvHeads * headDim, next),
    v: floats(batch * seqLenKv * numKvHeads * valueDim, next),
    options: { batch, numHeads, numKvHeads, headDim, valueDim, ...options },
  };
}

/** A keepMask of `shape` that keeps about two cells of three. */
export function randomMask(shape: readonly number[], seed = 2): { data: Uint8Array; shape: readonly number[] } {
  const next = uniform(seed);
  const data = Uint8Array.from({ length: sizeOf(shape) }, () => (next() < 2 / 3 ? integer(1, 255, next) : 0));
  return { data, shape };
}

/** A bias of `shape`; about `masked` of it is −Infinity. */
export function randomBias(
  shape: readonly number[],
  masked = 0,
  seed = 3,
): { data: Float32Array; shape: readonly number[] } {
  const next = uniform(seed);
  return { data: floats(sizeOf(shape), next).map((x) => (next() < masked ? -Infinity : x)), shape };
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
