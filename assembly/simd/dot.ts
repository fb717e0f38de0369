// The register tile of simd/gemm.ts in integers of 16 bits: i32x4.dot_i16x8_s multiplies two pairs and adds them up, so
// that a step of the sum is a pair of values, and plain SIMD does twice as many products as with floats.
//
//     C[i][LANES] += rowScale[i] · laneScale[LANES] · Σ_t A[i][t] · B[t][LANES]          A[i][t], B[t][lane]: pairs
//
//                      A                              B                     C
//     scores           K  [key][pair of dims]         Qᵗ [pair of dims]     S  [key]
//     weighted sum     Vᵗ [column][pair of keys]      P  [pair of keys]     Oᵗ [column]
//     linear           x  [row][pair of features]     Wᵗ [pair of features] out [row]
//
// A pair stands in four bytes, the first of the two in the lower half. The sums are exact, so their order shows in no
// bit: whoever calls bounds the values so that no sum overflows.

import { LANE_BYTES } from "./lanes";

/** log₂ of the largest integer of P: sums over a block of keys do not overflow (prefill/half.ts). */
// @ts-ignore: decorator
@inline export const P_BITS: f32 = 13;

/** The lower halves of a and of b, side by side. */
// @ts-ignore: decorator
@inline export function sidePairs(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, i32x4.shl(b, 16), 0, 9, 2, 11, 4, 13, 6, 15);
}

/**
 * C[i][LANES] += rowScale[i] · laneScale[LANES] · Σ_t A[i][t]·B[t][LANES] for i < rows, t < pairs.
 *
 *   c            [rows + ROWS_OVER][LANES] floats; the rows past `rows` are scratch
 *   a            the pair A[i][t] at a + i·aRow + t·aStep (bytes); nothing past A[rows − 1] is read
 *   b            [pairs][LANES] pairs, which does not end where memory may end (at 2³²)
 *   vectors      how many vectors of each row are needed, 1 … VECTORS; others may be left as they were, or overwritten
 *   rowScales    the f32 scale of row i at rowScales + i·rowScaleStep (bytes)
 *   laneScales   [LANES] floats
 */
export function multiplyPairs(
  c: usize,
  a: usize,
  b: usize,
  rows: i32,
  pairs: i32,
  vectors: i32,
  aRow: usize,
  aStep: usize,
  rowScales: usize,
  rowScaleStep: usize,
  laneScales: usize,
): void {
  const bytes = (<usize>vectors) << 4;
  const bEnd = b + <usize>pairs * LANE_BYTES;
  for (let left = rows; left > 0; left -= 2) {
    const next = left > 1;
    const a1 = next ? a + aRow : a;
    const scale0 = v128.load32_splat(rowScales);
    if (next) rowScales += rowScaleStep;
    const scale1 = v128.load32_splat(rowScales);
    tile(c, a, a1, aStep, b, bEnd, bytes, scale0, scale1, laneScales);
    rowScales += rowScaleStep;
    a = a1 + aRow;
    c += 2 * LANE_BYTES;
  }
}

/** Two rows and four vectors: 8 accumulators, 4 vectors of B, 2 splats. */
// @ts-ignore: decorator
@inline function tile(
  c: usize,
  a0: usize,
  a1: usize,
  aStep: usize,
  b: usize,
  bEnd: usize,
  bytes: usize,
  scale0: v128,
  scale1: v128,
  laneScales: usize,
): void {
  const zero = v128.andnot(scale0, scale0); // as a literal it takes 18 bytes wherever it is used
  let c00 = zero;
  let c01 = zero;
  let c02 = zero;
  let c03 = zero;
  let c10 = zero;
  let c11 = zero;
  let c12 = zero;
  let c13 = zero;
  for (let at: usize = 0; b < bEnd; b += LANE_BYTES, at += aStep) {
    const b0 = v128.load(b, 0);
    const b1 = v128.load(b, 16);
    const b2 = v128.load(b, 32);
    const b3 = v128.load(b, 48);
    let x = v128.load32_splat(a0 + at);
    c00 = i32x4.add(c00, i32x4.dot_i16x8_s(x, b0));
    c01 = i32x4.add(c01, i32x4.dot_i16x8_s(x, b1));
    c02 = i32x4.add(c02, i32x4.dot_i16x8_s(x, b2));
    c03 = i32x4.add(c03, i32x4.dot_i16x8_s(x, b3));
    x = v128.load32_splat(a1 + at);
    c10 = i32x4.add(c10, i32x4.dot_i16x8_s(x, b0));
    c11 = i32x4.add(c11, i32x4.dot_i16x8_s(x, b1));
    c12 = i32x4.add(c12, i32x4.dot_i16x8_s(x, b2));
    c13 = i32x4.add(c13, i32x4.dot_i16x8_s(x, b3));
  }
  const s0 = v128.load(laneScales, 0);
  const s1 = v128.load(laneScales, 16);
  const s2 = v128.load(laneScales, 32);
  const s3 = v128.load(laneScales, 48);
  put(c, 0, c00, scale0, s0);
  put(c, 16, c01, scale0, s1);
  put(c, 32, c02, scale0, s2);
  put(c, 48, c03, scale0, s3);
  put(c, 64, c10, scale1, s0);
  put(c, 80, c11, scale1, s1);
  put(c, 96, c12, scale1, s2);
  put(c, 112, c13, scale1, s3);
}

/** C += sum·rowScale·laneScale */
// @ts-ignore: decorator
@inline function put(c: usize, offset: usize, sum: v128, rowScale: v128, laneScale: v128): void {
  const x = f32x4.mul(f32x4.convert_i32x4_s(sum), f32x4.mul(rowScale, laneScale));
  v128.store(c + offset, f32x4.add(v128.load(c + offset), x));
}
