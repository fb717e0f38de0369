// Attention for a few query rows: decoding, where the work is to read K and V once. Rows of K and V are read as vectors, and the scores
// of a row lie together, so that no lane is idle for want of query rows. From five rows on the tile of tile.ts is faster.
//
// How many keys go side by side decides. GB/s of f32, one query row, from memory that streams at 22 and from the cache:
//
//                                       K           V
//     row after row                  21   48     21   43     the prefetcher follows one stream a page
//     two neighbours side by side     8   53      8   52
//     four, a quarter step apart     17   60     17   60     four streams; q, and O, are loaded once for four keys
//
// So K and V that come from memory go row after row for one query row, and side by side otherwise: half a step apart for two query
// rows, a quarter for one, but in int8, whose rows are short, neighbours.
//
//     scratch   q [ROWS][headDim]    S, P [ROWS][PAGE_KEYS]    sums [2][PAGE_KEYS][4]    O [ROWS][valueDim]
//
//     for each step of at most PAGE_KEYS keys
//       S = q·Kᵀ · scale of the key
//       S = softcap, ALiBi, bias, masks
//       P = exp(S − m'), α, l'
//       O = α·O + P·scale of the key·V
//
// Shared with flash.ts: the lane arrays of a block (block.ts), which hold m, l and what is known of each row.

import { Head } from "./head";
import { madd } from "./lanes";
import { HALF_BITS, HALF_SCALE, LOG2_E, exp, expColumn, softcap } from "./exp";
import {
  ALPHA,
  BIAS_ROW,
  Block,
  FROM,
  L,
  M,
  MASK_ROW,
  OUT_ROW,
  POSITION,
  Q_ROW,
  SLOPE,
  TO,
  closeLanes,
  lanes,
} from "./block";
import { F16, F32, PAGE_KEYS, high4, keyAddress, low4 } from "./rows";

/** The most query rows that one call takes. */
// @ts-ignore: decorator
@inline export const ROWS: i32 = 4;

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

/** Whether the kernels here take a head: few rows of q, and whole eights of values in those of K and V. */
// @ts-ignore: decorator
@inline export function decodes(head: Head): bool {
  return head.seqLenQ * head.group <= ROWS && ((head.headDim | head.valueDim) & 7) == 0;
}

/**
 * Attends from all query rows of a head, whose lanes `block` has. False where a masked value
 * that is not finite may have got into the result, or a row's scores are all −Infinity: then nothing is written, and the blocks of
 * flash.ts, which keep masked values away, must do it.
 */
export function decode(block: Block, head: Head, scratch: usize): bool {
  const rows = head.seqLenQ * head.group;
  const q = scratch;
  const scores = q + <usize>ROWS * ((<usize>head.headDim) << 2);
  const sums = scores + <usize>ROWS * SCORE_ROW; // sums of scores, then powers of expColumn
  const o = sums + SUMS_BYTES;
  const oRow = (<usize>head.valueDim) << 2;
  packRows(block, head, q, rows);
  memory.fill(o, 0, <usize>rows * oRow);

  const masked = head.keepMask != 0 || head.bias != 0 || block.first < block.commonFirst || block.end > block.commonEnd;
  // Steps end where pages do.
  for (let key = block.first; key < block.end;) {
    const end = min(key - (key % PAGE_KEYS) + PAGE_KEYS, block.end);
    const count = end - key;
    scoreRows(head, scores, q, sums, key, count, rows);
    for (let row = 0; row < rows; row++) {
      const s = scores + <usize>row * SCORE_ROW;
      finishScores(block, head, s, row, key, count);
      const alpha = softmaxRow(block, head, s, sums, row, count);
      if (alpha != 1) scaleRow(o + <usize>row * oRow, head.valueDim, alpha);
      if (head.vScales) multiplyRow(s, keyAddress(head, head.vScales, key, 4), count);
    }
    addRows(head, o, scores, key, count, rows);
    key = end;
  }

  for (let row = 0; row < rows; row++) {
    const at = (<usize>row) << 2;
    const l = load<f32>(lanes(block, L) + at);
    const sees = load<i32>(lanes(block, FROM) + at) < load<i32>(lanes(block, TO) + at);
    if (l == 0 && sees) return false;
    if (masked && !isFiniteRow(o + <usize>row * oRow, head.valueDim)) return false;
  }
  // The lanes that repeat the last row write its lse again.
  for (let lane = rows; lane < 4; lane++) {
    const at = (<usize>lane) << 2;
    store<f32>(lanes(block, M) + at, load<f32>(lanes(block, M) + at - 4));
    store<f32>(lanes(block, L) + at, load<f32>(lanes(block, L) + at - 4));
  }
  closeLanes(block, head, 1);
  for (let row = 0; row < rows; row++) {
    const at = (<usize>row) << 2;
    const factor = f32x4.splat(load<f32>(lanes(block, ALPHA) + at));
    const out = load<usize>(lanes(block, OUT_ROW) + at);
    for (let d: usize = 0; d < oRow; d += 16) {
      v128.store(out + d, f32x4.mul(v128.load(o + <usize>row * oRow + d), factor));
    }
  }
  return true;
}

