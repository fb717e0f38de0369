// 16 bits as a caller has them, to f32 and back: every value of binary16 and of bfloat16, NaN and Infinity too.
//
//     HALF    binary16: widened as in float16.ts; what has the largest exponent, 2¹⁶ and more then, gets that of f32
//     BF16    bfloat16: the upper half of an f32
//
// To f32 both are exact. To 16 bits both round to nearest, ties to even, and keep NaN and Infinity. Finite values beyond
// ±65504 become ±65504 in binary16. In bfloat16, which has the exponents of f32, values from (2 − 2⁻⁸)·2¹²⁷ on become
// Infinity, as IEEE has it.

import { WIDENED_BITS } from "../simd/constants";
import { vectorBytes } from "../simd/lanes";
import { F16_SCALE, narrowToF16 } from "./float16";
import { BF16, isHalves } from "./rows";

/** to [count] = 16 bits at `from` as f32; whole fours are read and written. `from` may be the end of the memory of `to`. */
export function convertHalves(to: usize, from: usize, count: i32, type: i32): void {
  if (type == BF16) widen(to, from, count, 16, -1, 1, Infinity);
  else widen(to, from, count, 13, WIDENED_BITS, F16_SCALE, 65536);
}

/**
 * (bits << shift & mask)·scale, and Infinity or NaN from `large` on. The constants come as arguments, so that they stay in
 * registers and take few bytes.
 */
function widen(to: usize, from: usize, count: i32, shift: i32, mask: i32, scale: f32, large: f32): void {
  const masks = i32x4.splat(mask);
  const scales = f32x4.splat(scale);
  const larges = f32x4.splat(large);
  const infinities = f32x4.splat(Infinity);
  for (const end = to + vectorBytes(count); to != end; to += 16) {
    const x = f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(from), shift), masks), scales);
    v128.store(to, v128.or(x, v128.and(f32x4.ge(f32x4.abs(x), larges), infinities)));
    from += 8;
  }
}

/** A row as f32: the one at `row` where it is such, else converted at `to`. */
// @ts-ignore: decorator
@inline export function rowAsF32(row: usize, to: usize, dim: i32, type: i32): usize {
  if (isHalves(type)) {
    convertHalves(to, row, dim, type);
    row = to;
  }
  return row;
}

/** Four floats in 16 bits, each in the low half of its lane. */
function narrow(x: v128, type: i32): v128 {
  let half: v128;
  if (type == BF16) {
    const odd = i32x4.shr_s(i32x4.shl(x, 15), 31); // −1 where the last of the bits that stay is 1
    half = i32x4.shr_u(i32x4.sub(i32x4.add(x, i32x4.splat(0x7fff)), odd), 16);
  } else {
    // Infinity stands one above 65504. x − x is NaN where x is not finite.
    const none = f32x4.sub(x, x);
    half = i32x4.sub(narrowToF16(x), f32x4.ne(none, none));
  }
  return v128.or(half, i32x4.shr_u(f32x4.ne(x, x), 16));
}

/**
 * to [count] = floats at `from` in 16 bits. Whole eights are read, no more than `count` written; where these are no whole
 * eights, the last floats are overwritten.
 */
export function storeHalves(to: usize, from: usize, count: i32, type: i32): void {
  for (; count > 0; count -= 8) {
    const eight = i16x8.narrow_i32x4_u(narrow(v128.load(from), type), narrow(v128.load(from, 16), type));
    if (count >= 8) {
      v128.store(to, eight);
    } else {
      v128.store(from, eight);
      memory.copy(to, from, (<usize>count) << 1);
    }
    to += 16;
    from += 32;
  }
}
