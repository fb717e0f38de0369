// A pass: up to 48 query tiles of one KV head go through its keys together, one kv tile after the other, so that K and
// V come from memory once a pass and all operands of a kv tile are in the first or second-level cache.
//
//     for each kv tile that some row of the pass sees
//       gather its K and V, or read them in place
//       for each query tile of the pass: attendKvTile
//     for each query tile: check for values that are not finite, close
//
// Scratch of a pass:
//
//     ┌ S, powers ──┬ scales ─────┬ gathered K ───────┬ gathered V ───────┬ query tiles of the pass ┐
//     │ SCORE_BYTES │ SCALE_BYTES │ [PAGE_KEYS] rows  │ [PAGE_KEYS] rows  │ (args.tiles instead,    │
//     │             │             │ gatheredRowStride │ gatheredRowStride │ with K and V in pieces) │
//     └─────────────┴─────────────┴───────────────────┴───────────────────┴─────────────────────────┘

import { AttendArgs, isFirstPiece, isLastPiece } from "../args";
import {
  QueryTile,
  clearOutput,
  openTile,
  queryTileBytes,
  rowsPerKvHead,
  unpackHalves,
  unpackOutput,
} from "../attention/query-tile";
import { closeLanes } from "../attention/softmax";
import { keysOfBlock, takeTotals } from "../attention/totals";
import { canPickKeys, fetchRows, gatherKept, gatherKeys, gatheredRowStride } from "../kv/gather";
import { F32, PAGE_KEYS, isHalves, kAddress, vAddress } from "../kv/rows";
import { LN_2 } from "../simd/exp";
import { LANES } from "../simd/lanes";
import { SCALE_BYTES, isHalf, lostLanes, quantizeKeys, quantizeQueries } from "./half";
import { SCORE_BYTES, attendKvTile, scoreUnit } from "./kv-tile";
import { attendCarefully, mustRepeat } from "./nonfinite";

/**
 * What the query tiles of one pass may take with their totals, which they seldom touch. The rest is of the order of a
 * second-level cache, which they pass in address order.
 */
// @ts-ignore: decorator
@inline const PASS_BYTES: u64 = 1280 * 1024;

/** Query tiles of a pass, at most. 8 reach 48, 32 reach 50.3, 64 reach 50.9 GFLOP/s at 8 heads of 2048 × 2048 × 128. */
// @ts-ignore: decorator
@inline const MAX_PASS_TILES: i32 = 48;

/** Query tiles of a pass, at least, whatever their bytes. */
// @ts-ignore: decorator
@inline const MIN_PASS_TILES: i32 = 4;

/** Query rows of a KV head, at most, where K and V come in pieces: they must all go in one pass. */
// @ts-ignore: decorator
@inline export const MAX_PIECE_ROWS: i32 = MIN_PASS_TILES * LANES;

/**
 * From this many query tiles on, a pass gathers K and V. Rows that are numHeads·headDim floats apart fall on few cache
 * sets: read in place they cost 18 % at 8 heads of 128, the copy costs 2 %.
 */
// @ts-ignore: decorator
@inline const GATHER_TILES: i32 = 3;

/**
 * Up to SMALL_PASS query tiles read a kv tile of up to SMALL_BYTES in place after all, unless its rows stand a multiple
 * of CACHE_SET_BYTES apart: it stays in the first-level cache by itself, and the copy would cost 4 % at 8×12 heads of
 * 64 × 64 × 64.
 */
// @ts-ignore: decorator
@inline const SMALL_PASS: i32 = 8;
// @ts-ignore: decorator
@inline const SMALL_BYTES: i32 = 32 * 1024;
// @ts-ignore: decorator
@inline const CACHE_SET_BYTES: usize = 4096;

/** Query tiles of a full pass over `rows` query rows. */
function tilesPerPass(headDim: i32, valueDim: i32, rows: i32): i32 {
  const fit = <i32>(PASS_BYTES / queryTileBytes(headDim, valueDim));
  return min(max(min(fit, MAX_PASS_TILES), MIN_PASS_TILES), (rows + LANES - 1) / LANES);
}

