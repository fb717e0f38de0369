// Both products of attention for a few query rows, S = q·Kᵀ and O = O + P·V, over rows of K and V as they are stored.
//
// How many keys go side by side decides. GB/s of f32, one query row, from memory that streams at 22 and from the cache:
//
//                                       K           V
//     row after row                  21   48     21   43     the prefetcher follows one stream a page
//     two neighbours side by side     8   53      8   52
//     four, a quarter step apart     17   60     17   60     four streams; q, and O, are loaded once for four keys
//
// So for one query row K and V go row after row, but f32 from the cache a quarter step apart (f16 and int8 gain 4 % by it, which is not
// worth the code), and for two query rows half a step apart.

import { Head } from "./head";
import { HALF_BITS, HALF_SCALE } from "./exp";
import { madd } from "./lanes";
import { F16, F32, PAGE_KEYS, high4, keyAddress, low4 } from "./rows";

/** Bytes from the scores of one row to those of the next. */
// @ts-ignore: decorator
@inline export const SCORE_ROW: usize = PAGE_KEYS * 4;

/** K and V of a call that are taken to stay in the cache from one call to the next. */
// @ts-ignore: decorator
@inline const CACHED_BYTES: f64 = 8 * 1024 * 1024;

/** Four sums for each key. */
// @ts-ignore: decorator
@inline const SUM_ROW: usize = PAGE_KEYS * 16;

/** The sums of two rows. */
// @ts-ignore: decorator
@inline export const SUMS_BYTES: usize = 2 * SUM_ROW;

/** Whether K and V, as f32, come from the cache rather than from memory. */
function cached(head: Head): bool {
  const values = <f64>(head.headDim + head.valueDim) * <f64>head.seqLenKv * <f64>head.numKvHeads;
  return values * 4 <= CACHED_BYTES;
}

/** S [rows][count] = q·Kᵀ for `count` rows of headDim values at k, without their scales. */
export function scoreStored(
  head: Head,
  s: usize,
  q: usize,
  sums: usize,
  k: usize,
  count: i32,
  rows: i32,
  kRow: usize,
  type: i32,
): void {
  const dim = head.headDim;
  const table = head.constants;
  for (let row = 0; row < rows; row += 2) {
    const qRow = q + <usize>row * ((<usize>dim) << 2);
    const pair = min(2, rows - row);
    if (type == F32 && pair == 1 && cached(head)) sumQuarters(sums, k, qRow, count, dim, kRow, table);
    else if (type == F32) sumProducts<f32>(sums, k, qRow, count, pair, dim, kRow, table);
    else if (type == F16) sumProducts<u16>(sums, k, qRow, count, pair, dim, kRow, table);
    else sumProducts<i8>(sums, k, qRow, count, pair, dim, kRow, table);
    for (let n = 0; n < pair; n++) addSums(s + <usize>(row + n) * SCORE_ROW, sums + <usize>n * SUM_ROW, count);
  }
}

/** O [rows][valueDim] += P·V for the keys from `first` on. */
export function addRows(head: Head, o: usize, p: usize, first: i32, count: i32, rows: i32): void {
  const v = keyAddress(head, head.v, first, head.vRow);
  const dim = head.valueDim;
  const table = head.constants;
  const rowBytes = (<usize>dim) << 2;
  for (let row = 0; row < rows; row += 2) {
    const oRow = o + <usize>row * rowBytes;
    const pRow = p + <usize>row * SCORE_ROW;
    const pair = min(2, rows - row);
    if (head.vType == F32 && pair == 1 && cached(head)) addQuarters(oRow, v, pRow, count, dim, head.vRow, table);
    else if (head.vType == F32) addProducts<f32>(oRow, v, pRow, count, pair, dim, head.vRow, table);
    else if (head.vType == F16) addProducts<u16>(oRow, v, pRow, count, pair, dim, head.vRow, table);
    else addProducts<i8>(oRow, v, pRow, count, pair, dim, head.vRow, table);
  }
}

