// S = q·Kᵀ for a few query rows: for each key four sums, one for every fourth of its values, which addSums adds up.
//
//     sums [row][key][4]       rows SUM_ROW apart
//     q    [row][dim]          rows qRow apart
//
// Key after key, or four keys side by side, each from a quarter of its own: where their number is no multiple of four the quarters
// overlap, and what is written twice is the same twice. Each loop is a function of its own, so that its registers are.

import { EVENS, HALF_BITS, ODDS } from "../simd/exp";
import { largestBits, madd, powerOfTwo } from "../simd/lanes";
import { PAGE_KEYS, firstFour, secondFour, widen } from "../kv/rows";

/** Bytes from the scores, or P, of one row to those of the next. */
// @ts-ignore: decorator
@inline export const SCORE_ROW: usize = PAGE_KEYS * 4;

/** Four sums for each key. */
// @ts-ignore: decorator
@inline export const SUM_ROW: usize = PAGE_KEYS * 16;

/** The first key of quarter `which` of `count` keys: each has `each`, and the last ends with the last key. */
// @ts-ignore: decorator
@inline export function quarterStart(which: i32, each: i32, count: i32): usize {
  return <usize>min(which * each, count - each);
}

/** One row of q, key after key, sixteen values at a time. */
export function sumOne<T>(sums: usize, k: usize, q: usize, count: i32, dim: i32, kRow: usize, table: usize): void {
  const evens = v128.load32_splat(table, EVENS);
  const odds = v128.load32_splat(table, ODDS);
  const bits = v128.load32_splat(table, HALF_BITS);
  const qEnd = q + ((<usize>dim) << 2);
  const last = qEnd - 32;
  for (const end = sums + ((<usize>count) << 4); sums < end; sums += 16) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    let at = k;
    let qd = q;
    for (; qd < last; qd += 64) {
      let x = v128.load(at);
      a0 = madd(isFloat<T>() ? x : widen(x, evens, bits), v128.load(qd), a0);
      a1 = madd(isFloat<T>() ? v128.load(at, 16) : widen(x, odds, bits), v128.load(qd, 16), a1);
      x = v128.load(at, 8 * sizeof<T>());
      a2 = madd(isFloat<T>() ? x : widen(x, evens, bits), v128.load(qd, 32), a2);
      a3 = madd(isFloat<T>() ? v128.load(at, 48) : widen(x, odds, bits), v128.load(qd, 48), a3);
      at += 16 * sizeof<T>();
    }
    if (qd < qEnd) {
      a0 = madd(firstFour<T>(at, evens, bits), v128.load(qd), a0);
      a1 = madd(secondFour<T>(at, odds, bits), v128.load(qd, 16), a1);
    }
    v128.store(sums, f32x4.add(f32x4.add(a0, a1), f32x4.add(a2, a3)));
    k += kRow;
  }
}

/** One row of q, f32, four keys side by side. */
export function sumFour(sums: usize, k: usize, q: usize, count: i32, dim: i32, kRow: usize, table: usize): void {
  sumQuarters<f32>(sums, k, q, (<usize>dim) << 2, count, 1, dim, kRow, table, false);
}

/** `pairs` pairs of rows of q, four keys side by side. */
export function sumPairs<T>(
  sums: usize,
  k: usize,
  q: usize,
  qRow: usize,
  count: i32,
  pairs: i32,
  dim: i32,
  kRow: usize,
  table: usize,
): void {
  sumQuarters<T>(sums, k, q, qRow, count, pairs, dim, kRow, table, true);
}

