// The scores of chosen rows, which attention makes and forgets, are kept here, as they reach the softmax of
// probabilities.ts.
//
//     for each MAX_DECODE_ROWS chosen rows
//       for each page of keys
//         S = q·Kᵀ · scale of the key           decode/products.ts
//         S = softcap, ALiBi, bias, masks       attention/scores.ts, attention/mask.ts, row form
//         W[page] = S, m = max(m, max S)
//
// Rows are numbered as in attention/query-tile.ts: row r is query r / group of head r % group. Each has a query tile of
// its own, of which only lane 0 counts. The arguments are those of one KV head.

import { AttendArgs, boundedSize } from "../args";
import { maskRow } from "../attention/mask";
import { FROM, QueryTile, TO, lanes, openLanes, queryTileBytes } from "../attention/query-tile";
import { adjustRow } from "../attention/scores";
import {
  MAX_DECODE_ROWS,
  WORK_BYTES,
  prepareQuery,
  preparedQueryBytes,
  scoreRowsOfPage,
  scoreStored,
} from "../decode/products";
import { SCORE_ROW_BYTES } from "../decode/qk";
import { gatherRows } from "../kv/gather";
import { F32, PAGE_KEYS, kAddress, kScaleAddress, typeAsRead } from "../kv/rows";
import { maxLane, maxNumber, vectorBytes } from "../simd/lanes";

/**
 * A chosen row. TypeScript writes it (bindings/engine/abi.ts is generated from this class); every field has four bytes.
 */
@unmanaged
export class ScoreRow {
  row: i32;
  /** [seqLenKv] floats. */
  weights: usize;
  /** One float, or 0. */
  entropy: usize;
  /** The lse that settles the denominator, if the call has one. */
  lse: f32;
  /** The largest score so far, from −FLT_MAX on. */
  m: f32;
  /** Σ |q_d·k_d| · scale of the key whose score is m; only with an lse. */
  magnitude: f32;
}

// @ts-ignore: decorator
@inline const ROW_STRUCT_BYTES: usize = offsetof<ScoreRow>();

// @ts-ignore: decorator
@inline export function rowAt(rows: usize, r: i32): ScoreRow {
  return changetype<ScoreRow>(rows + <usize>r * ROW_STRUCT_BYTES);
}

/**
 * Bytes of scratch: query tiles, S, the work of products.ts and the keys of one page as f32; `headDim` is a multiple of
 * 8.
 */
export function scoreRowsBytes(headDim: f64): f64 {
  const dim = boundedSize(headDim);
  const gathered = (PAGE_KEYS << 2) * <u64>dim;
  const perRow = queryTileBytes(0, 0) + SCORE_ROW_BYTES;
  return <f64>(MAX_DECODE_ROWS * perRow + WORK_BYTES + preparedQueryBytes(dim) + gathered);
}

/**
 * The scores of chosen rows for the keys [first, end), as they reach the softmax; −Infinity where a key is masked.
 *
 *   args            those of one KV head; headDim is `dim` rounded up to whole eights; out, lse, q, v are not read
 *   scratch         scoreRowsBytes(headDim) bytes, overwritten
 *   rows            [count] of ScoreRow; writes weights[first … end), raises m
 *   q               [count][headDim] = the chosen rows of q · queryScale, 0 beyond `dim`
 *   trackMagnitude  whether to keep `magnitude`
 */
export function scoreRows(
  args: AttendArgs,
  scratch: usize,
  rows: usize,
  q: usize,
  count: i32,
  dim: i32,
  first: i32,
  end: i32,
  trackMagnitude: bool,
): void {
  assert((args.headDim & 7) == 0 && dim > args.headDim - 8 && dim <= args.headDim, "headDim must be dim rounded up");
  assert(0 <= first && first <= end && end <= args.seqLenKv, "keys must be keys of the call");
  assert(args.numKvHeads == 1, "the arguments must be those of one KV head");
  const qRowBytes = (<usize>args.headDim) << 2;
  for (let r = 0; r < count; r += MAX_DECODE_ROWS) {
    const some = min(MAX_DECODE_ROWS, count - r);
    const qRows = q + <usize>r * qRowBytes;
    scoreSomeRows(args, scratch, rows + <usize>r * ROW_STRUCT_BYTES, qRows, some, dim, first, end, trackMagnitude);
  }
}

