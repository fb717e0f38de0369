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
//                                 where prefill gathers K and V: K, then V, of a page, where they come in 16 bits; the
//                                 rows of V that a query row sees
//     query tile, behind its      q [MAX_DECODE_ROWS][headDim]
//     lane arrays                 O [MAX_DECODE_ROWS][valueDim]
//                                 totals [MAX_DECODE_ROWS][valueDim] of f64
//                                 prepared q of products.ts
//                                 sums of int8.ts

import { AttendArgs, isFirstPiece, isLastPiece } from "../args";
import { keptByAny, maskRow, sees } from "../attention/mask";
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
import { rowsAsF32 } from "../kv/gather";
import { rowAsF32, storeHalves } from "../kv/half";
import { F16, F32, PAGE_KEYS, typeAsRead, vAddress, vScaleAddress } from "../kv/rows";
import { SCORE_BYTES } from "../prefill/kv-tile";
import { markLostRows, mustDecodeAgain } from "../prefill/nonfinite";
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

/** Bytes of S, behind which stands the work of products.ts. */
// @ts-ignore: decorator
@inline const S_BYTES: usize = <usize>MAX_DECODE_ROWS * SCORE_ROW_BYTES;

/** All rows of a KV head are written, or wait for more keys. */
// @ts-ignore: decorator
@inline export const ALL_WRITTEN: i32 = -1;

/**
 * All query rows of one KV head over the keys of this call. Returns the rows that are written, as bits: ALL_WRITTEN, or
 * without those that prefill must do, since int8.ts does not take their numbers. With K and V in pieces 0 where every
 * piece must come once more: with args.careful (prefill/nonfinite.ts), or all keys together.
 */
export function decode(tile: QueryTile, args: AttendArgs, kvHead: i32, scratch: usize): i32 {
  const rows = rowsPerKvHead(args);
  const q = queries(tile);
  const o = q + <usize>MAX_DECODE_ROWS * ((<usize>args.headDim) << 2);
  const prepared = o + 3 * <usize>MAX_DECODE_ROWS * ((<usize>args.valueDim) << 2);
  const sums = prepared + <usize>preparedQueryBytes(args.headDim);
  assert(S_BYTES + WORK_BYTES <= SCORE_BYTES, "S and the work of products.ts must fit where S of prefill does");
  assert(
    sums - changetype<usize>(tile) + valueSumBytes(args.valueDim) <= <usize>queryTileBytes(args.headDim, args.valueDim),
    "all that decode keeps must fit where Qᵗ and Oᵗ of a query tile do",
  );
  let careful = args.careful != 0;
  if (careful && tile.closed) return ALL_WRITTEN;
  do {
    if (isFirstPiece(args)) {
      openLanes(tile, args, kvHead, 0, 0);
      packRows(tile, args, q, rows);
      tile.o = o;
      tile.oBytes = <usize>rows * ((<usize>args.valueDim) << 2);
      tile.totals = o + tile.oBytes;
      memory.fill(o, 0, tile.oBytes);
      tile.span = tile.first >> spanBitsOf(args);
      tile.steps = 1;
    }
    const type = typeAsRead(args.kType);
    let refused = prepareQuery(prepared, q, rows, args.headDim, type);
    refused |= decodeKeys(tile, args, scratch, type == F32 ? q : prepared, sums, rows, careful);
    if (refused && !(isFirstPiece(args) && isLastPiece(args))) return 0;
    if (!isLastPiece(args)) return ALL_WRITTEN;
    takeTotals(tile);
    if (careful || !mustDecodeAgain(tile, args, rows, refused)) {
      if (!args.sinks) markLostRows(tile, args, rows);
      closeLanes(tile, args, 1);
      storeRowsOfO(tile, args, o, rows);
      return ~refused;
    }
    careful = true;
  } while (isFirstPiece(args));
  return 0;
}

/**
 * O += P·V over the keys of this call, page by page. Returns the rows, as bits, of which int8.ts does not take a P.
 * Carefully is row by row, with 0 in place of each row of V that the query row does not see.
 */
