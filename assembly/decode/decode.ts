// Attention for up to four query rows of a KV head: decoding, where the work is to read K and V once. Rows of K and V
// are read as vectors, and the scores of one row stand side by side, so that no lane is idle for want of query rows.
// From five rows on the register tile of simd/gemm.ts is faster.
//
//     for each page of keys
//       S = q·Kᵀ · scale of the key        products.ts
//       S = softcap, ALiBi, bias, masks    attention/scores.ts, attention/mask.ts, row form
//       P = exp(S − m'), α, l'             attention/softmax.ts, row form
//       O = α·O + P·scale of the key·V     products.ts, in spans of keys as attention/totals.ts says
//
// Memory:
//
//     scratch of the thread       S, P [MAX_DECODE_ROWS][PAGE_KEYS]
//                                 work of products.ts; also the powers of expColumn
//     query tile, behind its      q [MAX_DECODE_ROWS][headDim]
//     lane arrays                 O [MAX_DECODE_ROWS][valueDim]
//                                 totals [MAX_DECODE_ROWS][valueDim] of f64
//                                 prepared q of products.ts
//                                 sums of int8.ts

import { AttendArgs, isFirstPiece, isLastPiece } from "../args";
import { keptByAny, maskRow } from "../attention/mask";
import {
  ALPHA,
  OUT_ROW,
  Q_ROW,
  QueryTile,
  lanes,
  openLanes,
  pointerAt,
  queries,
  queryTileBytes,
  rowsPerKvHead,
} from "../attention/query-tile";
import { adjustRow } from "../attention/scores";
import { closeLanes, softmaxRow } from "../attention/softmax";
import { enterSpan, scaleTotals, takeTotals } from "../attention/totals";
import { fromEvenOdd } from "../kv/float16";
import { F16, F32, PAGE_KEYS, vScaleAddress } from "../kv/rows";
import { SCORE_BYTES } from "../prefill/kv-tile";
import { mustLeaveToPrefill } from "../prefill/nonfinite";
import { scaleRow } from "../simd/lanes";
import { valueSumBytes } from "./int8";
import {
  MAX_DECODE_ROWS,
  WORK_BYTES,
  accumulateRows,
  prepareQuery,
  preparedQueryBytes,
  scaleByKey,
  scoreRowsOfPage,
  spanBitsOf,
} from "./products";
import { SCORE_ROW_BYTES } from "./qk";

/** Whether these kernels take a call: few query rows, and whole eights of values in the rows of K and V. */
// @ts-ignore: decorator
@inline export function decodes(args: AttendArgs): bool {
  return rowsPerKvHead(args) <= MAX_DECODE_ROWS && ((args.headDim | args.valueDim) & 7) == 0;
}

/**
 * All query rows of one KV head over the keys of this call. False where prefill must do it, and nothing is written
 * then: masked values that are not finite may have got into the result (prefill/nonfinite.ts), or int8.ts does not take
 * the numbers.
 */
export function decode(tile: QueryTile, args: AttendArgs, kvHead: i32, scratch: usize): bool {
  const rows = rowsPerKvHead(args);
  const spanBits = spanBitsOf(args, rows);
  const work = scratch + <usize>MAX_DECODE_ROWS * SCORE_ROW_BYTES;
  const q = queries(tile);
  const o = q + <usize>MAX_DECODE_ROWS * ((<usize>args.headDim) << 2);
  const prepared = o + 3 * <usize>MAX_DECODE_ROWS * ((<usize>args.valueDim) << 2);
  const sums = prepared + <usize>preparedQueryBytes(args.headDim);
  assert(work - scratch + WORK_BYTES <= SCORE_BYTES, "S and the work of products.ts must fit where S of prefill does");
  assert(
    sums - changetype<usize>(tile) + valueSumBytes(args.valueDim) <= <usize>queryTileBytes(args.headDim, args.valueDim),
    "all that decode keeps must fit where Qᵗ and Oᵗ of a query tile do",
  );
  if (isFirstPiece(args)) {
    openLanes(tile, args, kvHead, 0);
    packRows(tile, args, q, rows);
    tile.o = o;
    tile.oBytes = <usize>rows * ((<usize>args.valueDim) << 2);
    tile.totals = o + tile.oBytes;
    memory.fill(o, 0, tile.oBytes);
    tile.span = tile.first >> spanBits;
    tile.steps = 1;
  }
  // f16 and int8 come in one piece.
  const ready = args.kType == F32 ? q : prepareQuery(prepared, q, rows, args.headDim, args.kType);
  if (!ready) return false;
  if (!decodeKeys(tile, args, scratch, work, ready, sums, spanBits, rows)) return false;
  if (!isLastPiece(args)) return true;
  takeTotals(tile);
  if (mustLeaveToPrefill(tile, args, rows)) return false;
  closeLanes(tile, args, 1);
  storeRowsOfO(tile, args, o, rows);
  return true;
}

