// O = O + P·V for up to four query rows over the keys of one page. P stands [row][key], rows SCORE_ROW_BYTES apart; O
// [row][dim] stays in the first-level cache.
//
// Two orders: key after key, or four keys side by side, each from a quarter of the keys and added to O together, and the
// keys that are left key after key. Each loop is a function of its own, so that V8 gives it registers of its own.

import { F16_SCALE, loadHalf0, loadHalf1, widen } from "../kv/float16";
import { F16_EVEN, F16_MASK, F16_ODD } from "../simd/exp";
import { madd } from "../simd/lanes";
import { SCORE_ROW_BYTES } from "./qk";

/** One p in four lanes, times F16_SCALE for values of binary16. */
// @ts-ignore: decorator
@inline function splatP<T>(p: usize): v128 {
  if (isInteger<T>() && sizeof<T>() == 2) return f32x4.splat(load<f32>(p) * F16_SCALE);
  return v128.load32_splat(p);
}

/** One row of O, key after key, 32 values at a time: eight loads, then eight stores. By twos 22 GB/s become 18. */
export function accumulateOneRow<T>(
  o: usize,
  v: usize,
  p: usize,
  count: i32,
  dim: i32,
  vRowStride: usize,
  table: usize,
): void {
  const evens = v128.load32_splat(table, F16_EVEN);
  const odds = v128.load32_splat(table, F16_ODD);
  const mask = v128.load32_splat(table, F16_MASK);
  const oEnd = o + ((<usize>dim) << 2);
  const oWhole = o + ((<usize>(dim & ~31)) << 2);
  for (const end = p + ((<usize>count) << 2); p != end; p += 4) {
    const w = splatP<T>(p);
    let vd = v;
    let od = o;
    for (; od != oWhole; od += 128) {
      let x = v128.load(vd);
      const o0 = madd(w, isFloat<T>() ? x : widen(x, evens, mask), v128.load(od));
      const o1 = madd(w, isFloat<T>() ? v128.load(vd, 16) : widen(x, odds, mask), v128.load(od, 16));
      x = v128.load(vd, 8 * sizeof<T>());
      const o2 = madd(w, isFloat<T>() ? x : widen(x, evens, mask), v128.load(od, 32));
      const o3 = madd(w, isFloat<T>() ? v128.load(vd, 48) : widen(x, odds, mask), v128.load(od, 48));
      x = v128.load(vd, 16 * sizeof<T>());
      const o4 = madd(w, isFloat<T>() ? x : widen(x, evens, mask), v128.load(od, 64));
      const o5 = madd(w, isFloat<T>() ? v128.load(vd, 80) : widen(x, odds, mask), v128.load(od, 80));
      x = v128.load(vd, 24 * sizeof<T>());
      const o6 = madd(w, isFloat<T>() ? x : widen(x, evens, mask), v128.load(od, 96));
      const o7 = madd(w, isFloat<T>() ? v128.load(vd, 112) : widen(x, odds, mask), v128.load(od, 112));
      v128.store(od, o0);
      v128.store(od, o1, 16);
      v128.store(od, o2, 32);
      v128.store(od, o3, 48);
      v128.store(od, o4, 64);
      v128.store(od, o5, 80);
      v128.store(od, o6, 96);
      v128.store(od, o7, 112);
      vd += 32 * sizeof<T>();
    }
    for (; od != oEnd; od += 32) {
      v128.store(od, madd(w, loadHalf0<T>(vd, evens, mask), v128.load(od)));
      v128.store(od, madd(w, loadHalf1<T>(vd, odds, mask), v128.load(od, 16)), 16);
      vd += 8 * sizeof<T>();
    }
    v += vRowStride;
  }
}

/** One row of O, f32, four keys side by side. */
export function accumulateSideBySide(
  o: usize,
  v: usize,
  p: usize,
  count: i32,
  dim: i32,
  vRowStride: usize,
  table: usize,
): void {
  const quarter = count >> 2;
  accumulateQuarters<f32>(o, v, p, quarter, 1, dim, vRowStride, table, false);
  accumulateOneRow<f32>(
    o,
    v + 4 * <usize>quarter * vRowStride,
    p + ((<usize>quarter) << 4),
    count & 3,
    dim,
    vRowStride,
    table,
  );
}