/** q [rows][headDim] = the rows of q · queryScale */
function packRows(block: Block, head: Head, q: usize, rows: i32): void {
  const scale = f32x4.splat(head.queryScale);
  const bytes = (<usize>head.headDim) << 2;
  for (let row = 0; row < rows; row++) {
    const from = load<usize>(lanes(block, Q_ROW) + ((<usize>row) << 2));
    for (let d: usize = 0; d < bytes; d += 16) v128.store(q + d, f32x4.mul(v128.load(from + d), scale));
    q += bytes;
  }
}

/** Whether K and V come from memory rather than from the cache. */
function streams(head: Head): bool {
  const bytes = <f64>head.headDim * bytesOf(head.kType) + <f64>head.valueDim * bytesOf(head.vType);
  return bytes * <f64>head.seqLenKv * <f64>head.numKvHeads > CACHED_BYTES;
}

/** Bytes of a value. */
function bytesOf(type: i32): f64 {
  return type == F32 ? 4 : type == F16 ? 2 : 1;
}

/** S [rows][count] = q·Kᵀ for the keys from `first` on; `sums` is scratch of SUMS_BYTES. */
export function scoreRows(head: Head, s: usize, q: usize, sums: usize, first: i32, count: i32, rows: i32): void {
  const k = keyAddress(head, head.k, first, head.kRow);
  scoreStored(head, s, q, sums, k, count, rows, head.kRow, head.kType);
  if (!head.kScales) return;
  for (let row = 0; row < rows; row++) {
    multiplyRow(s + <usize>row * SCORE_ROW, keyAddress(head, head.kScales, first, 4), count);
  }
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
    const inOrder = pair == 1 && streams(head);
    if (type == F32) sumProducts<f32>(sums, k, qRow, count, pair, inOrder, dim, kRow, table);
    else if (type == F16) sumProducts<u16>(sums, k, qRow, count, pair, inOrder, dim, kRow, table);
    else sumProducts<i8>(sums, k, qRow, count, pair, inOrder, dim, kRow, table);
    for (let n = 0; n < pair; n++) addSums(s + <usize>(row + n) * SCORE_ROW, sums + <usize>n * SUM_ROW, count);
  }
}

/** O [rows][valueDim] += P·V for the keys from `first` on; P is 0 up to the next multiple of four keys. */
function addRows(head: Head, o: usize, p: usize, first: i32, count: i32, rows: i32): void {
  const v = keyAddress(head, head.v, first, head.vRow);
  const rowBytes = (<usize>head.valueDim) << 2;
  for (let row = 0; row < rows; row += 2) {
    const oRow = o + <usize>row * rowBytes;
    const pRow = p + <usize>row * SCORE_ROW;
    const pair = min(2, rows - row);
    const inOrder = pair == 1 && streams(head);
    const dim = head.valueDim;
    if (head.vType == F32) addProducts<f32>(oRow, v, pRow, count, pair, inOrder, dim, head.vRow, head.constants);
    else if (head.vType == F16) addProducts<u16>(oRow, v, pRow, count, pair, inOrder, dim, head.vRow, head.constants);
    else addProducts<i8>(oRow, v, pRow, count, pair, inOrder, dim, head.vRow, head.constants);
  }
}

