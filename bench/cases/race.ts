// What the races of the linear layer and of the whole layer share.
import type { Contender } from "../harness/entrant.ts";

/** Contenders that compute the same, and what they must find. */
export interface Race {
  what: string;
  flops: number;
  entrants: Contender[];
  /** Some results of the product in f64: their places and values. */
  exact: Map<number, number>;
  tolerance: number;
}

/**
 * The largest error that an f32 sum of `terms` products of variance 1 / terms may have, whatever its order: 16 standard
 * deviations.
 */
export function toleranceOf(terms: number): number {
  return 16 * Math.sqrt(terms) * 2 ** -24;
}

/** The largest error of a result in the places whose values are known. */
export function errorAt(exact: ReadonlyMap<number, number>, out: Float32Array): number {
  return Math.max(...Array.from(exact, ([at, value]) => Math.abs(out[at]! - value)));
}
