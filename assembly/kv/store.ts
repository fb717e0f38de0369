// Rows of f32 on their way into a KV cache: as they are, as binary16, or as bytes with a scale. And into an output of 16
// bits.

import { maxLaneI32 } from "../simd/lanes";
import { narrowToF16 } from "./float16";
import { copyRow } from "./gather";
import { storeHalves } from "./half";
import { BF16, F16, F32, INT8 } from "./rows";

/**
 * Stores `count` rows of `dim` floats as rows of a cache, or of an output.
 *
 *   to      [count] rows, toRowStride bytes apart: of whole eights of values; of HALF and BF16 of `dim` values
 *   scales  [count] f32, written for int8 alone
 *   from    [count] rows of dim floats, fromRowStride bytes apart; up to three floats behind a row are read. For HALF and
 *           BF16 up to seven; and the last few of a row are overwritten where it has no whole eights
 *   type    F32, F16, INT8, HALF or BF16
 */
export function storeRows(
  to: usize,
  scales: usize,
  from: usize,
  count: i32,
  dim: i32,
  toRowStride: usize,
  fromRowStride: usize,
  type: i32,
): void {
  assert(type >= F32 && type <= BF16, "type must be F32, F16, INT8, HALF or BF16");
  for (; count > 0; count--) {
    if (type == F32) copyRow(to, from, dim);
    else if (type == F16) storeF16(to, from, dim);
    else if (type == INT8) store<f32>(scales, storeInt8(to, from, dim));
    else storeHalves(to, from, dim, type);
    to += toRowStride;
    from += fromRowStride;
    scales += 4;
  }
}

/** Four floats at `from`, of which the first `count` are wanted: 0 stands for the others. */
// @ts-ignore: decorator
@inline function loadFirst(from: usize, count: i32): v128 {
  return count > 3 ? v128.load(from) : loadPart(from, count);
}

/** The same where there are no four. A function of its own: its literals take many bytes. */
function loadPart(from: usize, count: i32): v128 {
  if (count <= 0) return i32x4.splat(0);
  const lanes = i32x4.add(i32x4.splat(-count), i32x4(0, 1, 2, 3));
  return v128.and(v128.load(from), i32x4.shr_s(lanes, 31));
}

/** Stores `dim` floats as binary16, and zeros up to the next multiple of eight. */
function storeF16(to: usize, from: usize, dim: i32): void {
  for (; dim > 0; dim -= 8) {
    const low = loadFirst(from, dim);
    const high = loadFirst(from + 16, dim - 4);
    v128.store(to, i16x8.narrow_i32x4_u(narrowToF16(low), narrowToF16(high)));
    to += 16;
    from += 32;
  }
}

/** Four floats in units of `scale`, rounded to integers. */
// @ts-ignore: decorator
@inline function roundToScale(x: v128, scale: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.div(x, scale)));
}

/** Stores eight integers as bytes of −127 … 127. */
// @ts-ignore: decorator
@inline function storeBytes(to: usize, low: v128, high: v128): void {
  const words = i16x8.max_s(i16x8.narrow_i32x4_s(low, high), i16x8.splat(-127));
  v128.store64_lane(to, i8x16.narrow_i16x8_s(words, words), 0);
}

/**
 * Stores `dim` floats as bytes, and zeros up to the next multiple of eight. Returns their scale, max |x| / 127. A row
 * with NaN or Infinity has such a scale, and so reads as NaN.
 */
function storeInt8(to: usize, from: usize, dim: i32): f32 {
  // Bits of magnitudes have the order of the magnitudes; NaN is above all.
  let top = i32x4.splat(0);
  let x = from;
  let left = dim;
  for (; left > 3; left -= 4) {
    top = i32x4.max_s(top, f32x4.abs(v128.load(x)));
    x += 16;
  }
  top = i32x4.max_s(top, f32x4.abs(loadPart(x, left)));
  const largest = reinterpret<f32>(maxLaneI32(top));
  const scale = largest / 127;
  if (!(scale > 0 && largest <= f32.MAX_VALUE)) {
    memory.fill(to, 0, (dim + 7) & ~7);
    return scale;
  }
  const unit = f32x4.splat(scale);
  for (; dim > 0; dim -= 8) {
    let low: v128;
    let high: v128;
    if (dim > 7) {
      low = v128.load(from);
      high = v128.load(from, 16);
    } else {
      low = loadPart(from, dim);
      high = loadPart(from + 16, dim - 4);
    }
    storeBytes(to, roundToScale(low, unit), roundToScale(high, unit));
    to += 8;
    from += 32;
  }
  return scale;
}