/** Four sums that make up q[row]·k[key], at sums [row][key][4], for one row of q or two. Keys past the last repeat it. */
// @ts-ignore: decorator
@inline function sumProducts<T>(
  sums: usize,
  k: usize,
  q: usize,
  count: i32,
  rows: i32,
  inOrder: bool,
  dim: i32,
  kRow: usize,
  table: usize,
): void {
  if (inOrder) {
    sumOne<T>(sums, k, q, count, dim, kRow, table);
  } else if (rows == 1) {
    const quarter = count >> 2;
    const far: usize = sizeof<T>() == 1 ? 1 : <usize>quarter;
    const next: usize = sizeof<T>() == 1 ? 4 : 1;
    const far1 = k + far * kRow;
    const far2 = far1 + far * kRow;
    sumFour<T>(sums, far << 4, next << 4, k, far1, far2, far2 + far * kRow, q, quarter, dim, next * kRow, table);
    const left = count & 3;
    if (!left) return;
    const k0 = k + <usize>(count - left) * kRow;
    const k1 = left > 1 ? k0 + kRow : k0;
    const k2 = left > 2 ? k1 + kRow : k1;
    sumFour<T>(sums + ((<usize>quarter) << 6), 16, 0, k0, k1, k2, k2, q, 1, dim, kRow, table);
  } else {
    const half = count >> 1;
    const far = <usize>half * kRow;
    sumTwoByTwo<T>(sums, (<usize>half) << 4, k, k + far, q, half, dim, kRow, table);
    if (count & 1) sumTwoByTwo<T>(sums + ((<usize>half) << 5), 16, k + 2 * far, k + 2 * far, q, 1, dim, kRow, table);
  }
}

/** O[row] += Σ P[row][key]·v[key] for one row or two. Keys past the last repeat it, with a weight of 0. */
// @ts-ignore: decorator
@inline function addProducts<T>(
  o: usize,
  v: usize,
  p: usize,
  count: i32,
  rows: i32,
  inOrder: bool,
  dim: i32,
  vRow: usize,
  table: usize,
): void {
  if (inOrder) {
    addOne<T>(o, v, p, count, dim, vRow, table);
  } else if (rows == 1) {
    const quarter = count >> 2;
    const far: usize = sizeof<T>() == 1 ? 1 : <usize>quarter;
    const next: usize = sizeof<T>() == 1 ? 4 : 1;
    const far1 = v + far * vRow;
    const far2 = far1 + far * vRow;
    addFour<T>(o, v, far1, far2, far2 + far * vRow, p, far << 2, next << 2, quarter, dim, next * vRow, table);
    const left = count & 3;
    if (!left) return;
    const v0 = v + <usize>(count - left) * vRow;
    const v1 = left > 1 ? v0 + vRow : v0;
    const v2 = left > 2 ? v1 + vRow : v1;
    addFour<T>(o, v0, v1, v2, v2, p + ((<usize>quarter) << 4), 4, 0, 1, dim, vRow, table);
  } else {
    const half = count >> 1;
    const far = <usize>half * vRow;
    addTwoByTwo<T>(o, v, v + far, p, (<usize>half) << 2, half, dim, vRow, table);
    if (count & 1) addTwoByTwo<T>(o, v + 2 * far, v + 2 * far, p + ((<usize>half) << 3), 4, 1, dim, vRow, table);
  }
}

// The loops below walk `count` rows of K, or V, in each of one, two or four places. The sums, or weights, of one place stand `step` bytes
// behind those of the place before, and those of the next row `next` bytes on. Each is a function of its own, so that its registers are.

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

