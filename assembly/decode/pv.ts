// O = O + P·V for up to four query rows over the keys of one page. P stands [row][key], rows SCORE_ROW_BYTES apart; O
// [row][dim] stays in the first-level cache.
//
// Which products are added up first depends on where a key stands, and on nothing else: four keys, `apart` keys from
// one to the next, have a sum of their own, from zero, and these sums go to O one after the other.
//
//     keys of a group, from a multiple of 4·apart on     ┌ 0 … apart ┬ … 2·apart ┬ … 3·apart ┬ … 4·apart ┐
//     the sum with number j takes                        │ j         │ j         │ j         │ j         │
//                                                        └───────────┴───────────┴───────────┴───────────┘
//
// Keys that are not there, or masked, add nothing. So a row has the same bits whichever keys the rows beside it see.
// Far apart the four are four streams from memory, side by side; a short stretch of keys fills only a part of the
// streams, so the first keys of all stand closer together.

import { F16_SCALE, loadHalf0, loadHalf1, widen } from "../kv/float16";
import { PAGE_KEYS } from "../kv/rows";
import { F16_EVEN, F16_MASK, F16_ODD, ZERO } from "../simd/constants";
import { madd } from "../simd/lanes";
import { SCORE_ROW_BYTES } from "./qk";

// Each loop is a function of its own, so that V8 gives it registers of its own.

/** log₂ of `apart` for the group of `key`. A page is made of whole groups. */
// @ts-ignore: decorator
@inline export function apartBitsOf(key: i32): i32 {
  return key < PAGE_KEYS ? 3 : 5;
}

/** One p in four lanes, times F16_SCALE for values of binary16. */
// @ts-ignore: decorator
@inline function splatP<T>(p: usize): v128 {
  if (isInteger<T>() && sizeof<T>() == 2) return f32x4.splat(load<f32>(p) * F16_SCALE);
  return v128.load32_splat(p);
}

/**
 * One row of O: `sums` neighbouring sums, each of `count` keys; 32 values at a time. The first sum begins with the
 * first row at v.
 */
export function accumulateOneRow<T>(
  o: usize,
  v: usize,
  p: usize,
  sums: i32,
  count: i32,
  apartBits: i32,
  dim: i32,
  vRowStride: usize,
  table: usize,
): void {
  const evens = v128.load32_splat(table, F16_EVEN);
  const odds = v128.load32_splat(table, F16_ODD);
  const mask = v128.load32_splat(table, F16_MASK);
  const far = vRowStride << apartBits;
  const step = (<usize>4) << apartBits;
  const oWhole = o + ((<usize>(dim & ~31)) << 2);
  const oEnd = o + ((<usize>dim) << 2);
  const pBytes = (<usize>count) << (apartBits + 2);
  for (; sums > 0; sums--) {
    const pEnd = p + pBytes;
    let vd = v;
    let od = o;
    for (; od != oWhole; od += 128) {
      const zero = v128.load32_splat(table, ZERO);
      let a0 = zero;
      let a1 = zero;
      let a2 = zero;
      let a3 = zero;
      let a4 = zero;
      let a5 = zero;
      let a6 = zero;
      let a7 = zero;
      let row = vd;
      let pd = p;
      do {
        const w = splatP<T>(pd);
        let x = v128.load(row);
        a0 = madd(w, isFloat<T>() ? x : widen(x, evens, mask), a0);
        a1 = madd(w, isFloat<T>() ? v128.load(row, 16) : widen(x, odds, mask), a1);
        x = v128.load(row, 8 * sizeof<T>());
        a2 = madd(w, isFloat<T>() ? x : widen(x, evens, mask), a2);
        a3 = madd(w, isFloat<T>() ? v128.load(row, 48) : widen(x, odds, mask), a3);
        x = v128.load(row, 16 * sizeof<T>());
        a4 = madd(w, isFloat<T>() ? x : widen(x, evens, mask), a4);
        a5 = madd(w, isFloat<T>() ? v128.load(row, 80) : widen(x, odds, mask), a5);
        x = v128.load(row, 24 * sizeof<T>());
        a6 = madd(w, isFloat<T>() ? x : widen(x, evens, mask), a6);
        a7 = madd(w, isFloat<T>() ? v128.load(row, 112) : widen(x, odds, mask), a7);
        row += far;
        pd += step;
      } while (pd != pEnd);
      v128.store(od, f32x4.add(a0, v128.load(od)));
      v128.store(od, f32x4.add(a1, v128.load(od, 16)), 16);
      v128.store(od, f32x4.add(a2, v128.load(od, 32)), 32);
      v128.store(od, f32x4.add(a3, v128.load(od, 48)), 48);
      v128.store(od, f32x4.add(a4, v128.load(od, 64)), 64);
      v128.store(od, f32x4.add(a5, v128.load(od, 80)), 80);
      v128.store(od, f32x4.add(a6, v128.load(od, 96)), 96);
      v128.store(od, f32x4.add(a7, v128.load(od, 112)), 112);
      vd += 32 * sizeof<T>();
    }
    for (; od != oEnd; od += 32) {
      const zero = v128.load32_splat(table, ZERO);
      let a0 = zero;
      let a1 = zero;
      let row = vd;
      let pd = p;
      do {
        const w = splatP<T>(pd);
        a0 = madd(w, loadHalf0<T>(row, evens, mask), a0);
        a1 = madd(w, loadHalf1<T>(row, odds, mask), a1);
        row += far;
        pd += step;
      } while (pd != pEnd);
      v128.store(od, f32x4.add(a0, v128.load(od)));
      v128.store(od, f32x4.add(a1, v128.load(od, 16)), 16);
      vd += 8 * sizeof<T>();
    }
    v += vRowStride;
    p += 4;
  }
}

