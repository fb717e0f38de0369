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

import { Head } from "../args";
import { LANE_BYTES } from "../simd/lanes";
import { BIAS_ROW, Block, FROM, MASK_ROW, TO, lanes } from "./query-tile";

/** Whether keepMask and bias leave `key` to the row in `lane`. */
export function keeps(block: Block, head: Head, lane: i32, key: i32): bool {
  const at = (<usize>lane) << 2;
  if (head.keepMask) {
    const row = load<usize>(lanes(block, MASK_ROW) + at);
    if (!load<u8>(row + <usize>key * head.maskKey)) return false;
  }
  if (head.bias) {
    const row = load<usize>(lanes(block, BIAS_ROW) + at);
    if (load<f32>(row + <usize>key * head.biasKey) == -Infinity) return false;
  }
  return true;
}

/** Whether keepMask and bias leave `key` to any row of the block. */
export function keptByAny(block: Block, head: Head, key: i32): bool {
  // A mask that is the same for every query and head answers for all lanes at once.
  const shared = !(head.maskRow | head.maskHead | head.biasRow | head.biasHead);
  const count = shared ? 1 : block.vectors << 2;
  for (let lane = 0; lane < count; lane++) {
    if (keeps(block, head, lane, key)) return true;
  }
  return false;
}

/** Whether the row in `lane` sees any key at all. */
export function seesAny(block: Block, head: Head, lane: i32): bool {
  const at = (<usize>lane) << 2;
  const to = load<i32>(lanes(block, TO) + at);
  for (let key = load<i32>(lanes(block, FROM) + at); key < to; key++) {
    if (keeps(block, head, lane, key)) return true;
  }
  return false;
}

/** S[key] = −Infinity where the row does not see the key, for the keys from `first` on. */
export function maskScores(block: Block, head: Head, s: usize, first: i32, count: i32): void {
  if (first < block.commonFirst || first + count > block.commonEnd) maskIntervals(block, s, first, count);
  if (head.keepMask) maskUnkept(block, head, s, first, count);
}

function maskIntervals(block: Block, s: usize, first: i32, count: i32): void {
  const masked = f32x4.splat(-Infinity);
  const one = i32x4.splat(1);
  for (let vector = 0; vector < block.vectors; vector++) {
    const at = (<usize>vector) << 4;
    const from = v128.load(lanes(block, FROM) + at);
    const to = v128.load(lanes(block, TO) + at);
    let key = i32x4.splat(first);
    let row = s + at;
    for (let left = count; left > 0; left--) {
      const sees = v128.and(i32x4.ge_s(key, from), i32x4.lt_s(key, to));
      v128.store(row, v128.bitselect(v128.load(row), masked, sees));
      key = i32x4.add(key, one);
      row += LANE_BYTES;
    }
  }
}

/** Four keys of four rows at a time, one byte each; the last step may run into the scratch rows of S. */
function maskUnkept(block: Block, head: Head, s: usize, first: i32, count: i32): void {
  const step = head.maskKey;
  for (let lane = 0; lane < block.vectors << 2; lane += 4) {
    const rows = lanes(block, MASK_ROW) + ((<usize>lane) << 2);
    const skip = <usize>first * step;
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
      // A mask that is the same for every key has a step of 0: its first byte stands for four keys.
      if (!step) bytes = v128.shuffle<u8>(bytes, bytes, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
      r0 += 4 * step;
      r1 += 4 * step;
      r2 += 4 * step;
      r3 += 4 * step;
      for (const next = column + 4 * LANE_BYTES; column < next; column += LANE_BYTES) {
        const gone = i32x4.eq(v128.and(bytes, i32x4.splat(0xff)), i32x4.splat(0));
        v128.store(column, v128.bitselect(f32x4.splat(-Infinity), v128.load(column), gone));
        bytes = i32x4.shr_u(bytes, 8);
      }
    }
  }
}
