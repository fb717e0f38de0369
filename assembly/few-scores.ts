// S = q·Kᵀ for a few query rows: for each key four sums, one for every fourth of its values, which addSums adds up.
//
//     sums [row][key][4]       rows SUM_ROW apart
//     q    [row][dim]          rows qRow apart
//
// Four keys go side by side, each from a quarter of its own. Where their number is no multiple of four the quarters overlap, and what
// is written twice is the same twice. Each loop is a function of its own, so that its registers are.

import { HALF_BITS } from "./exp";
import { largestBits, madd, powerOfTwo } from "./lanes";
import { PAGE_KEYS, high4, low4 } from "./rows";

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

/** One row of q, f32, key after key. */
export function sumOne(sums: usize, k: usize, q: usize, count: i32, dim: i32, kRow: usize): void {
  const qEnd = q + ((<usize>dim) << 2);
  for (const end = sums + ((<usize>count) << 4); sums < end; sums += 16) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let at = k;
    for (let qd = q; qd < qEnd; qd += 32) {
      a0 = madd(v128.load(at), v128.load(qd), a0);
      a1 = madd(v128.load(at, 16), v128.load(qd, 16), a1);
      at += 32;
    }
    v128.store(sums, f32x4.add(a0, a1));
    k += kRow;
  }
}

/** One row of q, four keys side by side. */
export function sumFour<T>(sums: usize, k: usize, q: usize, count: i32, dim: i32, kRow: usize, table: usize): void {
  sumQuarters<T>(sums, k, q, (<usize>dim) << 2, count, 1, dim, kRow, table, false);
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
  const signAndBits = v128.load32_splat(table, HALF_BITS);
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
        let x = low4<T>(k0 + at, signAndBits);
        a0 = madd(x, a, a0);
        if (both) b0 = madd(x, b, b0);
        x = low4<T>(k1 + at, signAndBits);
        a1 = madd(x, a, a1);
        if (both) b1 = madd(x, b, b1);
        x = low4<T>(k2 + at, signAndBits);
        a2 = madd(x, a, a2);
        if (both) b2 = madd(x, b, b2);
        x = low4<T>(k3 + at, signAndBits);
        a3 = madd(x, a, a3);
        if (both) b3 = madd(x, b, b3);
        a = v128.load(qd, 16);
        b = both ? v128.load(qd + qRow, 16) : a;
        x = high4<T>(k0 + at, signAndBits);
        a0 = madd(x, a, a0);
        if (both) b0 = madd(x, b, b0);
        x = high4<T>(k1 + at, signAndBits);
        a1 = madd(x, a, a1);
        if (both) b1 = madd(x, b, b1);
        x = high4<T>(k2 + at, signAndBits);
        a2 = madd(x, a, a2);
        if (both) b2 = madd(x, b, b2);
        x = high4<T>(k3 + at, signAndBits);
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
 * to = q·2ⁿ on [count] floats; returns what the sums are to be multiplied by to make up for that, and for how low4 gives binary16. n brings
 * the largest to about 2¹⁶: then no product that matters is a subnormal, which rounds more and is slow on some processors.
 */
export function raise(to: usize, q: usize, count: i32): f32 {
  const exponent = largestBits(q, count) >> 23; // 127 for 1 ≤ |q| < 2
  const n = max(-15, min(112, 16 + 127 - exponent));
  const up = f32x4.splat(powerOfTwo(n));
  for (const end = q + ((<usize>count) << 2); q < end; q += 16) {
    v128.store(to, f32x4.mul(v128.load(q), up));
    to += 16;
  }
  return powerOfTwo(112 - n);
}