/** `pairs` pairs of rows of O, four keys side by side. */
export function accumulateRowPairs<T>(
  o: usize,
  v: usize,
  p: usize,
  count: i32,
  pairs: i32,
  dim: i32,
  vRowStride: usize,
  table: usize,
): void {
  const quarter = count >> 2;
  accumulateQuarters<T>(o, v, p, quarter, pairs, dim, vRowStride, table, true);
  v += 4 * <usize>quarter * vRowStride;
  p += (<usize>quarter) << 4;
  for (let row = 2 * pairs; row > 0; row--) {
    accumulateOneRow<T>(o, v, p, count & 3, dim, vRowStride, table);
    o += (<usize>dim) << 2;
    p += SCORE_ROW_BYTES;
  }
}

/**
 * Quarters of `count` keys, for `groups` times one row of O (a) or two (a and b): `both` is a literal, so the compiler
 * drops b.
 */
// @ts-ignore: decorator
@inline function accumulateQuarters<T>(
  o: usize,
  v: usize,
  p: usize,
  count: i32,
  groups: i32,
  dim: i32,
  vRowStride: usize,
  table: usize,
  both: bool,
): void {
  const evens = v128.load32_splat(table, F16_EVEN);
  const odds = v128.load32_splat(table, F16_ODD);
  const mask = v128.load32_splat(table, F16_MASK);
  const step = (<usize>count) << 2;
  let v0 = v;
  let v1 = v0 + <usize>count * vRowStride;
  let v2 = v1 + <usize>count * vRowStride;
  let v3 = v2 + <usize>count * vRowStride;
  const oRowBytes = (<usize>dim) << 2;
  const oGroup = both ? oRowBytes + oRowBytes : oRowBytes;
  const oAll = o + <usize>groups * oGroup;
  for (const end = p + step; p != end; p += 4) {
    let pa = p;
    for (let od = o; od != oAll; od += oGroup - oRowBytes) {
      const a0 = splatP<T>(pa);
      const a1 = splatP<T>(pa + step);
      const a2 = splatP<T>(pa + 2 * step);
      const a3 = splatP<T>(pa + 3 * step);
      const pb = pa + SCORE_ROW_BYTES;
      const b0 = both ? splatP<T>(pb) : a0;
      const b1 = both ? splatP<T>(pb + step) : a1;
      const b2 = both ? splatP<T>(pb + 2 * step) : a2;
      const b3 = both ? splatP<T>(pb + 3 * step) : a3;
      pa = pb + SCORE_ROW_BYTES;
      const oEnd = od + oRowBytes;
      for (let offset: usize = 0; od != oEnd; od += 32) {
        let x = loadHalf0<T>(v0 + offset, evens, mask);
        let a = f32x4.mul(a0, x);
        let b = both ? f32x4.mul(b0, x) : a;
        x = loadHalf0<T>(v1 + offset, evens, mask);
        a = madd(a1, x, a);
        if (both) b = madd(b1, x, b);
        x = loadHalf0<T>(v2 + offset, evens, mask);
        a = madd(a2, x, a);
        if (both) b = madd(b2, x, b);
        x = loadHalf0<T>(v3 + offset, evens, mask);
        v128.store(od, f32x4.add(madd(a3, x, a), v128.load(od)));
        if (both) v128.store(od + oRowBytes, f32x4.add(madd(b3, x, b), v128.load(od + oRowBytes)));
        x = loadHalf1<T>(v0 + offset, odds, mask);
        a = f32x4.mul(a0, x);
        if (both) b = f32x4.mul(b0, x);
        x = loadHalf1<T>(v1 + offset, odds, mask);
        a = madd(a1, x, a);
        if (both) b = madd(b1, x, b);
        x = loadHalf1<T>(v2 + offset, odds, mask);
        a = madd(a2, x, a);
        if (both) b = madd(b2, x, b);
        x = loadHalf1<T>(v3 + offset, odds, mask);
        v128.store(od, f32x4.add(madd(a3, x, a), v128.load(od, 16)), 16);
        if (both) v128.store(od + oRowBytes, f32x4.add(madd(b3, x, b), v128.load(od + oRowBytes, 16)), 16);
        offset += 8 * sizeof<T>();
      }
    }
    v0 += vRowStride;
    v1 += vRowStride;
    v2 += vRowStride;
    v3 += vRowStride;
  }
}
