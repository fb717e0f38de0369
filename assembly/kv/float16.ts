// IEEE 754 binary16, stored in the pages of a KV cache; converted eight values at a time as it is loaded.
//
//     binary16            s eeeee ffffffffff
//     moved left by 13    s···eeeeeffffffffff0000000000000     exponent and fraction at their f32 places,
//                         & WIDENED_BITS                       sign extended, so bits 28 … 30 are cleared
//
// The exponent bias stays that of binary16 (15, not 127), so a widened value is 2⁻¹¹² of its size: multiply by
// F16_SCALE.
//
// One instruction widens four values: i32x4.dot_i16x8_s multiplies pairs of i16 and adds them, so (2¹³, 0) sign-extends
// and shifts the value at the even place of each pair, and (0, 2¹³) that at the odd place. So eight values come in two
// vectors:
//
//     in memory      x0 x1 x2 x3 x4 x5 x6 x7
//     widenEven      x0 x2 x4 x6
//     widenOdd       x1 x3 x5 x7
//
// The kernels of decode/ keep q, and O, in that order as well ("even-odd order"), and restore the order of O at the
// end.

/** What a widened binary16 is multiplied by to have its size: 2¹¹². */
// @ts-ignore: decorator
@inline export const F16_SCALE: f32 = reinterpret<f32>(0x77800000);

/**
 * Four of eight binary16 as f32, 1/F16_SCALE of their size. `factors` has F16_EVEN or F16_ODD of simd/constants.ts in every
 * lane, `mask` has F16_MASK.
 */
// @ts-ignore: decorator
@inline export function widen(x: v128, factors: v128, mask: v128): v128 {
  return v128.and(i32x4.dot_i16x8_s(x, factors), mask);
}

/**
 * Half of the eight values at `address`: of f32 the first four; of binary16 (T = u16) those at even places, see {@link
 * widen}.
 */
// @ts-ignore: decorator
@inline export function loadHalf0<T>(address: usize, evenFactors: v128, mask: v128): v128 {
  if (isFloat<T>()) return v128.load(address);
  return widen(v128.load(address), evenFactors, mask);
}

/** The other half: of f32 the last four; of binary16 those at odd places. */
// @ts-ignore: decorator
@inline export function loadHalf1<T>(address: usize, oddFactors: v128, mask: v128): v128 {
  if (isFloat<T>()) return v128.load(address, 16);
  return widen(v128.load(address), oddFactors, mask);
}

/** row [count] ← its eights in even-odd order; `to` may be `row`. */
export function toEvenOdd(to: usize, row: usize, count: i32): void {
  for (const end = row + ((<usize>count) << 2); row != end; row += 32) {
    const low = v128.load(row);
    const high = v128.load(row, 16);
    v128.store(to, v128.shuffle<f32>(low, high, 0, 2, 4, 6));
    v128.store(to, v128.shuffle<f32>(low, high, 1, 3, 5, 7), 16);
    to += 32;
  }
}

/** row [count], whose eights are in even-odd order ← the order of the values. */
export function fromEvenOdd(row: usize, count: i32): void {
  for (const end = row + ((<usize>count) << 2); row != end; row += 32) {
    const even = v128.load(row);
    const odd = v128.load(row, 16);
    v128.store(row, v128.shuffle<f32>(even, odd, 0, 4, 1, 5));
    v128.store(row, v128.shuffle<f32>(even, odd, 2, 6, 3, 7), 16);
  }
}

/**
 * Four floats as binary16, each in the low half of its lane, rounded to nearest even. Beyond ±65504, and for NaN, they
 * saturate.
 *
 *     normal halves      the bits, exponent bias 127 → 15, rounded by a carry out of the 13 bits that go
 *     subnormal halves   whole multiples of 2⁻²⁴, the last place of numbers from ½ on: adding ½ rounds to them
 */
export function narrowToF16(x: v128): v128 {
  const magnitude = f32x4.pmin(f32x4.splat(65504), f32x4.abs(x));
  const odd = i32x4.shr_s(i32x4.shl(magnitude, 18), 31); // −1 where the last of the bits that stay is 1
  const normal = i32x4.shr_u(i32x4.sub(i32x4.add(magnitude, i32x4.splat(0xfff - 0x38000000)), odd), 13);
  const subnormal = i32x4.sub(f32x4.add(magnitude, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  const half = v128.bitselect(subnormal, normal, f32x4.lt(magnitude, f32x4.splat(6.103515625e-5)));
  return v128.or(half, i32x4.shl(i32x4.shr_u(x, 31), 15));
}
