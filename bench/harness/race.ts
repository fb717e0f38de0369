// What every race of the linear layer and of the whole layer shares: inputs, and what a result may be off by.
import type { Input } from "../peers/onnx.ts";
import type { Contender } from "../peers/peer.ts";
import { type Floats, mulberry32 } from "../cases/shapes.ts";

/** Those who compute the same, and what they are to find. */
export interface Race {
  what: string;
  flops: number;
  entrants: (Contender & { dispose?(): unknown })[];
  /** Some results of the product in f64: their places and values. */
  exact: Map<number, number>;
  tolerance: number;
}

/** Uniform, of variance 1 / `terms`, so that sums of as many products with rows of variance 1 have variance 1. */
export function makeFloats(length: number, seed: number, terms = 1): Floats {
  const random = mulberry32(seed);
  return Float32Array.from({ length }, () => (random() * 2 - 1) * Math.sqrt(3 / terms));
}

/** The largest error that a sum of `terms` products of variance 1 / terms may have in f32, whatever its order: 16 standard deviations. */
export function toleranceOf(terms: number): number {
  return 16 * Math.sqrt(terms) * 2 ** -24;
}

export function floats(data: Floats, dims: number[]): Input {
  return { type: "float32", data, dims };
}
