// Both products of attention for a few query rows, S = q·Kᵀ and O = O + P·V, over rows of K and V as they are stored. Which kernel
// reads them, and in which order, is chosen here.
//
// The order of the keys decides. GB/s of f32, one query row, from memory (that streams at) and from the cache:
//
//                                   Zen 4 (22)   Zen 5 (28)   Xeon (15)   cache, Zen 4
//     row after row                     21           22           9            48       the prefetcher follows one stream a page
//     four, a quarter step apart        17           19          12            60       four streams; q, and O, are loaded once for four keys
//     two neighbours side by side        8                                     53
//
// So one query row reads f32 and f16 row after row, and f32 from the cache four keys a quarter step apart, as pairs of query rows do, which
// share each vector of K or V. int8 goes in whole numbers, query row by query row, two or four neighbours at a time: there the window is
// small. On Zen 5 row after row gains 11 % on f16 and 14 % on int8. The Xeon, whose memory is farther away, would rather have four streams;
// but the order of V's rows shows in the last bits, and those must not hang on the machine.

import { Head } from "../args";
import { addFour, addOne, addPairs } from "./pv";
import { SCORE_ROW, SUM_ROW, addSums, raise, sumFour, sumOne, sumPairs } from "./qk";
import { F16, F32, INT8, keyAddress } from "../kv/rows";
import { UNITS, addBytes, sumBytes, toPairs, toWhole, wholeBytes } from "./int8";

/** The most query rows that one call takes. */
// @ts-ignore: decorator
@inline export const ROWS: i32 = 4;

/** K and V of a call that are taken to stay in the cache from one call to the next. */
// @ts-ignore: decorator
@inline const CACHED_BYTES: f64 = 8 * 1024 * 1024;

/** Bytes of what a row of ready q starts with: of f16 what its sums are multiplied by, of int8 the units of whole.ts. */
// @ts-ignore: decorator
@inline const HEADER: usize = UNITS;

/** Bytes from one row of ready q to the next. */
function readyRow(dim: i32, type: i32): usize {
  return type == F32 ? (<usize>dim) << 2 : wholeBytes(dim);
}

/** Bytes of {@link readyRows}. */
export function readyBytes(headDim: i32): usize {
  return <usize>ROWS * wholeBytes(headDim);
}

/** Bytes of scratch for the products: the sums of scores, or P in whole numbers. */
// @ts-ignore: decorator
@inline export const WORK_BYTES: usize = <usize>ROWS * SUM_ROW;

/** Whether K and V, as f32, come from the cache rather than from memory. */
function cached(head: Head): bool {
  const values = <f64>(head.headDim + head.valueDim) * <f64>head.seqLenKv * <f64>head.numKvHeads;
  return values * 4 <= CACHED_BYTES;
}

/**
 * q [rows][dim] as scoreStored takes it over rows of K of a type: f32 as it is, raised for f16, whole numbers for int8. Returns where it
 * is, q itself or `to`, or 0 where a row has no whole numbers.
 */
export function readyRows(to: usize, q: usize, rows: i32, dim: i32, type: i32): usize {
  if (type == F32) return q;
  for (let row: usize = 0; row < <usize>rows; row++) {
    const from = q + row * ((<usize>dim) << 2);
    const ready = to + row * wholeBytes(dim);
    if (type == F16) store<f32>(ready, raise(ready + HEADER, from, dim));
    else if (!toWhole(ready, from, dim)) return 0;
  }
  return to;
}

/** S [rows][count] = q·Kᵀ for `count` rows of headDim values at k, without their scales; `q` is as readyRows gives it. */
export function scoreStored(
  head: Head,
  s: usize,
  q: usize,
  work: usize,
  k: usize,
  count: i32,
  rows: i32,
  kRow: usize,
  type: i32,
): void {
  const dim = head.headDim;
  const table = head.constants;
  const qRow = readyRow(dim, type);
  const last = <usize>(rows - 1);
  const lastQ = q + last * qRow;
  const lastSums = work + last * SUM_ROW;
  if (type == INT8) {
    for (let row: usize = 0; row <= last; row++) sumBytes(work + row * SUM_ROW, k, q + row * qRow, count, dim, kRow);
  } else if (type == F16) {
    sumPairs<u16>(work, k, q + HEADER, qRow, count, rows >> 1, dim, kRow, table);
    if (rows & 1) sumOne<u16>(lastSums, k, lastQ + HEADER, count, dim, kRow, table);
  } else {
    sumPairs<f32>(work, k, q, qRow, count, rows >> 1, dim, kRow, table);
    if (rows & 1 && cached(head)) sumFour(lastSums, k, lastQ, count, dim, kRow, table);
    else if (rows & 1) sumOne<f32>(lastSums, k, lastQ, count, dim, kRow, table);
  }
  for (let row: usize = 0; row <= last; row++) {
    const unit: f32 = type == F16 ? load<f32>(q + row * qRow) : 1;
    addSums(s + row * SCORE_ROW, work + row * SUM_ROW, count, unit);
  }
}

/**
 * O [rows][valueDim] += P·V for the keys from `first` on; P is overwritten behind them, up to a multiple of eight. `added` is scratch of
 * addedBytes of whole.ts. False, and O undefined, where int8 meets a P that has no whole numbers.
 */
export function addRows(
  head: Head,
  o: usize,
  p: usize,
  work: usize,
  added: usize,
  first: i32,
  count: i32,
  rows: i32,
): bool {
  const v = keyAddress(head, head.v, first, head.vRow);
  const dim = head.valueDim;
  const oRow = (<usize>dim) << 2;
  const vRow = head.vRow;
  if (head.vType == INT8) {
    for (let row = 0; row < rows; row++) {
      if (!toPairs(work, p + <usize>row * SCORE_ROW, count)) return false;
      addBytes(o + <usize>row * oRow, v, work, added, count, dim, vRow);
    }
    return true;
  }

  const table = head.constants;
  const last = <usize>(rows - 1);
  const lastO = o + last * oRow;
  const lastP = p + last * SCORE_ROW;
  if (head.vType == F16) {
    addPairs<u16>(o, v, p, count, rows >> 1, dim, vRow, table);
    if (rows & 1) addOne<u16>(lastO, v, lastP, count, dim, vRow, table);
  } else {
    addPairs<f32>(o, v, p, count, rows >> 1, dim, vRow, table);
    if (rows & 1 && cached(head)) addFour(lastO, v, lastP, count, dim, vRow, table);
    else if (rows & 1) addOne<f32>(lastO, v, lastP, count, dim, vRow, table);
  }
  return true;
}