/** `groups` times one row of q, a, or two, a and b: `both` is a literal, so that the compiler drops b. */
// @ts-ignore: decorator
@inline function sumQuarters<T>(
  sums: usize,
  k: usize,
  q: usize,
  qRow: usize,
  count: i32,
  groups: i32,
  dim: i32,
  kRow: usize,
  table: usize,
  both: bool,
): void {
  const evens = v128.load32_splat(table, EVENS);
  const odds = v128.load32_splat(table, ODDS);
  const bits = v128.load32_splat(table, HALF_BITS);
  const each = (count + 3) >> 2;
  const second = quarterStart(1, each, count);
  const third = quarterStart(2, each, count);
  const fourth = quarterStart(3, each, count);
  let k0 = k;
  let k1 = k + second * kRow;
  let k2 = k + third * kRow;
  let k3 = k + fourth * kRow;
  const qBytes = (<usize>dim) << 2;
  const qGroup = both ? qRow + qRow : qRow;
  const qAll = q + <usize>groups * qGroup;
  for (const end = sums + ((<usize>each) << 4); sums < end; sums += 16) {
    let to = sums;
    for (let qd = q; qd < qAll; qd += qGroup - qBytes) {
      let a0 = f32x4.splat(0);
      let a1 = f32x4.splat(0);
      let a2 = f32x4.splat(0);
      let a3 = f32x4.splat(0);
      let b0 = f32x4.splat(0);
      let b1 = f32x4.splat(0);
      let b2 = f32x4.splat(0);
      let b3 = f32x4.splat(0);
      const qEnd = qd + qBytes;
      for (let at: usize = 0; qd < qEnd; qd += 32) {
        let a = v128.load(qd);
        let b = both ? v128.load(qd + qRow) : a;
        let x = firstFour<T>(k0 + at, evens, bits);
        a0 = madd(x, a, a0);
        if (both) b0 = madd(x, b, b0);
        x = firstFour<T>(k1 + at, evens, bits);
        a1 = madd(x, a, a1);
        if (both) b1 = madd(x, b, b1);
        x = firstFour<T>(k2 + at, evens, bits);
        a2 = madd(x, a, a2);
        if (both) b2 = madd(x, b, b2);
        x = firstFour<T>(k3 + at, evens, bits);
        a3 = madd(x, a, a3);
        if (both) b3 = madd(x, b, b3);
        a = v128.load(qd, 16);
        b = both ? v128.load(qd + qRow, 16) : a;
        x = secondFour<T>(k0 + at, odds, bits);
        a0 = madd(x, a, a0);
        if (both) b0 = madd(x, b, b0);
        x = secondFour<T>(k1 + at, odds, bits);
        a1 = madd(x, a, a1);
        if (both) b1 = madd(x, b, b1);
        x = secondFour<T>(k2 + at, odds, bits);
        a2 = madd(x, a, a2);
        if (both) b2 = madd(x, b, b2);
        x = secondFour<T>(k3 + at, odds, bits);
        a3 = madd(x, a, a3);
        if (both) b3 = madd(x, b, b3);
        at += 8 * sizeof<T>();
      }
      storeFour(to, second, third, fourth, a0, a1, a2, a3);
      if (both) storeFour(to + SUM_ROW, second, third, fourth, b0, b1, b2, b3);
      to += 2 * SUM_ROW;
    }
    k0 += kRow;
    k1 += kRow;
    k2 += kRow;
    k3 += kRow;
  }
}

/** The sums of four keys, where the first goes and how many keys further on the others do. */
// @ts-ignore: decorator
@inline export function storeFour(
  to: usize,
  second: usize,
  third: usize,
  fourth: usize,
  s0: v128,
  s1: v128,
  s2: v128,
  s3: v128,
): void {
  v128.store(to, s0);
  v128.store(to + (second << 4), s1);
  v128.store(to + (third << 4), s2);
  v128.store(to + (fourth << 4), s3);
}

/** S[key] = the sum of its four, times `unit`, four keys at a time. */
export function addSums(s: usize, sums: usize, count: i32, unit: f32): void {
  const factor = f32x4.splat(unit);
  for (; count > 0; count -= 4) {
    const k0 = v128.load(sums);
    const k1 = v128.load(sums, 16);
    const k2 = v128.load(sums, 32);
    const k3 = v128.load(sums, 48);
    const pairs01 = f32x4.add(v128.shuffle<f32>(k0, k1, 0, 4, 1, 5), v128.shuffle<f32>(k0, k1, 2, 6, 3, 7));
    const pairs23 = f32x4.add(v128.shuffle<f32>(k2, k3, 0, 4, 1, 5), v128.shuffle<f32>(k2, k3, 2, 6, 3, 7));
    const four = f32x4.add(v128.shuffle<f64>(pairs01, pairs23, 0, 2), v128.shuffle<f64>(pairs01, pairs23, 1, 3));
    v128.store(s, f32x4.mul(four, factor));
    s += 16;
    sums += 64;
  }
}

/**
 * to = q·2ⁿ on [count] floats, in eights that have the values of even places first, as firstFour and secondFour of rows.ts give those of k;
 * returns what the sums are to be multiplied by to make up for that factor, and for how binary16 comes. n brings the largest to about 2¹⁶:
 * then no product that matters is a subnormal, which rounds more and is slow on some processors.
 */
export function raise(to: usize, q: usize, count: i32): f32 {
  const exponent = largestBits(q, count) >> 23; // 127 for 1 ≤ |q| < 2
  const n = max(-15, min(112, 16 + 127 - exponent));
  const up = f32x4.splat(powerOfTwo(n));
  for (const end = q + ((<usize>count) << 2); q < end; q += 32) {
    const low = f32x4.mul(v128.load(q), up);
    const high = f32x4.mul(v128.load(q, 16), up);
    v128.store(to, v128.shuffle<f32>(low, high, 0, 2, 4, 6));
    v128.store(to, v128.shuffle<f32>(low, high, 1, 3, 5, 7), 16);
    to += 32;
  }
  return powerOfTwo(112 - n);
}
