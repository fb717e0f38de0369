// Rows of K and V of one step: copied together as f32, where reading them in place is slower or not all of them are wanted, or fetched.

import { Head } from "../args";
import { gatherRows, keyAddress } from "./rows";

/** Bytes from one gathered row to the next: an odd number of cache lines, so that the rows of a step fall on all sets. */
// @ts-ignore: decorator
@inline export function gatheredRow(dim: i32): usize {
  return ((((<usize>dim) << 2) + 63) & ~63) | 64;
}

/** K and V of `keys` keys of one page, from `key` on, as f32 and together. */
export function gatherKeys(head: Head, toK: usize, toV: usize, key: i32, keys: i32): void {
  const k = keyAddress(head, head.k, key, head.kRow);
  const v = keyAddress(head, head.v, key, head.vRow);
  const kScales = head.kScales ? keyAddress(head, head.kScales, key, 4) : 0;
  const vScales = head.vScales ? keyAddress(head, head.vScales, key, 4) : 0;
  gatherRows(toK, k, kScales, keys, head.headDim, gatheredRow(head.headDim), head.kRow, head.kType);
  gatherRows(toV, v, vScales, keys, head.valueDim, gatheredRow(head.valueDim), head.vRow, head.vType);
}

/** Whether keepMask takes the same keys from every row and nothing else depends on where a key stands, so that the others can be picked. */
// @ts-ignore: decorator
@inline export function picksKeys(head: Head): bool {
  const apart = head.maskRow | (head.group > 1 ? head.maskHead : 0);
  return head.keepMask != 0 && !apart && !head.bias && !head.alibiSlopes;
}

/** K and V of those of [first, end), keys of one page, that keepMask keeps, one below the other; returns how many. See {@link picksKeys}. */
export function gatherKept(head: Head, toK: usize, toV: usize, first: i32, end: i32): i32 {
  const kRow = gatheredRow(head.headDim);
  const vRow = gatheredRow(head.valueDim);
  let kept = 0;
  for (let key = first; key < end; key++) {
    const run = key;
    while (key < end && load<u8>(head.keepMask + <usize>key * head.maskKey)) key++;
    if (key == run) continue;
    gatherKeys(head, toK + <usize>kept * kRow, toV + <usize>kept * vRow, run, key - run);
    kept += key - run;
  }
  return kept;
}

/**
 * Reads one float of every cache line of `count` rows, so that they come in side by side: a tile, which reads two rows at a time, would
 * wait for each. 8 to 32 query rows of 12 heads over 2048 keys gain up to a third by it, 8×12 heads of 64 × 64 × 64 five per cent
 * (simd). `to` is scratch for what the loads must come to.
 */
export function fetchRows(row: usize, count: i32, dim: i32, step: usize, to: usize): void {
  const bytes = (<usize>dim) << 2;
  let seen = 0;
  for (; count > 0; count--) {
    for (let at: usize = 0; at < bytes; at += 64) seen |= load<i32>(row + at);
    row += step;
  }
  store<i32>(to, seen);
}
