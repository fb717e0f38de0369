// The two products of decoding, S = q·Kᵀ and O = O + P·V, over rows of K and V as they are stored: this file chooses
// which kernel reads them, and in which order.
//
// The order of the keys decides the speed. GB/s of f32 for one query row, from memory (in brackets: a plain read loop)
// and from the cache:
//
//                                  Zen 4 (22)   Zen 5 (28)   Xeon (15)   cache, Zen 4
//     row after row                    21           22           9            48        one stream, which is prefetched
//     four rows, a quarter apart       17           19          12            60        q and O are loaded once for four
//     two neighbours side by side       8                                     53
//
// So one query row reads f32 and f16 row after row. Pairs of query rows share each vector of K or V and read four rows,
// a quarter of the page apart; so does one query row over f32 that stays in the cache. int8 is read in split integers,
// query row by query row, two or four neighbours at a time. On Zen 5 row after row gains 11 % for f16 and 14 % for
// int8. The Xeon, whose memory is farther away, gains by four streams; but the order of V's rows shows in the last
// bits, and these must not depend on the machine.

import { AttendArgs } from "../args";
import { BLOCK_BITS, SPAN_BITS } from "../attention/totals";
import { F16, F32, INT8, kAddress, kScaleAddress, vAddress } from "../kv/rows";
import { UNIT_BYTES, accumulateInt8, dotInt8, splitInt16, splitInt16Bytes, splitInt16Pairs } from "./int8";
import { accumulateOneRow, accumulateRowPairs, accumulateSideBySide } from "./pv";
import { vectorBytes } from "../simd/lanes";
import { SCORE_ROW_BYTES, SUM_ROW_BYTES, dotOneRow, dotRowPairs, dotSideBySide, reduceSums, scaleQueryF16 } from "./qk";

/** The most query rows that one call takes. */
// @ts-ignore: decorator
@inline export const MAX_DECODE_ROWS: i32 = 4;

/** K and V of a call that are taken to stay in the cache from one call to the next. */
// @ts-ignore: decorator
@inline const CACHED_BYTES: f64 = 8 * 1024 * 1024;

/** Bytes in front of a row of prepared q: of f16 the factor of its sums, of int8 the units of int8.ts. */
// @ts-ignore: decorator
@inline const HEADER_BYTES: usize = UNIT_BYTES;

/** Bytes from one row of prepared q to the next. */
function preparedRowBytes(dim: i32, type: i32): usize {
  return type == F32 ? (<usize>dim) << 2 : <usize>splitInt16Bytes(dim);
}

/** Bytes of {@link prepareQuery}. */
export function preparedQueryBytes(headDim: i32): u64 {
  return <u64>MAX_DECODE_ROWS * splitInt16Bytes(headDim);
}

/** Bytes of work for the products: the sums of scores, or P in split integers. */
// @ts-ignore: decorator
@inline export const WORK_BYTES: usize = <usize>MAX_DECODE_ROWS * SUM_ROW_BYTES;

/**
 * Whether K and V, as f32, come from the cache rather than from memory. It decides the order of sums, and so last bits
 * (docs/decisions/decode-order.md).
 */
function staysCached(args: AttendArgs): bool {
  const values = <f64>(args.headDim + args.valueDim) * <f64>args.seqLenKv * <f64>args.numKvHeads;
  return values * 4 <= CACHED_BYTES;
}

/**
 * q [rows][dim] as {@link scoreStored} takes it over rows of K of `type`: f32 as it is, f16 scaled up and in even-odd
 * order, int8 as split integers. Returns where it is, `q` itself or `to`; 0 where int8.ts does not take a row.
 */
export function prepareQuery(to: usize, q: usize, rows: i32, dim: i32, type: i32): usize {
  if (type == F32) return q;
  for (let row: usize = 0; row < <usize>rows; row++) {
    const from = q + row * ((<usize>dim) << 2);
    const prepared = to + row * <usize>splitInt16Bytes(dim);
    if (type == F16) store<f32>(prepared, scaleQueryF16(prepared + HEADER_BYTES, from, dim));
    else if (!splitInt16(prepared, from, dim)) return 0;
  }
  return to;
}

/**
 * S [rows][count] = q·Kᵀ for keys of one page, from `first` on. `q` is as prepareQuery gives it, `work` has WORK_BYTES.
 */
export function scoreRowsOfPage(
  args: AttendArgs,
  kvHead: i32,
  s: usize,
  q: usize,
  work: usize,
  first: i32,
  count: i32,
  rows: i32,
): void {
  scoreStored(args, s, q, work, kAddress(args, kvHead, first), count, rows, args.kRowStride, args.kType);
  const scales = kScaleAddress(args, kvHead, first);
  if (!scales) return;
  for (let row = 0; row < rows; row++) scaleByKey(s + <usize>row * SCORE_ROW_BYTES, scales, count);
}

