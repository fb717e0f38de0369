// The two products of decoding for one query row over rows of int8, in integers. Eight bytes become 16-bit integers in
// one instruction, four bytes become floats in three. So q, or P, is split into two 16-bit integers as well:
//
//     x = (high·2¹⁵ + low)·unit        |high|, |low| ≤ 2¹⁴, unit a power of two, ≤ 2⁻²⁸·max|x|
//
// The split is exact for every |x| ≥ max|x|/16, and off by at most unit/2 below. Sums of products with bytes stay below
// 2³¹, where f32 would round sooner.
//
//     q [dim]      2¹⁵·unit [4]   unit [4]   [dim/8] of 8 highs, 8 lows
//     P [count]    2¹⁵·unit [4]   unit [4]   [count/2] of 2 highs, 2 lows        0 up to a multiple of eight keys

import { madd, maxMagnitudeBits, powerOfTwo } from "../simd/lanes";

/** Bytes of 2¹⁵·unit and unit. */
// @ts-ignore: decorator
@inline export const UNIT_BYTES: usize = 32;

/** The longest q: its sums stay below dim/4 · 2¹⁴ · 127 < 2³¹. */
// @ts-ignore: decorator
@inline const MAX_DIM: i32 = 4096;

/** Bytes of `count` split integers and their units. */
export function splitInt16Bytes(count: i32): u64 {
  return <u64>UNIT_BYTES + (((<u64>count + 7) & ~7) << 2);
}

/** Splits q [dim]; false where it is too long, or {@link writeUnits} refuses it. */
export function splitInt16(to: usize, q: usize, dim: i32): bool {
  if (dim > MAX_DIM || !writeUnits(to, q, dim)) return false;
  const up = f32x4.splat(1 / load<f32>(to));
  to += UNIT_BYTES;
  for (const end = q + ((<usize>dim) << 2); q != end; q += 32) {
    const low = v128.load(q);
    const high = v128.load(q, 16);
    v128.store(to, highs(low, high, up));
    v128.store(to, lows(low, high, up), 16);
    to += 32;
  }
  return true;
}

/**
 * Splits P [count] of at most PAGE_KEYS keys, in pairs of keys; false where {@link writeUnits} refuses it. Writes zeros
 * behind P, up to a multiple of eight keys.
 */
export function splitInt16Pairs(to: usize, p: usize, count: i32): bool {
  const gap = (<usize>(-count & 7)) << 2;
  const end = p + ((<usize>count) << 2) + gap;
  memory.fill(end - gap, 0, gap);
  if (!writeUnits(to, p, count)) return false;
  const up = f32x4.splat(1 / load<f32>(to));
  to += UNIT_BYTES;
  for (; p != end; p += 32) {
    const first = v128.load(p);
    const second = v128.load(p, 16);
    const high = highs(first, second, up);
    const low = lows(first, second, up);
    v128.store(to, v128.shuffle<i32>(high, low, 0, 4, 1, 5));
    v128.store(to, v128.shuffle<i32>(high, low, 2, 6, 3, 7), 16);
    to += 32;
  }
  return true;
}

/**
 * Writes 2¹⁵·unit and unit of [count] floats in whole vectors. False where max|x| is NaN or Infinity, or so small or
 * large that the units are no normal floats.
 */
function writeUnits(to: usize, from: usize, count: i32): bool {
  const bits = maxMagnitudeBits(from, count);
  const exponent = bits ? (bits >> 23) - 126 : 0; // max|x| < 2^exponent
  if (exponent < -94 || exponent > 114) return false;
  v128.store(to, f32x4.splat(powerOfTwo(exponent - 14)));
  v128.store(to, f32x4.splat(powerOfTwo(exponent - 29)), 16);
  return true;
}

/** The highs: x·up, rounded to eight 16-bit integers. */
// @ts-ignore: decorator
@inline function highs(x0: v128, x1: v128, up: v128): v128 {
  return narrowToInt16(f32x4.nearest(f32x4.mul(x0, up)), f32x4.nearest(f32x4.mul(x1, up)));
}

/** The lows: what rounding to highs leaves, in units of 2⁻¹⁵. */
// @ts-ignore: decorator
@inline function lows(x0: v128, x1: v128, up: v128): v128 {
  return narrowToInt16(remainder(f32x4.mul(x0, up)), remainder(f32x4.mul(x1, up)));
}

// @ts-ignore: decorator
@inline function remainder(x: v128): v128 {
  return f32x4.nearest(f32x4.mul(f32x4.sub(x, f32x4.nearest(x)), f32x4.splat(32768)));
}

// @ts-ignore: decorator
@inline function narrowToInt16(x0: v128, x1: v128): v128 {
  return i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(x0), i32x4.trunc_sat_f32x4_s(x1));
}

