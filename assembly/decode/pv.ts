// O = O + P·V for a few query rows. P stands [row][key], rows SCORE_ROW apart; O stays in L1.
//
// Key after key, or four keys side by side, each from a quarter of its own, then those that are left key after key. Each loop is a function
// of its own, so that its registers are.

import { EVENS, HALF_BITS, ODDS } from "../simd/exp";
import { SCORE_ROW } from "./qk";
import { madd } from "../simd/lanes";
import { HALF, firstFour, secondFour, widen } from "../kv/rows";

/** A weight in four lanes, for values as firstFour gives them. */
// @ts-ignore: decorator
@inline function weight<T>(p: usize): v128 {
  if (isInteger<T>() && sizeof<T>() == 2) return f32x4.splat(load<f32>(p) * HALF);
  return v128.load32_splat(p);
}

/**
 * One row of O, key after key, 32 values at a time: eight loads, then eight stores. By twos a streaming read of 22 GB/s becomes one of 18.
 */
export function addOne<T>(o: usize, v: usize, p: usize, count: i32, dim: i32, vRow: usize, table: usize): void {
  const evens = v128.load32_splat(table, EVENS);
  const odds = v128.load32_splat(table, ODDS);
  const bits = v128.load32_splat(table, HALF_BITS);
  const oEnd = o + ((<usize>dim) << 2);
  for (const end = p + ((<usize>count) << 2); p < end; p += 4) {
    const w = weight<T>(p);
    let at = v;
    let od = o;
    for (; od + 128 <= oEnd; od += 128) {
      let x = v128.load(at);
      const o0 = madd(w, isFloat<T>() ? x : widen(x, evens, bits), v128.load(od));
      const o1 = madd(w, isFloat<T>() ? v128.load(at, 16) : widen(x, odds, bits), v128.load(od, 16));
      x = v128.load(at, 8 * sizeof<T>());
      const o2 = madd(w, isFloat<T>() ? x : widen(x, evens, bits), v128.load(od, 32));
      const o3 = madd(w, isFloat<T>() ? v128.load(at, 48) : widen(x, odds, bits), v128.load(od, 48));
      x = v128.load(at, 16 * sizeof<T>());
      const o4 = madd(w, isFloat<T>() ? x : widen(x, evens, bits), v128.load(od, 64));
      const o5 = madd(w, isFloat<T>() ? v128.load(at, 80) : widen(x, odds, bits), v128.load(od, 80));
      x = v128.load(at, 24 * sizeof<T>());
      const o6 = madd(w, isFloat<T>() ? x : widen(x, evens, bits), v128.load(od, 96));
      const o7 = madd(w, isFloat<T>() ? v128.load(at, 112) : widen(x, odds, bits), v128.load(od, 112));
      v128.store(od, o0);
      v128.store(od, o1, 16);
      v128.store(od, o2, 32);
      v128.store(od, o3, 48);
      v128.store(od, o4, 64);
      v128.store(od, o5, 80);
      v128.store(od, o6, 96);
      v128.store(od, o7, 112);
      at += 32 * sizeof<T>();
    }
    for (; od < oEnd; od += 32) {
      v128.store(od, madd(w, firstFour<T>(at, evens, bits), v128.load(od)));
      v128.store(od, madd(w, secondFour<T>(at, odds, bits), v128.load(od, 16)), 16);
      at += 8 * sizeof<T>();
    }
    v += vRow;
  }
}

/** One row of O, f32, four keys side by side. */
export function addFour(o: usize, v: usize, p: usize, count: i32, dim: i32, vRow: usize, table: usize): void {
  const quarter = count >> 2;
  addQuarters<f32>(o, v, p, quarter, 1, dim, vRow, table, false);
  addOne<f32>(o, v + 4 * <usize>quarter * vRow, p + ((<usize>quarter) << 4), count & 3, dim, vRow, table);
}