/** Passes of one KV head; 0 without query rows. */
export function passesPerKvHead(args: AttendArgs): i32 {
  const rows = rowsPerKvHead(args);
  if (rows == 0) return 0;
  const passRows = tilesPerPass(args.headDim, args.valueDim, rows) * LANES;
  return (rows + passRows - 1) / passRows;
}

/** Bytes of the query tiles of a pass. */
export function passTileBytes(headDim: i32, valueDim: i32, rows: i32): u64 {
  return <u64>max(1, tilesPerPass(headDim, valueDim, rows)) * queryTileBytes(headDim, valueDim);
}

/** Bytes of scratch in front of the query tiles. */
export function kvTileScratchBytes(headDim: i32, valueDim: i32): u64 {
  return <u64>(SCORE_BYTES + SCALE_BYTES) + <u64>PAGE_KEYS * (gatheredRowStride(headDim) + gatheredRowStride(valueDim));
}

/**
 * Pass `pass` of one KV head over the keys of this call; its query tiles stand at `tiles`. Where K and V come in
 * pieces, out and lse are written with the last piece. False where a tile must come once more, with args.careful
 * (nonfinite.ts). `written` has the rows, as bits, that decode has written; then there is one query tile.
 */
export function attendPass(args: AttendArgs, kvHead: i32, pass: i32, scratch: usize, tiles: usize, written: i32): bool {
  const rows = rowsPerKvHead(args);
  const perPass = tilesPerPass(args.headDim, args.valueDim, rows);
  const firstRow = pass * perPass * LANES;
  const count = min(perPass, (rows - firstRow + LANES - 1) / LANES);
  const end = tiles + <usize>count * <usize>queryTileBytes(args.headDim, args.valueDim);
  if (isFirstPiece(args)) openTiles(args, kvHead, firstRow, tiles, end, written, scratch + SCORE_BYTES);
  if (!args.careful) attendKeys(args, kvHead, scratch, tiles, end);
  if (!args.careful && !isLastPiece(args)) return true;
  return closeTiles(args, scratch, firstRow, tiles, end);
}

/** Opens the query tiles [tiles, end), but for those that an earlier round has closed; `scratch` is as for openTile. */
function openTiles(
  args: AttendArgs,
  kvHead: i32,
  firstRow: i32,
  tiles: usize,
  end: usize,
  written: i32,
  scratch: usize,
): void {
  const bytes = <usize>queryTileBytes(args.headDim, args.valueDim);
  for (let t = tiles; t != end; t += bytes, firstRow += LANES) {
    const tile = changetype<QueryTile>(t);
    if (args.careful && tile.closed) continue;
    openTile(tile, args, kvHead, firstRow, args.careful ? tile.written : written, scratch);
    if (isHalf(args)) quantizeQueries(tile, args);
  }
}

