import { type Answer, type PlainOptions, reference } from "./reference.ts";

/**
 * The plain f32 implementation: three passes, sequential sums, every operation rounded once. It sets the error budget.
 */
export function naive(q: Float32Array, k: Float32Array, v: Float32Array, options: PlainOptions): Answer {
  return reference(q, k, v, options, Math.fround);
}