/** `pairs` pairs of rows of O, four keys side by side. */
export function addPairs<T>(
  o: usize,
  v: usize,
  p: usize,
  count: i32,
  pairs: i32,
  dim: i32,
  vRow: usize,
  table: usize,
): void {
  const quarter = count >> 2;
  addQuarters<T>(o, v, p, quarter, pairs, dim, vRow, table, true);
  v += 4 * <usize>quarter * vRow;
  p += (<usize>quarter) << 4;
  for (let row = 2 * pairs; row > 0; row--) {
    addOne<T>(o, v, p, count & 3, dim, vRow, table);
    o += (<usize>dim) << 2;
    p += SCORE_ROW;
  }
}

/** Quarters of `count` keys, for `groups` times one row of O, a, or two, a and b: `both` is a literal, so that the compiler drops b. */
// @ts-ignore: decorator
@inline function addQuarters<T>(
  o: usize,
  v: usize,
  p: usize,
  count: i32,
  groups: i32,
  dim: i32,
  vRow: usize,
  table: usize,
  both: bool,
): void {
  const evens = v128.load32_splat(table, EVENS);
  const odds = v128.load32_splat(table, ODDS);
  const bits = v128.load32_splat(table, HALF_BITS);
  const step = (<usize>count) << 2;
  let v0 = v;
  let v1 = v0 + <usize>count * vRow;
  let v2 = v1 + <usize>count * vRow;
  let v3 = v2 + <usize>count * vRow;
  const oRow = (<usize>dim) << 2;
  const oGroup = both ? oRow + oRow : oRow;
  const oAll = o + <usize>groups * oGroup;
  for (const end = p + step; p < end; p += 4) {
    let pa = p;
    for (let od = o; od < oAll; od += oGroup - oRow) {
      const a0 = weight<T>(pa);
      const a1 = weight<T>(pa + step);
      const a2 = weight<T>(pa + 2 * step);
      const a3 = weight<T>(pa + 3 * step);
      const pb = pa + SCORE_ROW;
      const b0 = both ? weight<T>(pb) : a0;
      const b1 = both ? weight<T>(pb + step) : a1;
      const b2 = both ? weight<T>(pb + 2 * step) : a2;
      const b3 = both ? weight<T>(pb + 3 * step) : a3;
      pa = pb + SCORE_ROW;
      const oEnd = od + oRow;
      for (let at: usize = 0; od < oEnd; od += 32) {
        let x = firstFour<T>(v0 + at, evens, bits);
        let a = madd(a0, x, v128.load(od));
        let b = both ? madd(b0, x, v128.load(od + oRow)) : a;
        x = firstFour<T>(v1 + at, evens, bits);
        a = madd(a1, x, a);
        if (both) b = madd(b1, x, b);
        x = firstFour<T>(v2 + at, evens, bits);
        a = madd(a2, x, a);
        if (both) b = madd(b2, x, b);
        x = firstFour<T>(v3 + at, evens, bits);
        v128.store(od, madd(a3, x, a));
        if (both) v128.store(od + oRow, madd(b3, x, b));
        x = secondFour<T>(v0 + at, odds, bits);
        a = madd(a0, x, v128.load(od, 16));
        if (both) b = madd(b0, x, v128.load(od + oRow, 16));
        x = secondFour<T>(v1 + at, odds, bits);
        a = madd(a1, x, a);
        if (both) b = madd(b1, x, b);
        x = secondFour<T>(v2 + at, odds, bits);
        a = madd(a2, x, a);
        if (both) b = madd(b2, x, b);
        x = secondFour<T>(v3 + at, odds, bits);
        v128.store(od, madd(a3, x, a), 16);
        if (both) v128.store(od + oRow, madd(b3, x, b), 16);
        at += 8 * sizeof<T>();
      }
    }
    v0 += vRow;
    v1 += vRow;
    v2 += vRow;
    v3 += vRow;
  }
}

/** O of f16, whose eights have the values of even places first, in the order of the values. */
export function sortEights(o: usize, dim: i32): void {
  for (const end = o + ((<usize>dim) << 2); o < end; o += 32) {
    const evens = v128.load(o);
    const odds = v128.load(o, 16);
    v128.store(o, v128.shuffle<f32>(evens, odds, 0, 4, 1, 5));
    v128.store(o, v128.shuffle<f32>(evens, odds, 2, 6, 3, 7), 16);
  }
}