/** The query tiles [tiles, end) over the keys of this call. */
function attendKeys(args: AttendArgs, kvHead: i32, scratch: usize, tiles: usize, end: usize): void {
  const bytes = <usize>queryTileBytes(args.headDim, args.valueDim);
  const count = <i32>((end - tiles) / bytes);
  const scales = scratch + SCORE_BYTES;
  const gatheredK = scales + SCALE_BYTES;
  const gatheredV = gatheredK + <usize>PAGE_KEYS * <usize>gatheredRowStride(args.headDim);
  let firstKey = i32.MAX_VALUE;
  let endKey = 0;
  // Keys that every row sees by position.
  let commonFirst = 0;
  let commonEnd = i32.MAX_VALUE;
  for (let t = tiles; t != end; t += bytes) {
    const tile = changetype<QueryTile>(t);
    firstKey = min(firstKey, tile.first);
    endKey = max(endKey, tile.end);
    commonFirst = max(commonFirst, tile.commonFirst);
    commonEnd = min(commonEnd, tile.commonEnd);
  }
  endKey = min(endKey, args.toKey);

  const half = isHalf(args);
  const picks = !half && canPickKeys(args);
  let keys = 0;
  for (let key = max(firstKey, args.fromKey); key < endKey; key += keys) {
    keys = min(PAGE_KEYS - (key % PAGE_KEYS), endKey - key);
    let k = gatheredK;
    let v = gatheredV;
    let kRowStride = <usize>gatheredRowStride(args.headDim);
    let vRowStride = <usize>gatheredRowStride(args.valueDim);
    let kept = keys;
    let head = 0;
    let first = key;
    if (picks && commonFirst <= key && key + keys <= commonEnd) {
      const middle = key + keysOfBlock(key, keys);
      head = gatherKept(args, kvHead, k, v, key, middle);
      const skip = <usize>head;
      kept = head + gatherKept(args, kvHead, k + skip * kRowStride, v + skip * vRowStride, middle, key + keys);
      if (!head) head = kept;
      if (!head) continue;
    } else if (half) {
      quantizeKeys(args, kvHead, k, v, scales, key, keys);
      first = key & ~1;
    } else if (gathers(args, count, keys)) {
      gatherKeys(args, kvHead, k, v, key, keys);
    } else {
      k = kAddress(args, kvHead, key);
      v = vAddress(args, kvHead, key);
      kRowStride = args.kRowStride;
      vRowStride = args.vRowStride;
      fetchRows(k, keys, args.headDim, kRowStride, scratch);
      fetchRows(v, keys, args.valueDim, vRowStride, scratch);
    }
    // As if key 0 stood in the same array.
    k -= <usize>first * kRowStride;
    v -= <usize>first * vRowStride;
    const scalesOfAll = half ? scales - ((<usize>first) << 2) : 0;
    for (let t = tiles; t != end; t += bytes) {
      const tile = changetype<QueryTile>(t);
      const from = max(key, tile.first);
      const to = min(key + kept, tile.end);
      attendKvTile(tile, args, scratch, from, to, head, k, v, kRowStride, vRowStride, scalesOfAll);
    }
  }
}

/** Whether `count` query tiles gather the K and V of a kv tile of `keys` keys, rather than read them in place. */
// @ts-ignore: decorator
@inline function gathers(args: AttendArgs, count: i32, keys: i32): bool {
  if (args.kType != F32 || args.vType != F32) return true;
  if (count < GATHER_TILES) return false;
  const spread = ((args.kRowStride | args.vRowStride) & (CACHE_SET_BYTES - 1)) != 0;
  return !(spread && count <= SMALL_PASS && args.headDim + args.valueDim <= (SMALL_BYTES >> 2) / keys);
}

/**
 * Checks the query tiles [tiles, end), does again what must be, and closes them with the last key; false as attendPass
 * says.
 */
function closeTiles(args: AttendArgs, scratch: usize, firstRow: i32, tiles: usize, end: usize): bool {
  const bytes = <usize>queryTileBytes(args.headDim, args.valueDim);
  const gatheredK = scratch + SCORE_BYTES + SCALE_BYTES;
  const gatheredV = gatheredK + <usize>PAGE_KEYS * <usize>gatheredRowStride(args.headDim);
  const half = isHalf(args);
  let written = true;
  for (let t = tiles; t != end; t += bytes, firstRow += LANES) {
    const tile = changetype<QueryTile>(t);
    if (tile.closed) continue;
    if (!args.careful) takeTotals(tile);
    let unit = half ? LN_2 : scoreUnit(args);
    const lost = half ? lostLanes(tile, args) : 0;
    if (args.careful || lost || (!half && mustRepeat(tile, args))) {
      if (half) {
        // The rows beside the lost ones keep their bits.
        closeTile(tile, args, unit, gatheredV);
        tile.closed = 0;
        tile.written = ~lost;
      }
      if (!args.careful && !isFirstPiece(args)) {
        written = false;
        continue;
      }
      if (half) openTile(tile, args, tile.kvHead, firstRow, ~lost, gatheredK);
      unit = scoreUnit(args);
      attendCarefully(tile, args, scratch, gatheredK, gatheredV);
    }
    if (!isLastPiece(args)) continue;
    takeTotals(tile);
    closeTile(tile, args, unit, gatheredV);
  }
  return written;
}

/** Closes a tile: writes out and lse. `unit` is what one unit of m is worth as a score, `scratch` as for unpackHalves. */
function closeTile(tile: QueryTile, args: AttendArgs, unit: f32, scratch: usize): void {
  if (tile.steps == 0) clearOutput(tile, args);
  closeLanes(tile, args, unit);
  if (isHalves(args.outType)) unpackHalves(tile, args, scratch);
  else unpackOutput(tile, args);
}