/** One row of q, four keys side by side. */
function sumFour<T>(
  sums: usize,
  step: usize,
  next: usize,
  k0: usize,
  k1: usize,
  k2: usize,
  k3: usize,
  q: usize,
  count: i32,
  dim: i32,
  kRow: usize,
  table: usize,
): void {
  const signAndBits = v128.load32_splat(table, HALF_BITS);
  const magnify = v128.load32_splat(table, HALF_SCALE);
  const qEnd = q + ((<usize>dim) << 2);
  for (; count > 0; count--) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    for (let qd = q, at: usize = 0; qd < qEnd; qd += 32) {
      const low = v128.load(qd);
      const high = v128.load(qd, 16);
      a0 = madd(low4<T>(k0 + at, signAndBits, magnify), low, a0);
      a1 = madd(low4<T>(k1 + at, signAndBits, magnify), low, a1);
      a2 = madd(low4<T>(k2 + at, signAndBits, magnify), low, a2);
      a3 = madd(low4<T>(k3 + at, signAndBits, magnify), low, a3);
      a0 = madd(high4<T>(k0 + at, signAndBits, magnify), high, a0);
      a1 = madd(high4<T>(k1 + at, signAndBits, magnify), high, a1);
      a2 = madd(high4<T>(k2 + at, signAndBits, magnify), high, a2);
      a3 = madd(high4<T>(k3 + at, signAndBits, magnify), high, a3);
      at += 8 * sizeof<T>();
    }
    v128.store(sums, a0);
    v128.store(sums + step, a1);
    v128.store(sums + 2 * step, a2);
    v128.store(sums + 3 * step, a3);
    sums += next;
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

/** One row of O, four keys side by side. */
function addFour<T>(
  o: usize,
  v0: usize,
  v1: usize,
  v2: usize,
  v3: usize,
  p: usize,
  step: usize,
  next: usize,
  count: i32,
  dim: i32,
  vRow: usize,
  table: usize,
): void {
  const signAndBits = v128.load32_splat(table, HALF_BITS);
  const magnify = v128.load32_splat(table, HALF_SCALE);
  const oEnd = o + ((<usize>dim) << 2);
  for (; count > 0; count--) {
    const w0 = v128.load32_splat(p);
    const w1 = v128.load32_splat(p + step);
    const w2 = v128.load32_splat(p + 2 * step);
    const w3 = v128.load32_splat(p + 3 * step);
    for (let od = o, at: usize = 0; od < oEnd; od += 32) {
      let low = madd(w0, low4<T>(v0 + at, signAndBits, magnify), v128.load(od));
      let high = madd(w0, high4<T>(v0 + at, signAndBits, magnify), v128.load(od, 16));
      low = madd(w1, low4<T>(v1 + at, signAndBits, magnify), low);
      high = madd(w1, high4<T>(v1 + at, signAndBits, magnify), high);
      low = madd(w2, low4<T>(v2 + at, signAndBits, magnify), low);
      high = madd(w2, high4<T>(v2 + at, signAndBits, magnify), high);
      v128.store(od, madd(w3, low4<T>(v3 + at, signAndBits, magnify), low));
      v128.store(od, madd(w3, high4<T>(v3 + at, signAndBits, magnify), high), 16);
      at += 8 * sizeof<T>();
    }
    p += next;
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

/** Softcap, ALiBi, bias and masks on the scores of one row, and −Infinity in the rest of the last vector. */
export function finishScores(block: Block, head: Head, s: usize, row: i32, first: i32, count: i32): void {
  const vectors = (count + 3) >> 2;
  if (head.softcap > 0) softcap(s, vectors, head.scoreScale, head.softcap, head.constants);
  else if (head.scoreScale != 1) scaleRow(s, count, head.scoreScale);
  // What follows goes key by key: it is there for few calls, and little beside the products.
  const lane = (<usize>row) << 2;
  if (head.alibiSlopes) {
    const slope = load<f32>(lanes(block, SLOPE) + lane);
    const ahead = load<i32>(lanes(block, POSITION) + lane) - first;
    for (let key = 0; key < count; key++) {
      const at = s + ((<usize>key) << 2);
      store<f32>(at, load<f32>(at) - slope * abs(<f32>(ahead - key)));
    }
  }
  if (head.bias) {
    let bias = load<usize>(lanes(block, BIAS_ROW) + lane) + <usize>first * head.biasKey;
    for (let key = 0; key < count; key++) {
      const at = s + ((<usize>key) << 2);
      const added = load<f32>(bias);
      store<f32>(at, added == -Infinity ? added : load<f32>(at) + added);
      bias += head.biasKey;
    }
  }
  if (head.keepMask) {
    let mask = load<usize>(lanes(block, MASK_ROW) + lane) + <usize>first * head.maskKey;
    for (let key = 0; key < count; key++) {
      if (!load<u8>(mask)) store<f32>(s + ((<usize>key) << 2), -Infinity);
      mask += head.maskKey;
    }
  }
  const from = load<i32>(lanes(block, FROM) + lane);
  const to = load<i32>(lanes(block, TO) + lane);
  for (let key = first; key < min(from, first + count); key++) store<f32>(s + ((<usize>(key - first)) << 2), -Infinity);
  for (let key = max(to, first); key < first + count; key++) store<f32>(s + ((<usize>(key - first)) << 2), -Infinity);
  for (let key = count; key < vectors << 2; key++) store<f32>(s + ((<usize>key) << 2), -Infinity);
}

/** P = exp(S − m'), l' = α·l + Σ P of one row; returns α. S is in units of the score. */
function softmaxRow(block: Block, head: Head, s: usize, powers: usize, row: i32, count: i32): f32 {
  const lane = (<usize>row) << 2;
  const mPtr = lanes(block, M) + lane;
  const lPtr = lanes(block, L) + lane;
  const vectors = (count + 3) >> 2;
  const m = load<f32>(mPtr);
  let top = f32x4.splat(m);
  for (let n = 0; n < vectors; n++) top = f32x4.pmax(top, v128.load(s + ((<usize>n) << 4)));
  top = f32x4.pmax(top, v128.shuffle<f32>(top, top, 2, 3, 0, 1));
  top = f32x4.pmax(top, v128.shuffle<f32>(top, top, 1, 0, 3, 2));
  const sum = sum4(expColumn(s, powers, 16, vectors, top, LOG2_E, head.constants));
  const newM = f32x4.extract_lane(top, 0);
  const alpha: f32 = m == newM ? 1 : f32x4.extract_lane(exp(f32x4.splat(m - newM), head.constants), 0);
  store<f32>(mPtr, newM);
  store<f32>(lPtr, load<f32>(lPtr) * alpha + sum);
  return alpha;
}

// @ts-ignore: decorator
@inline function sum4(x: v128): f32 {
  const pairs = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.add(pairs, v128.shuffle<f32>(pairs, pairs, 1, 0, 3, 2)), 0);
}

/** row ← row · factor, in whole vectors. */
function scaleRow(row: usize, count: i32, factor: f32): void {
  for (const end = row + ((<usize>count) << 2); row < end; row += 16) {
    v128.store(row, f32x4.mul(v128.load(row), f32x4.splat(factor)));
  }
}

/** row ← row · factors, element by element, in whole vectors. */
function multiplyRow(row: usize, factors: usize, count: i32): void {
  for (const end = row + ((<usize>count) << 2); row < end; row += 16) {
    v128.store(row, f32x4.mul(v128.load(row), v128.load(factors)));
    factors += 16;
  }
}

function isFiniteRow(row: usize, count: i32): bool {
  let tainted = f32x4.splat(0); // becomes NaN where anything is not finite
  for (const end = row + ((<usize>count) << 2); row < end; row += 16) {
    tainted = f32x4.add(tainted, f32x4.mul(v128.load(row), f32x4.splat(0)));
  }
  return !v128.any_true(f32x4.ne(tainted, tainted));
}