/**
 * `pairs` pairs of rows of O, a and b: `sums` neighbouring sums, each of four keys. The first sum begins with the first
 * row at v.
 */
export function accumulateRowPairs<T>(
  o: usize,
  v: usize,
  p: usize,
  sums: i32,
  apartBits: i32,
  pairs: i32,
  dim: i32,
  vRowStride: usize,
  table: usize,
): void {
  const evens = v128.load32_splat(table, F16_EVEN);
  const odds = v128.load32_splat(table, F16_ODD);
  const mask = v128.load32_splat(table, F16_MASK);
  const far = vRowStride << apartBits;
  const step = (<usize>4) << apartBits;
  let v0 = v;
  let v1 = v0 + far;
  let v2 = v1 + far;
  let v3 = v2 + far;
  const oRowBytes = (<usize>dim) << 2;
  const oAll = o + <usize>pairs * (oRowBytes + oRowBytes);
  for (; sums > 0; sums--) {
    let pa = p;
    for (let od = o; od != oAll; od += oRowBytes) {
      const a0 = splatP<T>(pa);
      const a1 = splatP<T>(pa + step);
      const a2 = splatP<T>(pa + 2 * step);
      const a3 = splatP<T>(pa + 3 * step);
      const pb = pa + SCORE_ROW_BYTES;
      const b0 = splatP<T>(pb);
      const b1 = splatP<T>(pb + step);
      const b2 = splatP<T>(pb + 2 * step);
      const b3 = splatP<T>(pb + 3 * step);
      pa = pb + SCORE_ROW_BYTES;
      const oEnd = od + oRowBytes;
      for (let offset: usize = 0; od != oEnd; od += 32) {
        let x = loadHalf0<T>(v0 + offset, evens, mask);
        let a = f32x4.mul(a0, x);
        let b = f32x4.mul(b0, x);
        x = loadHalf0<T>(v1 + offset, evens, mask);
        a = madd(a1, x, a);
        b = madd(b1, x, b);
        x = loadHalf0<T>(v2 + offset, evens, mask);
        a = madd(a2, x, a);
        b = madd(b2, x, b);
        x = loadHalf0<T>(v3 + offset, evens, mask);
        v128.store(od, f32x4.add(madd(a3, x, a), v128.load(od)));
        v128.store(od + oRowBytes, f32x4.add(madd(b3, x, b), v128.load(od + oRowBytes)));
        x = loadHalf1<T>(v0 + offset, odds, mask);
        a = f32x4.mul(a0, x);
        b = f32x4.mul(b0, x);
        x = loadHalf1<T>(v1 + offset, odds, mask);
        a = madd(a1, x, a);
        b = madd(b1, x, b);
        x = loadHalf1<T>(v2 + offset, odds, mask);
        a = madd(a2, x, a);
        b = madd(b2, x, b);
        x = loadHalf1<T>(v3 + offset, odds, mask);
        v128.store(od, f32x4.add(madd(a3, x, a), v128.load(od, 16)), 16);
        v128.store(od + oRowBytes, f32x4.add(madd(b3, x, b), v128.load(od + oRowBytes, 16)), 16);
        offset += 8 * sizeof<T>();
      }
    }
    p += 4;
    v0 += vRowStride;
    v1 += vRowStride;
    v2 += vRowStride;
    v3 += vRowStride;
  }
}