/** Four sums that make up q[row]·k[key], at sums [row][key][4], for one row of q or two. */
// @ts-ignore: decorator
@inline function sumProducts<T>(
  sums: usize,
  k: usize,
  q: usize,
  count: i32,
  rows: i32,
  dim: i32,
  kRow: usize,
  table: usize,
): void {
  if (rows == 1) {
    sumOne<T>(sums, k, q, count, dim, kRow, table);
    return;
  }
  const half = count >> 1;
  const far = <usize>half * kRow;
  sumTwoByTwo<T>(sums, (<usize>half) << 4, k, k + far, q, half, dim, kRow, table);
  if (count & 1) sumTwoByTwo<T>(sums + ((<usize>half) << 5), 16, k + 2 * far, k + 2 * far, q, 1, dim, kRow, table);
}

/** The same for one row of q, f32 and four keys at a time. */
function sumQuarters(sums: usize, k: usize, q: usize, count: i32, dim: i32, kRow: usize, table: usize): void {
  const quarter = count >> 2;
  const far = <usize>quarter * kRow;
  sumFour(sums, (<usize>quarter) << 4, k, k + far, k + 2 * far, k + 3 * far, q, quarter, dim, kRow);
  sumOne<f32>(sums + ((<usize>quarter) << 6), k + 4 * far, q, count & 3, dim, kRow, table);
}

/** O[row] += Σ P[row][key]·v[key] for one row or two. */
// @ts-ignore: decorator
@inline function addProducts<T>(
  o: usize,
  v: usize,
  p: usize,
  count: i32,
  rows: i32,
  dim: i32,
  vRow: usize,
  table: usize,
): void {
  if (rows == 1) {
    addOne<T>(o, v, p, count, dim, vRow, table);
    return;
  }
  const half = count >> 1;
  const far = <usize>half * vRow;
  addTwoByTwo<T>(o, v, v + far, p, (<usize>half) << 2, half, dim, vRow, table);
  if (!(count & 1)) return;
  const left = p + ((<usize>half) << 3);
  addOne<T>(o, v + 2 * far, left, 1, dim, vRow, table);
  addOne<T>(o + ((<usize>dim) << 2), v + 2 * far, left + SCORE_ROW, 1, dim, vRow, table);
}

/** The same for one row of O, f32 and four keys at a time. */
function addQuarters(o: usize, v: usize, p: usize, count: i32, dim: i32, vRow: usize, table: usize): void {
  const quarter = count >> 2;
  const far = <usize>quarter * vRow;
  addFour(o, v, v + far, v + 2 * far, v + 3 * far, p, (<usize>quarter) << 2, quarter, dim, vRow);
  addOne<f32>(o, v + 4 * far, p + ((<usize>quarter) << 4), count & 3, dim, vRow, table);
}

// The loops below walk `count` rows of K, or V, in each of one, two or four places; sums and weights of one place stand `step` bytes
// behind those of the place before. Each is a function of its own, so that its registers are.

/** One row of q, key after key. */
function sumOne<T>(sums: usize, k: usize, q: usize, count: i32, dim: i32, kRow: usize, table: usize): void {
  const signAndBits = v128.load32_splat(table, HALF_BITS);
  const magnify = v128.load32_splat(table, HALF_SCALE);
  const qEnd = q + ((<usize>dim) << 2);
  for (const end = sums + ((<usize>count) << 4); sums < end; sums += 16) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let at = k;
    for (let qd = q; qd < qEnd; qd += 32) {
      a0 = madd(low4<T>(at, signAndBits, magnify), v128.load(qd), a0);
      a1 = madd(high4<T>(at, signAndBits, magnify), v128.load(qd, 16), a1);
      at += 8 * sizeof<T>();
    }
    v128.store(sums, f32x4.add(a0, a1));
    k += kRow;
  }
}

/** One row of q, f32, four keys side by side. */
function sumFour(
  sums: usize,
  step: usize,
  k0: usize,
  k1: usize,
  k2: usize,
  k3: usize,
  q: usize,
  count: i32,
  dim: i32,
  kRow: usize,
): void {
  const qEnd = q + ((<usize>dim) << 2);
  for (const end = sums + ((<usize>count) << 4); sums < end; sums += 16) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    for (let qd = q, at: usize = 0; qd < qEnd; qd += 32) {
      const low = v128.load(qd);
      const high = v128.load(qd, 16);
      a0 = madd(v128.load(k0 + at), low, a0);
      a1 = madd(v128.load(k1 + at), low, a1);
      a2 = madd(v128.load(k2 + at), low, a2);
      a3 = madd(v128.load(k3 + at), low, a3);
      a0 = madd(v128.load(k0 + at, 16), high, a0);
      a1 = madd(v128.load(k1 + at, 16), high, a1);
      a2 = madd(v128.load(k2 + at, 16), high, a2);
      a3 = madd(v128.load(k3 + at, 16), high, a3);
      at += 32;
    }
    v128.store(sums, a0);
    v128.store(sums + step, a1);
    v128.store(sums + 2 * step, a2);
    v128.store(sums + 3 * step, a3);
    k0 += kRow;
    k1 += kRow;
    k2 += kRow;
    k3 += kRow;
  }
}

