// Masked values that are not finite.
//
// The fast passes multiply a masked key's value by a probability of 0. That stands for "not read", unless the value is
// NaN or Infinity: 0·NaN and 0·Infinity are NaN. So a pass is checked once, at its end, and done again where need be:
//
//     after the last key                                     then
//     O is finite, or nothing was masked                     close: out = O/l
//     O is not finite, and some row met a masked key         careful: with 0 in place of p·v
//                                                            where the lane does not see the key
//     l = 0 in a row that sees keys, so all its scores       careful, and l = NaN in that row, as IEEE has it
//       are −Infinity                                        (with a sink: out = 0, lse = sink)
//     l = 0 in a row that sees no key                        close: out = 0, lse = −Infinity
//
//     who checks                    what is done again
//     decode, all keys              the rows of the KV head, at once, with 0 for the rows of V that a row does not see
//     prefill, all keys             the tile, at once
//     either, K and V in pieces     `attend` returns false with the last piece: the caller hands in every piece once
//                                   more with args.careful = 1; tiles that are closed stay as they are
//
// What a row does see keeps its NaN and Infinity: p·v of a key that a lane sees is never replaced. And sums are taken
// in the same order, so that the rows beside a spoiled one keep their bits.

import { AttendArgs, isFirstPiece, isLastPiece } from "../args";
import { maskScores, seesAny } from "../attention/mask";
import { L, QueryTile, clearOutput, forgetKeys, lanes, sumOf } from "../attention/query-tile";
import { addBias } from "../attention/scores";
import { BLOCK_KEYS, SPAN_BITS, enterSpan, keysOfBlock } from "../attention/totals";
import { gatherKeys, gatheredRowStride } from "../kv/gather";
import { PAGE_KEYS } from "../kv/rows";
import { ZERO } from "../simd/constants";
import { LANE_BYTES, isFinite, madd } from "../simd/lanes";
import { scoreKeys, softmaxAndRescale } from "./kv-tile";

/** Whether a tile of prefill must be done again, carefully. */
export function mustRepeat(tile: QueryTile, args: AttendArgs): bool {
  for (let vector = 0; vector < tile.vectors && tile.masked; vector++) {
    if (!isFinite(tile.o + ((<usize>vector) << 4), LANE_BYTES, args.valueDim)) return true;
  }
  for (let lane = 0; lane < tile.vectors << 2; lane++) {
    if (sumOf(tile, lane) == 0 && seesAny(tile, args, lane)) return true;
  }
  return false;
}

/** Whether decode must do its `rows` rows again, carefully; int8.ts has refused the rows, as bits, of `refused`. */
export function mustDecodeAgain(tile: QueryTile, args: AttendArgs, rows: i32, refused: i32): bool {
  const inSight = tile.first >= tile.commonFirst && tile.end <= tile.commonEnd;
  const masked = args.keepMask != 0 || args.bias != 0 || !inSight;
  return masked && (refused != 0 || !isFinite(tile.o, 16, rows * (args.valueDim >> 2)));
}

/**
 * The tile once more, kv tile by kv tile, over the keys of this call, with 0 in place of p·v where a lane does not see
 * the key. k and v take the gathered rows of a kv tile each; s is SCORE_BYTES of scratch.
 */
export function attendCarefully(tile: QueryTile, args: AttendArgs, s: usize, k: usize, v: usize): void {
  const seen = k; // where K was: −Infinity in lanes that do not see a key
  if (isFirstPiece(args)) {
    forgetKeys(tile);
    clearOutput(tile, args);
  }
  const end = min(tile.end, args.toKey);
  let last = 0;
  for (let key = max(tile.first, args.fromKey); key < end; key = last) {
    last = min(key - (key % PAGE_KEYS) + PAGE_KEYS, end);
    enterSpan(tile, key >> SPAN_BITS);
    gatherKeys(args, tile.kvHead, k, v, key, last - key);
    scoreKeys(tile, args, s, key, last - key, k, <usize>gatheredRowStride(args.headDim), false, 0);
    let count = keysOfBlock(key, last - key);
    softmaxAndRescale(tile, args, s, last - key, count, 0);
    let p = s;
    let row = v;
    for (let block = key; block < last; block += count) {
      count = keysOfBlock(block, last - block);
      memory.fill(seen, 0, <usize>BLOCK_KEYS * LANE_BYTES);
      if (args.bias) addBias(tile, args, seen, block, count);
      maskScores(tile, args, seen, block, count);
      accumulateSeen(tile, args, p, seen, row, count);
      p += <usize>count * LANE_BYTES;
      row += <usize>count * <usize>gatheredRowStride(args.valueDim);
    }
    tile.steps++;
  }
  if (!args.sinks && isLastPiece(args)) markLostRows(tile, args, tile.vectors << 2);
}

/** Oᵗ += P·v for `count` keys of one block, 0 in lanes that do not see them. */
function accumulateSeen(tile: QueryTile, args: AttendArgs, s: usize, seen: usize, v: usize, count: i32): void {
  const rows = <usize>count * LANE_BYTES;
  for (let offset: usize = 0; offset != LANE_BYTES; offset += 16) {
    let o = tile.o + offset;
    for (let column = 0; column < args.valueDim; column++) {
      let x = v + ((<usize>column) << 2);
      let sum = v128.load32_splat(args.constants, ZERO);
      for (let at = offset; at != rows + offset; at += LANE_BYTES) {
        const sees = f32x4.ne(v128.load(seen + at), f32x4.splat(-Infinity));
        sum = v128.bitselect(madd(v128.load32_splat(x), v128.load(s + at), sum), sum, sees);
        x += <usize>gatheredRowStride(args.valueDim);
      }
      v128.store(o, f32x4.add(v128.load(o), sum));
      o += LANE_BYTES;
    }
  }
}

/**
 * l = NaN in rows, of the first `count`, that saw keys and whose scores are all −Infinity: −Infinity − −Infinity is
 * NaN. (A sink would be the maximum.)
 */
export function markLostRows(tile: QueryTile, args: AttendArgs, count: i32): void {
  for (let lane = 0; lane < count; lane++) {
    if (sumOf(tile, lane) == 0 && seesAny(tile, args, lane)) {
      store<f64>(lanes(tile, L) + ((<usize>lane) << 3), args.lostSum);
    }
  }
}
