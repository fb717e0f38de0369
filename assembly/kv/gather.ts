// The K and V of one kv tile: copied together as f32, where reading them in place is slower or not every key is wanted,
// or fetched into the cache and read in place.

import { AttendArgs } from "../args";
import { vectorBytes } from "../simd/lanes";
import { convertHalves } from "./half";
import { F32, INT8, isHalves, kAddress, kScaleAddress, vAddress, vScaleAddress } from "./rows";

/**
 * Bytes from one gathered row to the next: an odd number of cache lines, so that the rows of a tile fall on all sets.
 */
// @ts-ignore: decorator
@inline export function gatheredRowStride(dim: i32): u64 {
  return ((((<u64>dim) << 2) + 63) & ~63) | 64;
}

/** K and V of `count` keys of one page, from `key` on, as f32, rows gatheredRowStride apart. */
export function gatherKeys(args: AttendArgs, kvHead: i32, toK: usize, toV: usize, key: i32, count: i32): void {
  const k = kAddress(args, kvHead, key);
  const v = vAddress(args, kvHead, key);
  const kScales = kScaleAddress(args, kvHead, key);
  const vScales = vScaleAddress(args, kvHead, key);
  gatherRows(toK, k, kScales, count, args.headDim, <usize>gatheredRowStride(args.headDim), args.kRowStride, args.kType);
  gatherRows(
    toV,
    v,
    vScales,
    count,
    args.valueDim,
    <usize>gatheredRowStride(args.valueDim),
    args.vRowStride,
    args.vType,
  );
}

/**
 * Whether keepMask is the same for every query row of a KV head and nothing else depends on where a key stands, so that
 * the kept keys alone can be gathered.
 */
// @ts-ignore: decorator
@inline export function canPickKeys(args: AttendArgs): bool {
  const differs = args.maskRowStride | (args.group > 1 ? args.maskHeadStride : 0);
  return args.keepMask != 0 && !differs && !args.bias && !args.alibiSlopes;
}

/**
 * K and V of those of [first, end), keys of one page, that keepMask keeps; returns how many. See {@link canPickKeys}.
 */
export function gatherKept(args: AttendArgs, kvHead: i32, toK: usize, toV: usize, first: i32, end: i32): i32 {
  const kRowStride = <usize>gatheredRowStride(args.headDim);
  const vRowStride = <usize>gatheredRowStride(args.valueDim);
  const mask = args.keepMask + <usize>kvHead * <usize>args.group * args.maskHeadStride;
  let kept = 0;
  for (let key = first; key < end; key++) {
    const run = key;
    while (key < end && load<u8>(mask + <usize>key * args.maskKeyStride)) key++;
    if (key == run) continue;
    gatherKeys(args, kvHead, toK + <usize>kept * kRowStride, toV + <usize>kept * vRowStride, run, key - run);
    kept += key - run;
  }
  return kept;
}

/**
 * Reads one float of every cache line of `count` rows, so that the lines come in side by side: the register tile, which
 * reads two rows at a time, would wait for each. 8 to 32 query rows of 12 heads over 2048 keys gain up to a third by
 * it, 8×12 heads of 64 × 64 × 64 five per cent (simd). `sink` is scratch: the loads must come to something.
 */
export function fetchRows(row: usize, count: i32, dim: i32, rowStride: usize, sink: usize): void {
  const bytes = (<usize>dim) << 2;
  let seen = 0;
  for (; count > 0; count--) {
    for (let offset: usize = 0; offset < bytes; offset += 64) seen |= load<i32>(row + offset);
    row += rowStride;
  }
  store<i32>(sink, seen);
}

/**
 * to = `count` rows of `dim` values as f32, toRowStride bytes apart. May write 28 bytes behind the last row; reads
 * whole eights. `scales` [count] is read for int8 alone.
 */
export function gatherRows(
  to: usize,
  from: usize,
  scales: usize,
  count: i32,
  dim: i32,
  toRowStride: usize,
  fromRowStride: usize,
  type: i32,
): void {
  if (type == F32) {
    for (; count >= 8; count -= 8) {
      copyEightRows(to, from, dim, toRowStride, fromRowStride);
      to += 8 * toRowStride;
      from += 8 * fromRowStride;
    }
  }
  if (isHalves(type)) fetchRows(from, count, dim >> 1, fromRowStride, to);
  for (; count > 0; count--) {
    if (type == F32) copyRow(to, from, dim);
    else if (type == INT8) convertInt8(to, from, dim, load<f32>(scales));
    else convertHalves(to, from, dim, type);
    to += toRowStride;
    from += fromRowStride;
    scales += 4;
  }
}

/**
 * Rows as f32, `dim` floats apart: those at `from` where they are no halves, and then fromRowStride apart; else converted
 * at `to`. `dim` is a multiple of four.
 */
// @ts-ignore: decorator
@inline export function rowsAsF32(
  to: usize,
  from: usize,
  count: i32,
  dim: i32,
  fromRowStride: usize,
  type: i32,
): usize {
  if (isHalves(type)) {
    gatherRows(to, from, 0, count, dim, (<usize>dim) << 2, fromRowStride, type);
    from = to;
  }
  return from;
}

/** to = `dim` floats, in whole vectors. */
// @ts-ignore: decorator
@inline export function copyRow(to: usize, from: usize, dim: i32): void {
  for (const end = to + vectorBytes(dim); to != end; to += 16) {
    v128.store(to, v128.load(from));
    from += 16;
  }
}

/**
 * Eight rows side by side. Rows of many heads stand on pages of their own: a copy that waits for one page after the
 * other takes 2 to 7 % of a call at 8 heads of 2048 × 2048 × 128, with eight under way half of that.
 */
function copyEightRows(to: usize, from: usize, dim: i32, toRowStride: usize, fromRowStride: usize): void {
  for (const end = to + vectorBytes(dim); to != end; to += 16) {
    let row = from;
    const x0 = v128.load(row);
    const x1 = v128.load((row += fromRowStride));
    const x2 = v128.load((row += fromRowStride));
    const x3 = v128.load((row += fromRowStride));
    const x4 = v128.load((row += fromRowStride));
    const x5 = v128.load((row += fromRowStride));
    const x6 = v128.load((row += fromRowStride));
    const x7 = v128.load((row += fromRowStride));
    row = to;
    v128.store(row, x0);
    v128.store((row += toRowStride), x1);
    v128.store((row += toRowStride), x2);
    v128.store((row += toRowStride), x3);
    v128.store((row += toRowStride), x4);
    v128.store((row += toRowStride), x5);
    v128.store((row += toRowStride), x6);
    v128.store((row += toRowStride), x7);
    from += 16;
  }
}

/** to [dim] = bytes·scale, in whole eights. */
// @ts-ignore: decorator
@inline function convertInt8(to: usize, from: usize, dim: i32, scale: f32): void {
  for (const end = to + vectorBytes((dim + 7) & ~7); to != end; to += 32) {
    const words = v128.load8x8_s(from);
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(words)), f32x4.splat(scale)));
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(words)), f32x4.splat(scale)), 16);
    from += 8;
  }
}