/** Two rows of q, two keys side by side. */
function sumTwoByTwo<T>(
  sums: usize,
  step: usize,
  k0: usize,
  k1: usize,
  q: usize,
  count: i32,
  dim: i32,
  kRow: usize,
  table: usize,
): void {
  const signAndBits = v128.load32_splat(table, HALF_BITS);
  const magnify = v128.load32_splat(table, HALF_SCALE);
  const rowBytes = (<usize>dim) << 2;
  const qEnd = q + rowBytes;
  for (const end = sums + ((<usize>count) << 4); sums < end; sums += 16) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let b0 = f32x4.splat(0);
    let b1 = f32x4.splat(0);
    for (let qd = q, at: usize = 0; qd < qEnd; qd += 32) {
      const low0 = low4<T>(k0 + at, signAndBits, magnify);
      const low1 = low4<T>(k1 + at, signAndBits, magnify);
      a0 = madd(low0, v128.load(qd), a0);
      a1 = madd(low1, v128.load(qd), a1);
      b0 = madd(low0, v128.load(qd + rowBytes), b0);
      b1 = madd(low1, v128.load(qd + rowBytes), b1);
      const high0 = high4<T>(k0 + at, signAndBits, magnify);
      const high1 = high4<T>(k1 + at, signAndBits, magnify);
      a0 = madd(high0, v128.load(qd, 16), a0);
      a1 = madd(high1, v128.load(qd, 16), a1);
      b0 = madd(high0, v128.load(qd + rowBytes, 16), b0);
      b1 = madd(high1, v128.load(qd + rowBytes, 16), b1);
      at += 8 * sizeof<T>();
    }
    v128.store(sums, a0);
    v128.store(sums + step, a1);
    v128.store(sums + SUM_ROW, b0);
    v128.store(sums + SUM_ROW + step, b1);
    k0 += kRow;
    k1 += kRow;
  }
}

/** One row of O, key after key: O stays in L1. Eight loads, then eight stores: by twos a streaming read of 22 GB/s becomes one of 18. */
function addOne<T>(o: usize, v: usize, p: usize, count: i32, dim: i32, vRow: usize, table: usize): void {
  const signAndBits = v128.load32_splat(table, HALF_BITS);
  const magnify = v128.load32_splat(table, HALF_SCALE);
  const oEnd = o + ((<usize>dim) << 2);
  const eight: usize = 8 * sizeof<T>();
  for (const end = p + ((<usize>count) << 2); p < end; p += 4) {
    const w = v128.load32_splat(p);
    let at = v;
    let od = o;
    for (; od + 128 <= oEnd; od += 128) {
      const o0 = madd(w, low4<T>(at, signAndBits, magnify), v128.load(od));
      const o1 = madd(w, high4<T>(at, signAndBits, magnify), v128.load(od, 16));
      const o2 = madd(w, low4<T>(at + eight, signAndBits, magnify), v128.load(od, 32));
      const o3 = madd(w, high4<T>(at + eight, signAndBits, magnify), v128.load(od, 48));
      const o4 = madd(w, low4<T>(at + 2 * eight, signAndBits, magnify), v128.load(od, 64));
      const o5 = madd(w, high4<T>(at + 2 * eight, signAndBits, magnify), v128.load(od, 80));
      const o6 = madd(w, low4<T>(at + 3 * eight, signAndBits, magnify), v128.load(od, 96));
      const o7 = madd(w, high4<T>(at + 3 * eight, signAndBits, magnify), v128.load(od, 112));
      v128.store(od, o0);
      v128.store(od, o1, 16);
      v128.store(od, o2, 32);
      v128.store(od, o3, 48);
      v128.store(od, o4, 64);
      v128.store(od, o5, 80);
      v128.store(od, o6, 96);
      v128.store(od, o7, 112);
      at += 4 * eight;
    }
    for (; od < oEnd; od += 32) {
      v128.store(od, madd(w, low4<T>(at, signAndBits, magnify), v128.load(od)));
      v128.store(od, madd(w, high4<T>(at, signAndBits, magnify), v128.load(od, 16)), 16);
      at += eight;
    }
    v += vRow;
  }
}