/** Up to MAX_DECODE_ROWS rows of {@link scoreRows}. */
function scoreSomeRows(
  args: AttendArgs,
  scratch: usize,
  rows: usize,
  q: usize,
  count: i32,
  dim: i32,
  first: i32,
  end: i32,
  trackMagnitude: bool,
): void {
  const tileBytes = <usize>queryTileBytes(0, 0);
  const scores = scratch + <usize>MAX_DECODE_ROWS * tileBytes;
  const work = scores + <usize>MAX_DECODE_ROWS * SCORE_ROW_BYTES;
  const prepared = work + WORK_BYTES;
  const gathered = prepared + <usize>preparedQueryBytes(args.headDim);
  // The keys that some row sees by position.
  let low = end;
  let high = first;
  for (let r = 0; r < count; r++) {
    const tile = changetype<QueryTile>(scratch + <usize>r * tileBytes);
    openLanes(tile, args, 0, rowAt(rows, r).row, 0);
    const from = max(load<i32>(lanes(tile, FROM)), first);
    const to = min(load<i32>(lanes(tile, TO)), end);
    if (from >= to) continue;
    low = min(low, from);
    high = max(high, to);
  }
  high = max(low, high);

  // Where int8.ts does not take a row, the others are to have the scores that they have without it.
  const type = typeAsRead(args.kType);
  const refused = prepareQuery(prepared, q, count, args.headDim, type);
  if (refused && count > 1) {
    for (let r = 0; r < count; r++) {
      const qRow = q + <usize>r * ((<usize>args.headDim) << 2);
      scoreSomeRows(args, scratch, rows + <usize>r * ROW_STRUCT_BYTES, qRow, 1, dim, first, end, trackMagnitude);
    }
    return;
  }
  const asStored = !refused && (dim == args.headDim || type != F32);
  const ready = type == F32 ? q : prepared;
  for (let key = low; key < high;) {
    const keys = min(PAGE_KEYS - (key % PAGE_KEYS), high - key);
    if (asStored) scoreRowsOfPage(args, 0, scores, ready, work, gathered, key, keys, count);
    else scoreGathered(args, scores, q, work, gathered, key, keys, dim, count);
    for (let r = 0; r < count; r++) {
      const s = scores + <usize>r * SCORE_ROW_BYTES;
      const row = rowAt(rows, r);
      const tile = changetype<QueryTile>(scratch + <usize>r * tileBytes);
      adjustRow(tile, args, s, 0, key, keys);
      maskRow(tile, args, s, 0, key, keys);
      memory.copy(row.weights + ((<usize>key) << 2), s, (<usize>keys) << 2);
      const top = largest(s, keys, row.m);
      if (top <= row.m) continue;
      row.m = top;
      const qRow = q + <usize>r * ((<usize>args.headDim) << 2);
      if (trackMagnitude) row.magnitude = magnitudeOf(args, qRow, gathered, s, top, key, dim);
    }
    key += keys;
  }

  for (let r = 0; r < count; r++) {
    const w = rowAt(rows, r).weights;
    fill(w + ((<usize>first) << 2), low - first, -Infinity);
    fill(w + ((<usize>high) << 2), end - high, -Infinity);
  }
}

/** S of rows that products.ts cannot read as they are stored: copied as f32, with zeros behind. */
function scoreGathered(
  args: AttendArgs,
  s: usize,
  q: usize,
  work: usize,
  gathered: usize,
  first: i32,
  count: i32,
  dim: i32,
  rows: i32,
): void {
  const rowBytes = (<usize>args.headDim) << 2;
  const scales = kScaleAddress(args, 0, first);
  gatherRows(gathered, kAddress(args, 0, first), scales, count, dim, rowBytes, args.kRowStride, args.kType);
  const used = (<usize>dim) << 2;
  for (let key = 0; key < count; key++) memory.fill(gathered + <usize>key * rowBytes + used, 0, rowBytes - used);
  scoreStored(args, s, q, work, gathered, count, rows, rowBytes, F32);
}

/** max(m, max S) over [count] scores, of which the last vector is whole; NaN is passed over. */
function largest(s: usize, count: i32, m: f32): f32 {
  let top = f32x4.splat(m);
  for (const end = s + vectorBytes(count); s != end; s += 16) top = maxNumber(top, v128.load(s));
  return maxLane(top);
}

/**
 * Σ |q_d·k_d| · scale of the key whose score is `top`, one of those in s; the first score in s is that of key `first`.
 */
function magnitudeOf(args: AttendArgs, q: usize, gathered: usize, s: usize, top: f32, first: i32, dim: i32): f32 {
  while (load<f32>(s) != top) {
    s += 4;
    first++;
  }
  gatherRows(gathered, kAddress(args, 0, first), kScaleAddress(args, 0, first), 1, dim, 0, 0, args.kType);
  let sum: f32 = 0;
  for (let d: usize = 0; d < (<usize>dim) << 2; d += 4) sum += abs(load<f32>(q + d) * load<f32>(gathered + d));
  return sum * args.scoreScale;
}

/** row = x on [count] floats. */
export function fill(row: usize, count: i32, x: f32): void {
  for (; count >= 4; count -= 4, row += 16) v128.store(row, f32x4.splat(x));
  for (; count > 0; count--, row += 4) store<f32>(row, x);
}
