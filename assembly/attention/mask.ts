// Which keys a row sees. By position a row sees one interval of keys: causal, window and kvLengths all come to that.
//
//     seqLenQ 4, seqLenKv 6, causal, bottom-right     window { left: 2 } besides
//       key    0 1 2 3 4 5                              0 1 2 3 4 5
//     query 0  ■ ■ ■ · · ·   position 2                 ■ ■ ■ · · ·
//     query 1  ■ ■ ■ ■ · ·            3                 · ■ ■ ■ · ·
//     query 2  ■ ■ ■ ■ ■ ·            4                 · · ■ ■ ■ ·
//     query 3  ■ ■ ■ ■ ■ ■            5                 · · · ■ ■ ■
//
// Within it, keepMask and a bias of −Infinity take single keys away.

import { AttendArgs } from "../args";
import { ZERO } from "../simd/constants";
import { LANE_BYTES } from "../simd/lanes";
import { BIAS_ROW, FROM, MASK_ROW, QueryTile, TO, lanes } from "./query-tile";

/** Whether keepMask and bias leave `key` to the row in `lane`. */
export function keeps(tile: QueryTile, args: AttendArgs, lane: i32, key: i32): bool {
  const laneOffset = (<usize>lane) << 2;
  if (args.keepMask) {
    const row = load<usize>(lanes(tile, MASK_ROW) + laneOffset);
    if (!load<u8>(row + <usize>key * args.maskKeyStride)) return false;
  }
  if (args.bias) {
    const row = load<usize>(lanes(tile, BIAS_ROW) + laneOffset);
    if (load<f32>(row + <usize>key * args.biasKeyStride) == -Infinity) return false;
  }
  return true;
}

/** Whether the row in `lane` sees `key`. */
export function sees(tile: QueryTile, args: AttendArgs, lane: i32, key: i32): bool {
  const laneOffset = (<usize>lane) << 2;
  const from = load<i32>(lanes(tile, FROM) + laneOffset);
  return from <= key && key < load<i32>(lanes(tile, TO) + laneOffset) && keeps(tile, args, lane, key);
}

/** Whether keepMask and bias leave `key` to any row of the tile. */
export function keptByAny(tile: QueryTile, args: AttendArgs, key: i32): bool {
  // A mask that is the same for every query and head answers for all lanes at once.
  const shared = !(args.maskRowStride | args.maskHeadStride | args.biasRowStride | args.biasHeadStride);
  const count = shared ? 1 : tile.vectors << 2;
  for (let lane = 0; lane < count; lane++) {
    if (keeps(tile, args, lane, key)) return true;
  }
  return false;
}

/** Whether the row in `lane` sees any key at all. */
export function seesAny(tile: QueryTile, args: AttendArgs, lane: i32): bool {
  const laneOffset = (<usize>lane) << 2;
  const to = load<i32>(lanes(tile, TO) + laneOffset);
  for (let key = load<i32>(lanes(tile, FROM) + laneOffset); key < to; key++) {
    if (keeps(tile, args, lane, key)) return true;
  }
  return false;
}

/** Lane form: S[key] = −Infinity where a row does not see the key, for the keys from `first` on. */
export function maskScores(tile: QueryTile, args: AttendArgs, s: usize, first: i32, count: i32): void {
  if (first < tile.commonFirst || first + count > tile.commonEnd) maskIntervals(tile, s, first, count);
  if (args.keepMask) maskUnkept(tile, args, s, first, count);
}

/**
 * Row form: the same for the row in `lane`. The last vector of S is masked to its end, so that sums may take whole
 * vectors.
 */
export function maskRow(tile: QueryTile, args: AttendArgs, s: usize, lane: i32, first: i32, count: i32): void {
  const laneOffset = (<usize>lane) << 2;
  if (args.keepMask) {
    let mask = load<usize>(lanes(tile, MASK_ROW) + laneOffset) + <usize>first * args.maskKeyStride;
    for (let key = 0; key < count; key++) {
      if (!load<u8>(mask)) store<f32>(s + ((<usize>key) << 2), -Infinity);
      mask += args.maskKeyStride;
    }
  }
  const from = load<i32>(lanes(tile, FROM) + laneOffset);
  const to = load<i32>(lanes(tile, TO) + laneOffset);
  maskKeys(s, 0, min(from - first, count));
  maskKeys(s, max(to - first, 0), count);
  maskKeys(s, count, (count + 3) & ~3);
}

/** S = −Infinity for the keys [from, to) of a row. */
function maskKeys(s: usize, from: i32, to: i32): void {
  for (; from < to; from++) store<f32>(s + ((<usize>from) << 2), -Infinity);
}

/** Lane form: by position, each row sees the keys [FROM, TO). */
function maskIntervals(tile: QueryTile, s: usize, first: i32, count: i32): void {
  const masked = f32x4.splat(-Infinity);
  const one = i32x4.splat(1);
  for (let vector = 0; vector < tile.vectors; vector++) {
    const offset = (<usize>vector) << 4;
    const from = v128.load(lanes(tile, FROM) + offset);
    const to = v128.load(lanes(tile, TO) + offset);
    let key = i32x4.splat(first);
    let row = s + offset;
    for (let left = count; left > 0; left--) {
      const sees = v128.and(i32x4.ge_s(key, from), i32x4.lt_s(key, to));
      v128.store(row, v128.bitselect(v128.load(row), masked, sees));
      key = i32x4.add(key, one);
      row += LANE_BYTES;
    }
  }
}

/** Lane form of keepMask, four keys of four rows at a time; the last four may run into the scratch rows of S. */
function maskUnkept(tile: QueryTile, args: AttendArgs, s: usize, first: i32, count: i32): void {
  const keyStride = args.maskKeyStride;
  const zero = v128.load32_splat(args.constants, ZERO);
  for (let lane = 0; lane < tile.vectors << 2; lane += 4) {
    const rows = lanes(tile, MASK_ROW) + ((<usize>lane) << 2);
    const skip = <usize>first * keyStride;
    let r0 = load<usize>(rows, 0) + skip;
    let r1 = load<usize>(rows, 4) + skip;
    let r2 = load<usize>(rows, 8) + skip;
    let r3 = load<usize>(rows, 12) + skip;
    let column = s + ((<usize>lane) << 2);
    for (let key = 0; key < count; key += 4) {
      let bytes = v128.load32_zero(r0);
      bytes = v128.load_lane<u32>(r1, bytes, 1);
      bytes = v128.load_lane<u32>(r2, bytes, 2);
      bytes = v128.load_lane<u32>(r3, bytes, 3);
      // A mask that is the same for every key has a stride of 0: its first byte stands for four keys.
      if (!keyStride) bytes = v128.shuffle<u8>(bytes, bytes, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
      r0 += 4 * keyStride;
      r1 += 4 * keyStride;
      r2 += 4 * keyStride;
      r3 += 4 * keyStride;
      for (const next = column + 4 * LANE_BYTES; column != next; column += LANE_BYTES) {
        const gone = i32x4.eq(i32x4.shl(bytes, 24), zero);
        v128.store(column, v128.bitselect(f32x4.splat(-Infinity), v128.load(column), gone));
        bytes = i32x4.shr_u(bytes, 8);
      }
    }
  }
}
