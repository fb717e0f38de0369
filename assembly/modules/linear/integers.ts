// The products of `linear` with a weight in int8 or int4. Along the input features W stands in groups, each with one f32
// scale for an output feature; x is rounded to integers group by group as it comes, so that products and sums are those
// of integers:
//
//     out[row][o] = Σ_group xScale[row][group] · wScale[group][o] · Σ_t x[row][t] · W[o][t]
//
//     a group of a panel       scales f32 [LANES] │ pairs of input features [group/2][LANES][2], int8 or int4, of which
//                              there is an even number: zeros stand behind the last input feature
//     a group of x, in scratch scales f32 [rows]  │ pairs [rows][group/2][2], i16
//
// x goes to −32767 … 32767, so it is off by 1/65534 of the largest value of its group at most: less than a hundredth of
// what rounding to int8 does to W. Nothing overflows: with 64 input features |Σ| ≤ 64 · 32767 · 127, with 32, whose int8
// may be −128, half of that; both are below 2³¹.
//
// The sum over t is exact, and groups are added up in order, each on its own: so a row has the same bits whatever rows
// are beside it, although one row has a loop of its own, which reads W where it stands.

import { multiplyPairs } from "../../simd/dot";
import { LANE_BYTES, VECTORS, maxMagnitudeBits, vectorBytes } from "../../simd/lanes";

/** Bytes of int8 in one pair of input features of a panel. */
// @ts-ignore: decorator
@inline const PAIR_BYTES: usize = LANE_BYTES / 2;

/** Bytes of a group of a panel, as int8 and as pairs of i16, one behind the other. */
// @ts-ignore: decorator
@inline export function groupBytes(group: i32): usize {
  return ((<usize>group) >> 1) * (PAIR_BYTES + LANE_BYTES);
}

/** Bytes of `rows` rows of x in one group, as integers, and their scales. */
// @ts-ignore: decorator
@inline export function xGroupBytes(rows: i32, group: i32): usize {
  return <usize>rows * (4 + ((<usize>group) << 1));
}

/** Bytes of a panel. */
// @ts-ignore: decorator
@inline export function panelBytes(inFeatures: i32, group: i32, isInt4: bool): usize {
  const pairs = ((<usize>inFeatures + 3) >> 2) << 1;
  return <usize>((inFeatures + group - 1) / group) * LANE_BYTES + pairs * (PAIR_BYTES >> (<usize>isInt4));
}

/** The smallest scale of x, 2⁻¹¹²: its reciprocal is finite. Where all of a group is smaller, it is rounded to this. */
// @ts-ignore: decorator
@inline const LEAST_SCALE: f32 = 1.925929944387236e-34;

/**
 * Rounds `rows` rows of x to integers, group by group. A scale is NaN where a value is NaN or Infinity.
 *
 *   scratch  a group of floats
 */
export function roundRows(
  to: usize,
  x: usize,
  scratch: usize,
  rows: i32,
  inFeatures: i32,
  group: i32,
  xRowStride: usize,
): void {
  for (; inFeatures > 0; inFeatures -= group) {
    const pairs = to + ((<usize>rows) << 2);
    let row = x;
    for (let n: usize = 0; n < <usize>rows; n++) {
      const scale = roundGroup(pairs + n * ((<usize>group) << 1), row, scratch, min(group, inFeatures));
      store<f32>(to + (n << 2), scale);
      row += xRowStride;
    }
    to += xGroupBytes(rows, group);
    x += (<usize>group) << 2;
  }
}

/** Rounds [count] floats to i16, with zeros up to a whole vector of floats behind them, and returns their scale. */
function roundGroup(to: usize, x: usize, scratch: usize, count: i32): f32 {
  if (count & 3) {
    const bytes = (<usize>count) << 2;
    v128.store(scratch + (bytes & ~15), i32x4.splat(0));
    memory.copy(scratch, x, bytes);
    x = scratch;
  }
  // NaN is above all, and stays NaN.
  const scale = max<f32>(reinterpret<f32>(maxMagnitudeBits(x, count)) / 32767, LEAST_SCALE);
  const up = f32x4.splat(1 / scale);
  for (const end = x + vectorBytes(count); x != end; x += 16) {
    const whole = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(x), up)));
    v128.store64_lane(to, i16x8.narrow_i32x4_s(whole, whole), 0);
    to += 8;
  }
  return scale < Infinity ? scale : NaN;
}

