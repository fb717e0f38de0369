// S = q·Kᵀ for up to four query rows over the keys of one page: for each key a vector of four partial sums, which
// reduceSums adds up.
//
//     sums [row][key][4]       rows SUM_ROW_BYTES apart
//     q    [row][dim]          rows qRowBytes apart
//
// Four keys go side by side, each from a quarter of the keys. Where the number of keys is no multiple of four the
// quarters overlap; what is written twice is the same twice. The four sums of a key are one chain each, in the order of
// the values: the bits of a score depend on its q and k alone. Each loop is a function of its own, so that V8 gives it
// registers of its own.

import { loadHalf0, loadHalf1, toEvenOdd } from "../kv/float16";
import { PAGE_KEYS } from "../kv/rows";
import { F16_EVEN, F16_MASK, F16_ODD, ZERO } from "../simd/constants";
import { madd, maxMagnitudeBits, powerOfTwo, scaleRow } from "../simd/lanes";

/** Bytes from the scores, or P, of one row to those of the next. */
// @ts-ignore: decorator
@inline export const SCORE_ROW_BYTES: usize = PAGE_KEYS * 4;

/** Bytes from the partial sums of one row to those of the next. */
// @ts-ignore: decorator
@inline export const SUM_ROW_BYTES: usize = PAGE_KEYS * 16;

/**
 * The first key of quarter `which` of `count` keys: each quarter has `each` keys, and the last ends with the last key.
 */
// @ts-ignore: decorator
@inline function quarterStart(which: i32, each: i32, count: i32): usize {
  return <usize>min(which * each, count - each);
}

/** One row of q. */
export function dotOneRow<T>(
  sums: usize,
  k: usize,
  q: usize,
  count: i32,
  dim: i32,
  kRowStride: usize,
  table: usize,
): void {
  dotQuarters<T>(sums, k, q, (<usize>dim) << 2, count, 1, dim, kRowStride, table, false);
}

/** `pairs` pairs of rows of q. */
export function dotRowPairs<T>(
  sums: usize,
  k: usize,
  q: usize,
  qRowBytes: usize,
  count: i32,
  pairs: i32,
  dim: i32,
  kRowStride: usize,
  table: usize,
): void {
  dotQuarters<T>(sums, k, q, qRowBytes, count, pairs, dim, kRowStride, table, true);
}

/** `groups` times one row of q (a) or two (a and b): `both` is a literal, so the compiler drops b. */
// @ts-ignore: decorator
@inline function dotQuarters<T>(
  sums: usize,
  k: usize,
  q: usize,
  qRowBytes: usize,
  count: i32,
  groups: i32,
  dim: i32,
  kRowStride: usize,
  table: usize,
  both: bool,
): void {
  const evens = v128.load32_splat(table, F16_EVEN);
  const odds = v128.load32_splat(table, F16_ODD);
  const mask = v128.load32_splat(table, F16_MASK);
  const each = (count + 3) >> 2;
  const second = quarterStart(1, each, count);
  const third = quarterStart(2, each, count);
  const fourth = quarterStart(3, each, count);
  let k0 = k;
  let k1 = k + second * kRowStride;
  let k2 = k + third * kRowStride;
  let k3 = k + fourth * kRowStride;
  const qBytes = (<usize>dim) << 2;
  const qGroup = both ? qRowBytes + qRowBytes : qRowBytes;
  const qAll = q + <usize>groups * qGroup;
  for (const end = sums + ((<usize>each) << 4); sums != end; sums += 16) {
    let to = sums;
    for (let qd = q; qd != qAll; qd += qGroup - qBytes) {
      const zero = v128.load32_splat(table, ZERO);
      let a0 = zero;
      let a1 = zero;
      let a2 = zero;
      let a3 = zero;
      let b0 = zero;
      let b1 = zero;
      let b2 = zero;
      let b3 = zero;
      const qEnd = qd + qBytes;
      for (let offset: usize = 0; qd != qEnd; qd += 32) {
        let a = v128.load(qd);
        let b = both ? v128.load(qd + qRowBytes) : a;
        let x = loadHalf0<T>(k0 + offset, evens, mask);
        a0 = madd(x, a, a0);
        if (both) b0 = madd(x, b, b0);
        x = loadHalf0<T>(k1 + offset, evens, mask);
        a1 = madd(x, a, a1);
        if (both) b1 = madd(x, b, b1);
        x = loadHalf0<T>(k2 + offset, evens, mask);
        a2 = madd(x, a, a2);
        if (both) b2 = madd(x, b, b2);
        x = loadHalf0<T>(k3 + offset, evens, mask);
        a3 = madd(x, a, a3);
        if (both) b3 = madd(x, b, b3);
        a = v128.load(qd, 16);
        b = both ? v128.load(qd + qRowBytes, 16) : a;
        x = loadHalf1<T>(k0 + offset, odds, mask);
        a0 = madd(x, a, a0);
        if (both) b0 = madd(x, b, b0);
        x = loadHalf1<T>(k1 + offset, odds, mask);
        a1 = madd(x, a, a1);
        if (both) b1 = madd(x, b, b1);
        x = loadHalf1<T>(k2 + offset, odds, mask);
        a2 = madd(x, a, a2);
        if (both) b2 = madd(x, b, b2);
        x = loadHalf1<T>(k3 + offset, odds, mask);
        a3 = madd(x, a, a3);
        if (both) b3 = madd(x, b, b3);
        offset += 8 * sizeof<T>();
      }
      storeQuarters(to, second, third, fourth, a0, a1, a2, a3);
      if (both) storeQuarters(to + SUM_ROW_BYTES, second, third, fourth, b0, b1, b2, b3);
      to += 2 * SUM_ROW_BYTES;
    }
    k0 += kRowStride;
    k1 += kRowStride;
    k2 += kRowStride;
    k3 += kRowStride;
  }
}

/** Stores the sums of four keys: the first at `to`, the others `second`, `third` and `fourth` keys further on. */
// @ts-ignore: decorator
@inline function storeQuarters(
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

/** S[key] = (the sum of its four partial sums)·unit, four keys at a time. */
export function reduceSums(s: usize, sums: usize, count: i32, unit: f32): void {
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
 * to = q·2ⁿ on [count] floats, in the even-odd order of kv/float16.ts. Returns the factor of its sums: 2⁻ⁿ·F16_SCALE. n
 * brings the largest |q| to about 2¹⁶: so no product that matters is a subnormal, which rounds more and is slow on some
 * processors.
 */
export function scaleQueryF16(to: usize, q: usize, count: i32): f32 {
  const exponent = maxMagnitudeBits(q, count) >> 23; // 127 for 1 ≤ |q| < 2
  const n = max(-15, min(112, 16 + 127 - exponent));
  scaleRow(to, q, count, powerOfTwo(n));
  toEvenOdd(to, to, count);
  return powerOfTwo(112 - n);
}