/** One row of O, f32, four keys side by side. */
function addFour(
  o: usize,
  v0: usize,
  v1: usize,
  v2: usize,
  v3: usize,
  p: usize,
  step: usize,
  count: i32,
  dim: i32,
  vRow: usize,
): void {
  const oEnd = o + ((<usize>dim) << 2);
  for (const end = p + ((<usize>count) << 2); p < end; p += 4) {
    const w0 = v128.load32_splat(p);
    const w1 = v128.load32_splat(p + step);
    const w2 = v128.load32_splat(p + 2 * step);
    const w3 = v128.load32_splat(p + 3 * step);
    for (let od = o, at: usize = 0; od < oEnd; od += 32) {
      let low = madd(w0, v128.load(v0 + at), v128.load(od));
      let high = madd(w0, v128.load(v0 + at, 16), v128.load(od, 16));
      low = madd(w1, v128.load(v1 + at), low);
      high = madd(w1, v128.load(v1 + at, 16), high);
      low = madd(w2, v128.load(v2 + at), low);
      high = madd(w2, v128.load(v2 + at, 16), high);
      v128.store(od, madd(w3, v128.load(v3 + at), low));
      v128.store(od, madd(w3, v128.load(v3 + at, 16), high), 16);
      at += 32;
    }
    v0 += vRow;
    v1 += vRow;
    v2 += vRow;
    v3 += vRow;
  }
}

/** Two rows of O, two keys side by side. */
function addTwoByTwo<T>(
  o: usize,
  v0: usize,
  v1: usize,
  p: usize,
  step: usize,
  count: i32,
  dim: i32,
  vRow: usize,
  table: usize,
): void {
  const signAndBits = v128.load32_splat(table, HALF_BITS);
  const magnify = v128.load32_splat(table, HALF_SCALE);
  const rowBytes = (<usize>dim) << 2;
  const oEnd = o + rowBytes;
  for (const end = p + ((<usize>count) << 2); p < end; p += 4) {
    const a0 = v128.load32_splat(p);
    const a1 = v128.load32_splat(p + step);
    const b0 = v128.load32_splat(p + SCORE_ROW);
    const b1 = v128.load32_splat(p + SCORE_ROW + step);
    for (let od = o, at: usize = 0; od < oEnd; od += 32) {
      const low0 = low4<T>(v0 + at, signAndBits, magnify);
      const low1 = low4<T>(v1 + at, signAndBits, magnify);
      v128.store(od, madd(a1, low1, madd(a0, low0, v128.load(od))));
      v128.store(od + rowBytes, madd(b1, low1, madd(b0, low0, v128.load(od + rowBytes))));
      const high0 = high4<T>(v0 + at, signAndBits, magnify);
      const high1 = high4<T>(v1 + at, signAndBits, magnify);
      v128.store(od, madd(a1, high1, madd(a0, high0, v128.load(od, 16))), 16);
      v128.store(od + rowBytes, madd(b1, high1, madd(b0, high0, v128.load(od + rowBytes, 16))), 16);
      at += 8 * sizeof<T>();
    }
    v0 += vRow;
    v1 += vRow;
  }
}

/** S[key] = the sum of its four, four keys at a time. */
function addSums(s: usize, sums: usize, count: i32): void {
  for (; count > 0; count -= 4) {
    const k0 = v128.load(sums);
    const k1 = v128.load(sums, 16);
    const k2 = v128.load(sums, 32);
    const k3 = v128.load(sums, 48);
    const pairs01 = f32x4.add(v128.shuffle<f32>(k0, k1, 0, 4, 1, 5), v128.shuffle<f32>(k0, k1, 2, 6, 3, 7));
    const pairs23 = f32x4.add(v128.shuffle<f32>(k2, k3, 0, 4, 1, 5), v128.shuffle<f32>(k2, k3, 2, 6, 3, 7));
    v128.store(s, f32x4.add(v128.shuffle<f64>(pairs01, pairs23, 0, 2), v128.shuffle<f64>(pairs01, pairs23, 1, 3)));
    s += 16;
    sums += 64;
  }
}
