// Both products of attention for one query row over rows of int8, in whole numbers. Four bytes become floats in three steps, eight bytes
// become whole numbers of 16 bits in one; so q, or P, become whole numbers too:
//
//     x = (high·2¹⁵ + low)·unit        |high|, |low| ≤ 2¹⁴, unit a power of two, ≤ 2⁻²⁸·max|x|
//
// That is exact for every x from max|x|/16 up, and off by at most unit/2 below. Sums of products with bytes stay below 2³¹; f32 would
// round them sooner.
//
//     q [dim]      2¹⁵·unit [4]   unit [4]   [dim/8] of 8 highs, 8 lows
//     P [count]    2¹⁵·unit [4]   unit [4]   [count/2] of 2 highs, 2 lows        0 up to a multiple of eight keys

import { largestBits, madd, powerOfTwo } from "../simd/lanes";

/** Bytes of 2¹⁵·unit and unit. */
// @ts-ignore: decorator
@inline export const UNITS: usize = 32;

/** Values that a sum may have: dim/4 · 2¹⁴ · 127 < 2³¹. */
// @ts-ignore: decorator
@inline const MOST: i32 = 4096;

/** Bytes of `count` whole numbers. */
export function wholeBytes(count: i32): usize {
  return UNITS + ((<usize>((count + 7) & ~7)) << 2);
}

/** q [dim] as whole numbers; false where it has none: it is too long, or {@link writeUnits} says so. */
export function toWhole(to: usize, q: usize, dim: i32): bool {
  if (dim > MOST || !writeUnits(to, q, dim)) return false;
  const up = f32x4.splat(1 / load<f32>(to));
  to += UNITS;
  for (const end = q + ((<usize>dim) << 2); q < end; q += 32) {
    const low = v128.load(q);
    const high = v128.load(q, 16);
    v128.store(to, highs(low, high, up));
    v128.store(to, lows(low, high, up), 16);
    to += 32;
  }
  return true;
}

