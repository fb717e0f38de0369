// The two products of decoding, S = q·Kᵀ and O = O + P·V, over rows of K and V as they are stored: this file chooses
// which kernel reads them, and in which order.
//
// f32 and f16 are read four rows of one page side by side, far apart: four streams from memory. Pairs of query rows
// share each vector of K or V. int8 is read in split integers, query row by query row, two or four neighbours at a
// time. The order of a sum depends on where its keys stand, and on nothing else (pv.ts), so that a row has the same
// bits whatever the rows and the KV heads beside it (docs/decisions/decode-order.md).

import { AttendArgs } from "../args";
import { SPAN_BITS } from "../attention/totals";
import { rowsAsF32 } from "../kv/gather";
import { F16, F32, INT8, kAddress, kScaleAddress, typeAsRead } from "../kv/rows";
import { UNIT_BYTES, accumulateInt8, dotInt8, splitInt16, splitInt16Bytes, splitInt16Pairs } from "./int8";
import { accumulateOneRow, accumulateRowPairs, apartBitsOf } from "./pv";
import { vectorBytes } from "../simd/lanes";
import { SCORE_ROW_BYTES, SUM_ROW_BYTES, dotOneRow, dotRowPairs, reduceSums, scaleQueryF16 } from "./qk";

/** The most query rows that one call takes. */
// @ts-ignore: decorator
@inline export const MAX_DECODE_ROWS: i32 = 4;

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
 * q [rows][dim] as {@link scoreStored} takes it over rows of K of `type`: f32 as it is, where it is; f16 scaled up and
 * in even-odd order, int8 as split integers, at `to`. Returns the rows, as bits, that int8.ts does not take.
 */
export function prepareQuery(to: usize, q: usize, rows: i32, dim: i32, type: i32): i32 {
  let refused = 0;
  for (let row = 0; row < rows && type != F32; row++) {
    const from = q + <usize>row * ((<usize>dim) << 2);
    const prepared = to + <usize>row * <usize>splitInt16Bytes(dim);
    if (type == F16) store<f32>(prepared, scaleQueryF16(prepared + HEADER_BYTES, from, dim));
    else if (!splitInt16(prepared, from, dim)) refused |= 1 << row;
  }
  return refused;
}

/**
 * S [rows][count] = q·Kᵀ for keys of one page, from `first` on. `q` is as prepareQuery gives it, `work` has WORK_BYTES,
 * `gathered` room for the keys as f32.
 */
export function scoreRowsOfPage(
  args: AttendArgs,
  kvHead: i32,
  s: usize,
  q: usize,
  work: usize,
  gathered: usize,
  first: i32,
  count: i32,
  rows: i32,
): void {
  const type = args.kType;
  const k = rowsAsF32(gathered, kAddress(args, kvHead, first), count, args.headDim, args.kRowStride, type);
  const kRowStride = k == gathered ? (<usize>args.headDim) << 2 : args.kRowStride;
  scoreStored(args, s, q, work, k, count, rows, kRowStride, typeAsRead(type));
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
  const lastSums = work + last * SUM_ROW_BYTES;
  if (type == INT8) {
    for (let row: usize = 0; row <= last; row++) {
      dotInt8(work + row * SUM_ROW_BYTES, k, q + row * qRowBytes, count, dim, kRowStride);
    }
  } else if (type == F16) {
    const values = q + HEADER_BYTES;
    if (rows > 1) dotRowPairs<u16>(work, k, values, qRowBytes, count, rows >> 1, dim, kRowStride, table);
    if (rows & 1) dotOneRow<u16>(lastSums, k, values + last * qRowBytes, count, dim, kRowStride, table);
  } else {
    if (rows > 1) dotRowPairs<f32>(work, k, q, qRowBytes, count, rows >> 1, dim, kRowStride, table);
    if (rows & 1) dotOneRow<f32>(lastSums, k, q + last * qRowBytes, count, dim, kRowStride, table);
  }
  for (let row: usize = 0; row <= last; row++) {
    const unit: f32 = type == F16 ? load<f32>(q + row * qRowBytes) : 1;
    reduceSums(s + row * SCORE_ROW_BYTES, work + row * SUM_ROW_BYTES, count, unit);
  }
}

/** log₂ of the keys of a span, after which O goes into the totals: 8 to 64 additions to O (totals.ts). */
// @ts-ignore: decorator
@inline export function spanBitsOf(args: AttendArgs): i32 {
  return args.vType == INT8 ? SPAN_BITS : SPAN_BITS - 2; // one addition a page, or one for four keys
}

/**
 * O [rows][valueDim] += P·V for keys of one page, from `first` on; the rows of V stand vRowStride apart, at v. P is
 * overwritten behind them, up to a multiple of eight keys; O of f16 is in even-odd order. `sums` has valueSumBytes of
 * int8.ts. Returns the rows, as bits, of which int8.ts does not take the P: their O is undefined.
 */
export function accumulateRows(
  args: AttendArgs,
  o: usize,
  v: usize,
  p: usize,
  work: usize,
  sums: usize,
  first: i32,
  count: i32,
  rows: i32,
  vRowStride: usize,
): i32 {
  const dim = args.valueDim;
  const oRowBytes = (<usize>dim) << 2;
  let refused = 0;
  if (args.vType == INT8) {
    for (let row = 0; row < rows; row++) {
      if (!splitInt16Pairs(work, p + <usize>row * SCORE_ROW_BYTES, count)) refused |= 1 << row;
      else accumulateInt8(o + <usize>row * oRowBytes, v, work, sums, count, dim, vRowStride);
    }
    return refused;
  }

  for (const end = first + count; first < end; first += count) {
    const group = 4 << apartBitsOf(first);
    count = min(group - (first & (group - 1)), end - first);
    accumulateGroup(args, o, v, p, first, count, rows, vRowStride);
    v += <usize>count * vRowStride;
    p += (<usize>count) << 2;
  }
  return 0;
}

/** {@link accumulateRows} of f32 and f16 for keys of one group of pv.ts. */
function accumulateGroup(
  args: AttendArgs,
  o: usize,
  v: usize,
  p: usize,
  first: i32,
  count: i32,
  rows: i32,
  vRowStride: usize,
): void {
  const table = args.constants;
  const dim = args.valueDim;
  const bits = apartBitsOf(first);
  const apart = 1 << bits;
  const rest = count & (apart - 1);
  // Neighbouring sums of as many keys: `skipped` keys are before the first one of the first of them.
  for (let j = 0, sums = 0; j < apart; j += sums) {
    const skipped = (j - first) & (apart - 1);
    const more = skipped < rest;
    const keys = (count >> bits) + i32(more);
    sums = min((more ? rest : apart) - skipped, apart - j);
    if (!keys) continue;
    const vd = v + <usize>skipped * vRowStride;
    const pd = p + ((<usize>skipped) << 2);
    let row = 0;
    if (keys == 4 && rows > 1) {
      row = rows & ~1;
      if (args.vType == F16) accumulateRowPairs<u16>(o, vd, pd, sums, bits, rows >> 1, dim, vRowStride, table);
      else accumulateRowPairs<f32>(o, vd, pd, sums, bits, rows >> 1, dim, vRowStride, table);
    }
    for (; row < rows; row++) {
      const od = o + <usize>row * ((<usize>dim) << 2);
      const pRow = pd + <usize>row * SCORE_ROW_BYTES;
      if (args.vType == F16) accumulateOneRow<u16>(od, vd, pRow, sums, keys, bits, dim, vRowStride, table);
      else accumulateOneRow<f32>(od, vd, pRow, sums, keys, bits, dim, vRowStride, table);
    }
  }
}