/** (high·2¹⁵ + low)·unit */
// @ts-ignore: decorator
@inline function join(high: v128, low: v128, units: usize): v128 {
  const small = f32x4.mul(f32x4.convert_i32x4_s(low), v128.load(units, 16));
  return madd(f32x4.convert_i32x4_s(high), v128.load(units), small);
}

/**
 * The partial sums of qk.ts for one row of q, two neighbouring keys at a time; an odd last key is read twice, and writes
 * one key further.
 */
export function dotInt8(sums: usize, k: usize, q: usize, count: i32, dim: i32, kRowStride: usize): void {
  const qFirst = q + UNIT_BYTES;
  const qEnd = qFirst + ((<usize>dim) << 2);
  const unit = v128.load(q);
  for (; count > 0; count -= 2) {
    const second = count > 1 ? kRowStride : 0;
    let h0 = v128.andnot(unit, unit); // 0, which as a literal takes 18 bytes
    let h1 = h0;
    let l0 = h0;
    let l1 = h0;
    let row = k;
    for (let qd = qFirst; qd != qEnd; qd += 32) {
      const high = v128.load(qd);
      const low = v128.load(qd, 16);
      let x = v128.load8x8_s(row);
      h0 = i32x4.add(h0, i32x4.dot_i16x8_s(x, high));
      l0 = i32x4.add(l0, i32x4.dot_i16x8_s(x, low));
      x = v128.load8x8_s(row + second);
      h1 = i32x4.add(h1, i32x4.dot_i16x8_s(x, high));
      l1 = i32x4.add(l1, i32x4.dot_i16x8_s(x, low));
      row += 8;
    }
    v128.store(sums, join(h0, l0, q));
    v128.store(sums, join(h1, l1, q), 16);
    sums += 32;
    k += 2 * kRowStride;
  }
}

/** Bytes of the sums of {@link accumulateInt8}. */
export function valueSumBytes(dim: i32): usize {
  return (<usize>dim) << 3;
}

/**
 * O += P·V for one row of O, four neighbouring keys at a time: two pairs of keys, whose values are interleaved, since
 * dot multiplies pairs. Where keys run out, P is 0 and the last one is read again.
 *
 *     sums [dim/8] of 8 sums of highs, 8 of lows
 */
export function accumulateInt8(
  o: usize,
  v: usize,
  p: usize,
  sums: usize,
  count: i32,
  dim: i32,
  vRowStride: usize,
): void {
  const end = sums + valueSumBytes(dim);
  memory.fill(sums, 0, end - sums);
  let pair = p + UNIT_BYTES;
  for (; count > 0; count -= 4, pair += 16) {
    const ha = v128.load32_splat(pair);
    const la = v128.load32_splat(pair + 4);
    const hb = v128.load32_splat(pair + 8);
    const lb = v128.load32_splat(pair + 12);
    const v1 = count > 1 ? v + vRowStride : v;
    const v2 = count > 2 ? v1 + vRowStride : v1;
    const v3 = count > 3 ? v2 + vRowStride : v2;
    for (let to = sums, offset: usize = 0; to != end; to += 64) {
      let even = v128.load8x8_s(v + offset);
      let odd = v128.load8x8_s(v1 + offset);
      let x0 = v128.shuffle<i16>(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
      let x1 = v128.shuffle<i16>(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
      const h0 = i32x4.add(v128.load(to), i32x4.dot_i16x8_s(x0, ha));
      const h1 = i32x4.add(v128.load(to, 16), i32x4.dot_i16x8_s(x1, ha));
      const l0 = i32x4.add(v128.load(to, 32), i32x4.dot_i16x8_s(x0, la));
      const l1 = i32x4.add(v128.load(to, 48), i32x4.dot_i16x8_s(x1, la));
      even = v128.load8x8_s(v2 + offset);
      odd = v128.load8x8_s(v3 + offset);
      x0 = v128.shuffle<i16>(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
      x1 = v128.shuffle<i16>(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
      v128.store(to, i32x4.add(h0, i32x4.dot_i16x8_s(x0, hb)));
      v128.store(to, i32x4.add(h1, i32x4.dot_i16x8_s(x1, hb)), 16);
      v128.store(to, i32x4.add(l0, i32x4.dot_i16x8_s(x0, lb)), 32);
      v128.store(to, i32x4.add(l1, i32x4.dot_i16x8_s(x1, lb)), 48);
      offset += 8;
    }
    v = v3 + vRowStride;
  }
  for (; sums != end; sums += 64) {
    v128.store(o, f32x4.add(v128.load(o), join(v128.load(sums), v128.load(sums, 32), p)));
    v128.store(o, f32x4.add(v128.load(o, 16), join(v128.load(sums, 16), v128.load(sums, 48), p)), 16);
    o += 32;
  }
}
