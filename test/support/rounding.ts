/**
 * What the result of every operation becomes: `exactly` that in the oracle in f64, Math.fround of it in the plain f32
 * implementation. There is no third.
 */
export type Round = (x: number) => number;

export const exactly: Round = (x) => x;

/*
 * The two loops in which the references spend their time. V8 inlines a call that always has the same target: with
 * `round` called in the loop they take twenty times as long, and the references take longer than all kernels of all
 * builds together.
 */

/** Σ a[aStart + n]·b[bStart + n] in order, every product and every sum rounded. */
export function dot(
  a: ArrayLike<number>,
  aStart: number,
  b: ArrayLike<number>,
  bStart: number,
  length: number,
  round: Round,
): number {
  let sum = 0;
  if (round === exactly) {
    for (let n = 0; n < length; n++) sum += a[aStart + n]! * b[bStart + n]!;
  } else {
    for (let n = 0; n < length; n++) sum = Math.fround(sum + Math.fround(a[aStart + n]! * b[bStart + n]!));
  }
  return sum;
}

/** out[outStart + n] += factor·x[xStart + n], every product and every sum rounded. */
export function addScaled(
  out: Float64Array,
  outStart: number,
  factor: number,
  x: ArrayLike<number>,
  xStart: number,
  length: number,
  round: Round,
): void {
  if (round === exactly) {
    for (let n = 0; n < length; n++) out[outStart + n]! += factor * x[xStart + n]!;
  } else {
    for (let n = 0; n < length; n++) {
      out[outStart + n] = Math.fround(out[outStart + n]! + Math.fround(factor * x[xStart + n]!));
    }
  }
}
