import { type Floats, mulberry32, uniform } from "./random.ts";

/** A linear layer with its inputs: out = x·Wᵀ + bias. */
export interface LinearProblem {
  rows: number;
  inFeatures: number;
  outFeatures: number;
  /** [rows, inFeatures] */
  x: Floats;
  /** [outFeatures, inFeatures] */
  weight: Floats;
  /** [outFeatures] */
  bias: Floats;
}

/** A whole layer with its inputs: self-attention over tokens of `width` floats. */
export interface LayerProblem {
  seqLen: number;
  width: number;
  numHeads: number;
  /** [seqLen, width] */
  x: Floats;
  /** The projections q, k, v and out, each [width, width]. */
  weights: readonly [q: Floats, k: Floats, v: Floats, out: Floats];
  /** Their biases, [4, width]. */
  bias: Floats;
}

/** The same inputs at every run; x has variance 1, and the products too. */
export function makeLinearProblem([rows, inFeatures, outFeatures]: readonly [number, number, number]): LinearProblem {
  const x = uniform(rows * inFeatures, mulberry32(1));
  const weight = uniform(outFeatures * inFeatures, mulberry32(2), 1 / inFeatures);
  const bias = uniform(outFeatures, mulberry32(3));
  return { rows, inFeatures, outFeatures, x, weight, bias };
}

/** The same inputs at every run; x has variance 1, and the projections too. */
export function makeLayerProblem(sizes: { seqLen: number; width: number; numHeads: number }): LayerProblem {
  const { seqLen, width } = sizes;
  const x = uniform(seqLen * width, mulberry32(1));
  const square = (seed: number): Floats => uniform(width * width, mulberry32(seed), 1 / width);
  return {
    ...sizes,
    x,
    weights: [square(2), square(3), square(4), square(5)],
    bias: uniform(4 * width, mulberry32(6)),
  };
}