function decodeKeys(tile: QueryTile, args: AttendArgs, s: usize, q: usize, sums: usize, rows: i32, careful: bool): i32 {
  const work = s + S_BYTES;
  const seen = s + SCORE_BYTES;
  const o = tile.o;
  const oRowStride = (<usize>args.valueDim) << 2;
  const to = min(tile.end, args.toKey);
  let refused = 0;
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
    enterSpan(tile, key >> spanBitsOf(args));
    scoreRowsOfPage(args, tile.kvHead, s, q, work, seen, key, count, rows);
    let v = vAddress(args, tile.kvHead, key);
    if (!careful) v = rowsAsF32(seen, v, count, args.valueDim, args.vRowStride, args.vType);
    const vScales = vScaleAddress(args, tile.kvHead, key);
    for (let row = 0; row < rows; row++) {
      const sRow = s + <usize>row * SCORE_ROW_BYTES;
      adjustRow(tile, args, sRow, row, key, count);
      maskRow(tile, args, sRow, row, key, count);
      const alpha = softmaxRow(tile, sRow, work, row, count, args.constants);
      const oRow = o + <usize>row * oRowStride;
      if (alpha != 1) {
        scaleRow(oRow, oRow, args.valueDim, alpha);
        if (tile.hasTotals) scaleTotals(tile.totals + 2 * (oRow - o), 32, args.valueDim >> 2, f32x4.splat(alpha));
      }
      if (vScales) scaleByKey(sRow, vScales, count);
      if (careful) {
        const rowBytes = copySeenRows(tile, args, seen, v, sRow, row, key, count);
        refused |= accumulateRows(args, oRow, seen, sRow, work, sums, key, count, 1, rowBytes) << row;
      }
    }
    if (!careful) {
      const vRowStride = v == seen ? oRowStride : args.vRowStride;
      refused |= accumulateRows(args, o, v, s, work, sums, key, count, rows, vRowStride);
    }
  }
  return refused;
}

/**
 * to = `count` rows of V, from `key` on, which stands at v; 0 in place of those that the row in `lane` does not see,
 * and in their P. Returns the bytes of a row.
 */
function copySeenRows(
  tile: QueryTile,
  args: AttendArgs,
  to: usize,
  v: usize,
  p: usize,
  lane: i32,
  key: i32,
  count: i32,
): usize {
  const rowBytes = ((<usize>args.valueDim) << 2) >> typeAsRead(args.vType); // F32, F16 or INT8
  for (; count > 0; count--) {
    if (sees(tile, args, lane, key)) {
      memory.copy(to, rowAsF32(v, to, args.valueDim, args.vType), rowBytes);
    } else {
      memory.fill(to, 0, rowBytes);
      store<f32>(p, 0);
    }
    to += rowBytes;
    v += args.vRowStride;
    p += 4;
    key++;
  }
  return rowBytes;
}

/** q [rows][headDim] = the query rows · queryScale */
function packRows(tile: QueryTile, args: AttendArgs, q: usize, rows: i32): void {
  for (let row = 0; row < rows; row++) {
    const from = rowAsF32(pointerAt(lanes(tile, Q_ROW), row), q, args.headDim, args.qType);
    scaleRow(q, from, args.headDim, args.queryScale);
    q += (<usize>args.headDim) << 2;
  }
}

/** out[row] = O[row]·ALPHA[row] */
function storeRowsOfO(tile: QueryTile, args: AttendArgs, o: usize, rows: i32): void {
  const type = args.outType;
  for (let row = 0; row < rows; row++) {
    if (args.vType == F16) fromEvenOdd(o, args.valueDim);
    const factor = load<f32>(lanes(tile, ALPHA) + ((<usize>row) << 2));
    const to = pointerAt(lanes(tile, OUT_ROW), row);
    scaleRow(type == F32 ? to : o, o, args.valueDim, factor);
    if (type != F32) storeHalves(to, o, args.valueDim, type);
    o += (<usize>args.valueDim) << 2;
  }
}
