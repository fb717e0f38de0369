// Masked values that are not finite.
//
// The fast passes multiply a masked key's value by a probability of 0. That stands for "not read", unless the value is
// NaN or Infinity: 0·NaN and 0·Infinity are NaN. So a pass is checked once, at its end, and done again where need be:
//
//     after the last key                                     then
//     O is finite, or nothing was masked                     close: out = O/l
//     O is not finite, and some row met a masked key         careful: key by key, with 0 in place of p·v
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
import { keptByAny, maskScores, seesAny } from "../attention/mask";
import { FROM, L, QueryTile, SEEN, TO, clearOutput, forgetKeys, lanes, output } from "../attention/query-tile";
import { addBias } from "../attention/scores";
import { gatherKeys } from "../kv/gather";
import { LANE_BYTES, vectorBytes } from "../simd/lanes";
import { scoreKeys, softmaxAndRescale } from "./kv-tile";

/** Whether a tile of prefill must be done again, carefully. */
export function mustRepeat(tile: QueryTile, args: AttendArgs): bool {
  if (tile.masked) {
    const zero = f32x4.splat(0);
    let tainted = zero; // becomes NaN, and stays so, where anything is not finite
    const o = output(tile, args.headDim);
    for (let vector = 0; vector < tile.vectors; vector++) {
      let row = o + ((<usize>vector) << 4);
      const end = row + <usize>args.valueDim * LANE_BYTES;
      for (; row != end; row += LANE_BYTES) tainted = f32x4.add(tainted, f32x4.mul(v128.load(row), zero));
    }
    if (v128.any_true(f32x4.ne(tainted, tainted))) return true;
  }
  for (let lane = 0; lane < tile.vectors << 2; lane++) {
    if (load<f32>(lanes(tile, L) + ((<usize>lane) << 2)) == 0 && seesAny(tile, args, lane)) return true;
  }
  return false;
}

/** Whether decode must leave its rows to prefill. `o` has `rows` rows of valueDim floats. */
export function mustLeaveToPrefill(tile: QueryTile, args: AttendArgs, o: usize, rows: i32): bool {
  const inSight = tile.first >= tile.commonFirst && tile.end <= tile.commonEnd;
  const masked = args.keepMask != 0 || args.bias != 0 || !inSight;
  for (let row = 0; row < rows; row++) {
    const lane = (<usize>row) << 2;
    const seesKeys = load<i32>(lanes(tile, FROM) + lane) < load<i32>(lanes(tile, TO) + lane);
    if (load<f32>(lanes(tile, L) + lane) == 0 && seesKeys) return true;
    if (masked && !isFiniteRow(o + <usize>row * ((<usize>args.valueDim) << 2), args.valueDim)) return true;
  }
  return false;
}

function isFiniteRow(row: usize, count: i32): bool {
  let tainted = f32x4.splat(0); // becomes NaN where anything is not finite
  for (const end = row + vectorBytes(count); row != end; row += 16) {
    tainted = f32x4.add(tainted, f32x4.mul(v128.load(row), f32x4.splat(0)));
  }
  return !v128.any_true(f32x4.ne(tainted, tainted));
}

/**
 * The tile once more, key by key, over the keys of this call, with 0 in place of p·v where a lane does not see the key.
 * k and v take one gathered row each; s is SCORE_BYTES of scratch.
 */
export function attendCarefully(tile: QueryTile, args: AttendArgs, s: usize, k: usize, v: usize): void {
  const seen = s + 6 * LANE_BYTES; // behind the rows of one register tile: −Infinity in lanes that do not see this key
  const seenAny = lanes(tile, SEEN);
  if (isFirstPiece(args)) {
    forgetKeys(tile);
    clearOutput(tile, args);
    memory.fill(seenAny, 0, LANE_BYTES);
  }
  const end = min(tile.end, args.toKey);
  for (let key = max(tile.first, args.fromKey); key < end; key++) {
    if (!keptByAny(tile, args, key)) continue;
    memory.fill(seen, 0, 4 * LANE_BYTES);
    if (args.bias) addBias(tile, args, seen, key, 1);
    maskScores(tile, args, seen, key, 1);
    gatherKeys(args, tile.kvHead, k, v, key, 1);
    scoreKeys(tile, args, s, key, 1, k, 0, false);
    softmaxAndRescale(tile, args, s, 1);
    tile.steps++;
    accumulateSeen(tile, args, s, v, seen, seenAny);
  }
  if (!args.sinks && isLastPiece(args)) markLostRows(tile, seenAny);
}

/** Oᵗ += P·v for one key, 0 in lanes that do not see it. */
// @ts-ignore: decorator
@inline function accumulateSeen(
  tile: QueryTile,
  args: AttendArgs,
  s: usize,
  v: usize,
  seen: usize,
  seenAny: usize,
): void {
  for (let vector = 0; vector < tile.vectors; vector++) {
    const offset = (<usize>vector) << 4;
    const sees = f32x4.ne(v128.load(seen + offset), f32x4.splat(-Infinity));
    v128.store(seenAny + offset, v128.or(v128.load(seenAny + offset), sees));
    const p = v128.load(s + offset);
    let o = output(tile, args.headDim) + offset;
    for (let column = 0; column < args.valueDim; column++) {
      const weighted = f32x4.mul(p, v128.load32_splat(v + ((<usize>column) << 2)));
      v128.store(o, f32x4.add(v128.load(o), v128.and(weighted, sees)));
      o += LANE_BYTES;
    }
  }
}

/**
 * l = NaN in rows that saw keys and whose scores are all −Infinity: −Infinity − −Infinity is NaN. (A sink would be the
 * maximum.)
 */
// @ts-ignore: decorator
@inline function markLostRows(tile: QueryTile, seenAny: usize): void {
  for (let vector = 0; vector < tile.vectors; vector++) {
    const offset = (<usize>vector) << 4;
    const l = v128.load(lanes(tile, L) + offset);
    const lost = v128.and(f32x4.eq(l, f32x4.splat(0)), v128.load(seenAny + offset));
    v128.store(lanes(tile, L) + offset, v128.bitselect(f32x4.splat(NaN), l, lost));
  }
}