/** row [count] ← row·scales, element by element, in whole vectors. */
export function scaleByKey(row: usize, scales: usize, count: i32): void {
  for (const end = row + vectorBytes(count); row != end; row += 16) {
    v128.store(row, f32x4.mul(v128.load(row), v128.load(scales)));
    scales += 16;
  }
}

/**
 * S [rows][count] = q·Kᵀ for `count` rows of headDim values at k, without their scales; `q` is as prepareQuery gives
 * it.
 */
export function scoreStored(
  args: AttendArgs,
  s: usize,
  q: usize,
  work: usize,
  k: usize,
  count: i32,
  rows: i32,
  kRowStride: usize,
  type: i32,
): void {
  const dim = args.headDim;
  const table = args.constants;
  const qRowBytes = preparedRowBytes(dim, type);
  const last = <usize>(rows - 1);
  const lastQ = q + last * qRowBytes;
  const lastSums = work + last * SUM_ROW_BYTES;
  if (type == INT8) {
    for (let row: usize = 0; row <= last; row++) {
      dotInt8(work + row * SUM_ROW_BYTES, k, q + row * qRowBytes, count, dim, kRowStride);
    }
  } else if (type == F16) {
    dotRowPairs<u16>(work, k, q + HEADER_BYTES, qRowBytes, count, rows >> 1, dim, kRowStride, table);
    if (rows & 1) dotOneRow<u16>(lastSums, k, lastQ + HEADER_BYTES, count, dim, kRowStride, table);
  } else {
    dotRowPairs<f32>(work, k, q, qRowBytes, count, rows >> 1, dim, kRowStride, table);
    if (rows & 1 && staysCached(args)) dotSideBySide(lastSums, k, lastQ, count, dim, kRowStride, table);
    else if (rows & 1) dotOneRow<f32>(lastSums, k, lastQ, count, dim, kRowStride, table);
  }
  for (let row: usize = 0; row <= last; row++) {
    const unit: f32 = type == F16 ? load<f32>(q + row * qRowBytes) : 1;
    reduceSums(s + row * SCORE_ROW_BYTES, work + row * SUM_ROW_BYTES, count, unit);
  }
}

/** log₂ of the keys of a span, after which O goes into the totals: 8 to 64 additions to O (totals.ts). */
export function spanBitsOf(args: AttendArgs, rows: i32): i32 {
  if (args.vType == INT8) return SPAN_BITS; // one addition a page
  // Four keys an addition, but for a row that goes key after key.
  return rows & 1 && (args.vType == F16 || !staysCached(args)) ? BLOCK_BITS : BLOCK_BITS + 2;
}

/**
 * O [rows][valueDim] += P·V for keys of one page, from `first` on. P is overwritten behind them, up to a multiple of
 * eight keys; O of f16 is in even-odd order. `sums` has valueSumBytes of int8.ts, `spanBits`
 * is as spanBitsOf says. False, and O undefined, where int8.ts
 * does not take a P.
 */
export function accumulateRows(
  args: AttendArgs,
  kvHead: i32,
  o: usize,
  p: usize,
  work: usize,
  sums: usize,
  first: i32,
  count: i32,
  spanBits: i32,
  rows: i32,
): bool {
  const v = vAddress(args, kvHead, first);
  const dim = args.valueDim;
  const oRowBytes = (<usize>dim) << 2;
  const vRowStride = args.vRowStride;
  if (args.vType == INT8) {
    for (let row = 0; row < rows; row++) {
      if (!splitInt16Pairs(work, p + <usize>row * SCORE_ROW_BYTES, count)) return false;
      accumulateInt8(o + <usize>row * oRowBytes, v, work, sums, count, dim, vRowStride);
    }
    return true;
  }

  const table = args.constants;
  const last = <usize>(rows - 1);
  const lastO = o + last * oRowBytes;
  const lastP = p + last * SCORE_ROW_BYTES;
  if (args.vType == F16) {
    accumulateRowPairs<u16>(o, v, p, count, rows >> 1, dim, vRowStride, table);
    if (rows & 1) accumulateOneRow<u16>(lastO, v, lastP, count, dim, vRowStride, table);
  } else {
    accumulateRowPairs<f32>(o, v, p, count, rows >> 1, dim, vRowStride, table);
    if (rows & 1 && spanBits > BLOCK_BITS) accumulateSideBySide(lastO, v, lastP, count, dim, vRowStride, table);
    else if (rows & 1) accumulateOneRow<f32>(lastO, v, lastP, count, dim, vRowStride, table);
  }
  return true;
}
