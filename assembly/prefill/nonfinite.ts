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
//     decode, all keys              the same rows by prefill, which checks for itself
//     prefill, all keys             the tile, at once
//     either, K and V in pieces     `attend` returns false with the last piece: the caller hands in every piece once
//                                   more with args.careful = 1; tiles that are closed stay as they are
//
// What a row does see keeps its NaN and Infinity: p·v of a key that a lane sees is never replaced.

import { AttendArgs, isFirstPiece, isLastPiece } from "../args";
import { maskScores, seesAny } from "../attention/mask";
import { FROM, L, QueryTile, TO, clearOutput, forgetKeys, lanes, sumOf } from "../attention/query-tile";
import { addBias } from "../attention/scores";
import { BLOCK_BITS, BLOCK_KEYS, enterSpan, keysOfBlock } from "../attention/totals";
import { gatherKeys, gatheredRowStride } from "../kv/gather";
import { LANES, LANE_BYTES, isFinite } from "../simd/lanes";
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

/** Whether decode must leave its `rows` rows to prefill. */
export function mustLeaveToPrefill(tile: QueryTile, args: AttendArgs, rows: i32): bool {
  const inSight = tile.first >= tile.commonFirst && tile.end <= tile.commonEnd;
  const masked = args.keepMask != 0 || args.bias != 0 || !inSight;
  if (masked && !isFinite(tile.o, 16, rows * (args.valueDim >> 2))) return true;
  for (let row = 0; row < rows; row++) {
    const lane = (<usize>row) << 2;
    const seesKeys = load<i32>(lanes(tile, FROM) + lane) < load<i32>(lanes(tile, TO) + lane);
    if (sumOf(tile, row) == 0 && seesKeys) return true;
  }
  return false;
}

/**
 * The tile once more, block by block, over the keys of this call, with 0 in place of p·v where a lane does not see the
 * key. k and v take the gathered rows of a block each; s is SCORE_BYTES of scratch.
 */
export function attendCarefully(tile: QueryTile, args: AttendArgs, s: usize, k: usize, v: usize): void {
  const seen = s + <usize>(BLOCK_KEYS + 8) * LANE_BYTES; // behind S: −Infinity in lanes that do not see a key
  if (isFirstPiece(args)) {
    forgetKeys(tile);
    clearOutput(tile, args);
  }
  const end = min(tile.end, args.toKey);
  let count = 0;
  for (let key = max(tile.first, args.fromKey); key < end; key += count) {
    count = keysOfBlock(key, end - key);
    enterSpan(tile, key >> BLOCK_BITS);
    memory.fill(seen, 0, <usize>BLOCK_KEYS * LANE_BYTES);
    if (args.bias) addBias(tile, args, seen, key, count);
    maskScores(tile, args, seen, key, count);
    gatherKeys(args, tile.kvHead, k, v, key, count);
    scoreKeys(tile, args, s, key, count, k, <usize>gatheredRowStride(args.headDim), false);
    softmaxAndRescale(tile, args, s, count, count);
    accumulateSeen(tile, args, s, seen, v, count);
    tile.steps++;
  }
  if (!args.sinks && isLastPiece(args)) markLostRows(tile, args);
}

/** Oᵗ += P·v for `count` keys, 0 in lanes that do not see them. */
function accumulateSeen(tile: QueryTile, args: AttendArgs, s: usize, seen: usize, v: usize, count: i32): void {
  for (; count > 0; count--) {
    for (let offset: usize = 0; offset != LANE_BYTES; offset += 16) {
      const sees = f32x4.ne(v128.load(seen + offset), f32x4.splat(-Infinity));
      const p = v128.load(s + offset);
      let o = tile.o + offset;
      for (let column = 0; column < args.valueDim; column++) {
        const weighted = f32x4.mul(p, v128.load32_splat(v + ((<usize>column) << 2)));
        v128.store(o, f32x4.add(v128.load(o), v128.and(weighted, sees)));
        o += LANE_BYTES;
      }
    }
    s += LANE_BYTES;
    seen += LANE_BYTES;
    v += <usize>gatheredRowStride(args.valueDim);
  }
}

/**
 * l = NaN in rows that saw keys and whose scores are all −Infinity: −Infinity − −Infinity is NaN. (A sink would be the
 * maximum.)
 */
// @ts-ignore: decorator
@inline function markLostRows(tile: QueryTile, args: AttendArgs): void {
  for (let lane = 0; lane < LANES; lane++) {
    if (sumOf(tile, lane) == 0 && seesAny(tile, args, lane)) {
      store<f64>(lanes(tile, L) + ((<usize>lane) << 3), NaN);
    }
  }
}