/** P [count], of at most PAGE_KEYS keys, as whole numbers; false where it has none. Writes zeros behind P, up to a multiple of eight keys. */
export function toPairs(to: usize, p: usize, count: i32): bool {
  const end = p + ((<usize>count) << 2);
  memory.fill(end, 0, (<usize>(-count & 7)) << 2);
  if (!writeUnits(to, p, count)) return false;
  const up = f32x4.splat(1 / load<f32>(to));
  to += UNITS;
  for (; p < end; p += 32) {
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

/** 2¹⁵·unit and unit of [count] floats, in whole vectors; false where the largest is NaN, Infinity, or so small or large that they are no floats. */
function writeUnits(to: usize, from: usize, count: i32): bool {
  const bits = largestBits(from, count);
  const exponent = bits ? (bits >> 23) - 126 : 0; // max|x| < 2^exponent
  if (exponent < -94 || exponent > 114) return false;
  v128.store(to, f32x4.splat(powerOfTwo(exponent - 14)));
  v128.store(to, f32x4.splat(powerOfTwo(exponent - 29)), 16);
  return true;
}

/** x·up, rounded: eight numbers of 16 bits. */
// @ts-ignore: decorator
@inline function highs(x0: v128, x1: v128, up: v128): v128 {
  return narrow(f32x4.nearest(f32x4.mul(x0, up)), f32x4.nearest(f32x4.mul(x1, up)));
}

/** What that leaves, in 2⁻¹⁵. */
// @ts-ignore: decorator
@inline function lows(x0: v128, x1: v128, up: v128): v128 {
  return narrow(rest(f32x4.mul(x0, up)), rest(f32x4.mul(x1, up)));
}

// @ts-ignore: decorator
@inline function rest(x: v128): v128 {
  return f32x4.nearest(f32x4.mul(f32x4.sub(x, f32x4.nearest(x)), f32x4.splat(32768)));
}

// @ts-ignore: decorator
@inline function narrow(x0: v128, x1: v128): v128 {
  return i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(x0), i32x4.trunc_sat_f32x4_s(x1));
}

/** (high·2¹⁵ + low)·unit */
// @ts-ignore: decorator
@inline function join(high: v128, low: v128, units: usize): v128 {
  const small = f32x4.mul(f32x4.convert_i32x4_s(low), v128.load(units, 16));
  return madd(f32x4.convert_i32x4_s(high), v128.load(units), small);
}

/** The sums of few-scores.ts for one row of q, two neighbouring keys at a time; an odd last one reads, and writes, one key further. */
export function sumBytes(sums: usize, k: usize, q: usize, count: i32, dim: i32, kRow: usize): void {
  const qFirst = q + UNITS;
  const qEnd = qFirst + ((<usize>dim) << 2);
  for (const end = sums + ((<usize>count) << 4); sums < end; sums += 32) {
    let h0 = i32x4.splat(0);
    let h1 = i32x4.splat(0);
    let l0 = i32x4.splat(0);
    let l1 = i32x4.splat(0);
    let at = k;
    for (let qd = qFirst; qd < qEnd; qd += 32) {
      const high = v128.load(qd);
      const low = v128.load(qd, 16);
      let x = v128.load8x8_s(at);
      h0 = i32x4.add(h0, i32x4.dot_i16x8_s(x, high));
      l0 = i32x4.add(l0, i32x4.dot_i16x8_s(x, low));
      x = v128.load8x8_s(at + kRow);
      h1 = i32x4.add(h1, i32x4.dot_i16x8_s(x, high));
      l1 = i32x4.add(l1, i32x4.dot_i16x8_s(x, low));
      at += 8;
    }
    v128.store(sums, join(h0, l0, q));
    v128.store(sums, join(h1, l1, q), 16);
    k += 2 * kRow;
  }
}

/** Bytes of the sums of {@link addBytes}. */
export function addedBytes(dim: i32): usize {
  return (<usize>dim) << 3;
}

/**
 * O += P·V for one row of O, four neighbouring keys at a time: two pairs of them, whose values are laid side by side for the sake of dot.
 * The last four may run over `count`, where P is 0.
 *
 *     added [dim/8] of 8 sums of highs, 8 of lows
 */
export function addBytes(o: usize, v: usize, p: usize, added: usize, count: i32, dim: i32, vRow: usize): void {
  const end = added + addedBytes(dim);
  memory.fill(added, 0, end - added);
  let pair = p + UNITS;
  for (const last = pair + ((<usize>count) << 2); pair < last; pair += 16) {
    const ha = v128.load32_splat(pair);
    const la = v128.load32_splat(pair + 4);
    const hb = v128.load32_splat(pair + 8);
    const lb = v128.load32_splat(pair + 12);
    const v1 = v + vRow;
    const v2 = v1 + vRow;
    const v3 = v2 + vRow;
    for (let to = added, at: usize = 0; to < end; to += 64) {
      let even = v128.load8x8_s(v + at);
      let odd = v128.load8x8_s(v1 + at);
      let x0 = v128.shuffle<i16>(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
      let x1 = v128.shuffle<i16>(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
      const h0 = i32x4.add(v128.load(to), i32x4.dot_i16x8_s(x0, ha));
      const h1 = i32x4.add(v128.load(to, 16), i32x4.dot_i16x8_s(x1, ha));
      const l0 = i32x4.add(v128.load(to, 32), i32x4.dot_i16x8_s(x0, la));
      const l1 = i32x4.add(v128.load(to, 48), i32x4.dot_i16x8_s(x1, la));
      even = v128.load8x8_s(v2 + at);
      odd = v128.load8x8_s(v3 + at);
      x0 = v128.shuffle<i16>(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
      x1 = v128.shuffle<i16>(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
      v128.store(to, i32x4.add(h0, i32x4.dot_i16x8_s(x0, hb)));
      v128.store(to, i32x4.add(h1, i32x4.dot_i16x8_s(x1, hb)), 16);
      v128.store(to, i32x4.add(l0, i32x4.dot_i16x8_s(x0, lb)), 32);
      v128.store(to, i32x4.add(l1, i32x4.dot_i16x8_s(x1, lb)), 48);
      at += 8;
    }
    v = v3 + vRow;
  }
  for (; added < end; added += 64) {
    v128.store(o, f32x4.add(v128.load(o), join(v128.load(added), v128.load(added, 32), p)));
    v128.store(o, f32x4.add(v128.load(o, 16), join(v128.load(added, 16), v128.load(added, 48), p)), 16);
    o += 32;
  }
}
