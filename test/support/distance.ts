import type { Problem } from "./problems.ts";
import { type Answer, reference } from "./reference.ts";

/** One ulp of 1 in f32. */
export const ULP = 2 ** -23;

/**
 * The floor for problems of so few elements that the plain implementation may be exact by luck: what the last
 * operations must round in any implementation. `top` bounds the scores that have weight, |m| ≤ |lse| + ln(keys + sink).
 * After q·k a score is rounded three times, by scale, ALiBi and bias, so that it is off by 1.5 ulp of top.
 *
 *     lse    m 1.5 ulp of top, the result ½; l by exp, 1.5 ulp of l (assembly/simd/exp.ts), as much of 1 in ln l:
 *            1.5 ulp of 1 + 2 ulp of top
 *     out    relative errors ε of the weights move a weighted mean of v by at most ε·Σ wⱼ|vⱼ − out| ≤ ε·max|v|:
 *            the scores 1.5 ulp of top, exp 1.5 ulp; the reciprocal of l and the product with it, ½ ulp each:
 *            (2.5 ulp of 1 + 1.5 ulp of top)·max|v|
 */
export function floorOf(
  { q, k, v, options }: Problem,
  exact: Answer = reference(q, k, v, options),
): { out: number; lse: number } {
  const keys = k.length / ((options.numKvHeads ?? options.numHeads) * options.headDim);
  const top = largest(exact.lse) + Math.log(keys + 1);
  return { out: (2.5 + 1.5 * top) * ULP * largest(v), lse: (1.5 + 2 * top) * ULP };
}

/** The largest magnitude that is finite. */
export function largest(numbers: ArrayLike<number>): number {
  let most = 0;
  for (let n = 0; n < numbers.length; n++) {
    const magnitude = Math.abs(numbers[n]!);
    if (magnitude > most && magnitude < Infinity) most = magnitude;
  }
  return most;
}

/** The largest distance; equal infinities and two NaNs are no distance apart, NaN is infinitely far from a number. */
export function maxError(got: ArrayLike<number>, exact: ArrayLike<number>): number {
  if (got.length !== exact.length) return Infinity;
  let error = 0;
  for (let i = 0; i < exact.length; i++) {
    if (got[i] === exact[i] || (Number.isNaN(got[i]) && Number.isNaN(exact[i]))) continue;
    const distance = Math.abs(got[i]! - exact[i]!);
    error = Math.max(error, Number.isNaN(distance) ? Infinity : distance);
  }
  return error;
}