/** O += P·V over the keys of this call, page by page; false where int8.ts does not take a P. */
// @ts-ignore: decorator
@inline function decodeKeys(
  tile: QueryTile,
  args: AttendArgs,
  s: usize,
  work: usize,
  q: usize,
  sums: usize,
  spanBits: i32,
  rows: i32,
): bool {
  const o = tile.o;
  const oRowStride = (<usize>args.valueDim) << 2;
  const to = min(tile.end, args.toKey);
  let end = 0;
  for (let key = max(tile.first, args.fromKey); key < to; key = end) {
    end = min(key - (key % PAGE_KEYS) + PAGE_KEYS, to);
    let last = end;
    if (args.keepMask || args.bias) {
      // Keys at either end that the masks take from every row are not read.
      while (key < last && !keptByAny(tile, args, key)) key++;
      while (key < last && !keptByAny(tile, args, last - 1)) last--;
    }
    const count = last - key;
    if (count == 0) continue;
    let p = s;
    scoreRowsOfPage(args, tile.kvHead, s, q, work, key, count, rows);
    const vScales = vScaleAddress(args, tile.kvHead, key);
    for (let row = 0; row < rows; row++) {
      const sRow = s + <usize>row * SCORE_ROW_BYTES;
      adjustRow(tile, args, sRow, row, key, count);
      maskRow(tile, args, sRow, row, key, count);
      const alpha = softmaxRow(tile, sRow, work, row, count, args.constants);
      if (alpha != 1) {
        const offset = <usize>row * oRowStride;
        scaleRow(o + offset, o + offset, args.valueDim, alpha);
        if (tile.hasTotals) scaleTotals(tile.totals + 2 * offset, 32, args.valueDim >> 2, f32x4.splat(alpha));
      }
      if (vScales) scaleByKey(sRow, vScales, count);
    }
    for (let part = 0; key < last; key += part) {
      enterSpan(tile, key >> spanBits);
      part = min((1 << spanBits) - (key & ((1 << spanBits) - 1)), last - key);
      if (!accumulateRows(args, tile.kvHead, o, p, work, sums, key, part, spanBits, rows)) return false;
      p += (<usize>part) << 2;
    }
  }
  return true;
}

/** q [rows][headDim] = the query rows · queryScale */
function packRows(tile: QueryTile, args: AttendArgs, q: usize, rows: i32): void {
  for (let row = 0; row < rows; row++) {
    scaleRow(q, pointerAt(lanes(tile, Q_ROW), row), args.headDim, args.queryScale);
    q += (<usize>args.headDim) << 2;
  }
}

/** out[row] = O[row]·ALPHA[row] */
function storeRowsOfO(tile: QueryTile, args: AttendArgs, o: usize, rows: i32): void {
  for (let row = 0; row < rows; row++) {
    if (args.vType == F16) fromEvenOdd(o, args.valueDim);
    const factor = load<f32>(lanes(tile, ALPHA) + ((<usize>row) << 2));
    scaleRow(pointerAt(lanes(tile, OUT_ROW), row), o, args.valueDim, factor);
    o += (<usize>args.valueDim) << 2;
  }
}