/**
 * C[rows][LANES] = the products of `rows` rows of x with a panel.
 *
 *   c        [rows + ROWS_OVER][LANES] floats, overwritten
 *   x        what `roundRows` wrote of as many rows
 *   scratch  groupBytes
 */
export function multiplyIntegers(
  c: usize,
  x: usize,
  panel: usize,
  scratch: usize,
  rows: i32,
  inFeatures: i32,
  group: i32,
  isInt4: bool,
): void {
  memory.fill(c, 0, <usize>rows * LANE_BYTES);
  for (; inFeatures > 0; inFeatures -= group) {
    const pairs = ((min(group, inFeatures) + 3) >> 2) << 1;
    const scales = panel;
    const pairsOfX = x + ((<usize>rows) << 2);
    let bytes = panel + LANE_BYTES;
    panel = bytes + <usize>pairs * (PAIR_BYTES >> (<usize>isInt4));
    if (isInt4) {
      unpackInt4(scratch, bytes, panel);
      bytes = scratch;
    }
    if (rows == 1) multiplyOneRow(c, pairsOfX, bytes, pairs, x, scales);
    else {
      const wide = scratch + ((<usize>group) >> 1) * PAIR_BYTES;
      widen(wide, bytes, pairs);
      multiplyPairs(c, pairsOfX, wide, rows, pairs, VECTORS, (<usize>group) << 1, 4, x, 4, scales);
    }
    x += xGroupBytes(rows, group);
  }
}

/** Nibbles of −8 … 7 become bytes of 16 times as much: the low ones are the first eight lanes, the high ones the others. */
function unpackInt4(to: usize, from: usize, end: usize): void {
  const high = i8x16.splat(-16);
  for (; from != end; from += 16) {
    const x = v128.load(from);
    v128.store(to, i8x16.shl(x, 4));
    v128.store(to, v128.and(x, high), 16);
    to += PAIR_BYTES;
  }
}

/** int8 [pairs][LANES][2] becomes i16. */
function widen(to: usize, from: usize, pairs: i32): void {
  for (const end = to + <usize>pairs * LANE_BYTES; to != end; to += 16) {
    v128.store(to, v128.load8x8_s(from));
    from += 8;
  }
}

/** C[LANES] += rowScale · laneScales[LANES] · Σ_t a[t]·b[t][LANES]: one row of `multiplyPairs`, over int8. */
function multiplyOneRow(c: usize, a: usize, b: usize, pairs: i32, rowScale: usize, laneScales: usize): void {
  let c0 = i32x4.splat(0);
  let c1 = i32x4.splat(0);
  let c2 = i32x4.splat(0);
  let c3 = i32x4.splat(0);
  for (const end = b + <usize>pairs * PAIR_BYTES; b != end; b += 2 * PAIR_BYTES, a += 8) {
    let x = v128.load32_splat(a);
    c0 = i32x4.add(c0, i32x4.dot_i16x8_s(x, v128.load8x8_s(b, 0)));
    c1 = i32x4.add(c1, i32x4.dot_i16x8_s(x, v128.load8x8_s(b, 8)));
    c2 = i32x4.add(c2, i32x4.dot_i16x8_s(x, v128.load8x8_s(b, 16)));
    c3 = i32x4.add(c3, i32x4.dot_i16x8_s(x, v128.load8x8_s(b, 24)));
    x = v128.load32_splat(a, 4);
    c0 = i32x4.add(c0, i32x4.dot_i16x8_s(x, v128.load8x8_s(b, 32)));
    c1 = i32x4.add(c1, i32x4.dot_i16x8_s(x, v128.load8x8_s(b, 40)));
    c2 = i32x4.add(c2, i32x4.dot_i16x8_s(x, v128.load8x8_s(b, 48)));
    c3 = i32x4.add(c3, i32x4.dot_i16x8_s(x, v128.load8x8_s(b, 56)));
  }
  const scale = v128.load32_splat(rowScale);
  v128.store(c, f32x4.add(v128.load(c, 0), scaled(c0, scale, v128.load(laneScales, 0))), 0);
  v128.store(c, f32x4.add(v128.load(c, 16), scaled(c1, scale, v128.load(laneScales, 16))), 16);
  v128.store(c, f32x4.add(v128.load(c, 32), scaled(c2, scale, v128.load(laneScales, 32))), 32);
  v128.store(c, f32x4.add(v128.load(c, 48), scaled(c3, scale, v128.load(laneScales, 48))), 48);
}

// @ts-ignore: decorator
@inline function scaled(sum: v128, rowScale: v128, laneScale: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(sum), f32x4.mul(rowScale, laneScale));
}
