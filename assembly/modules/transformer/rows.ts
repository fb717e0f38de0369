// Rows of any length, four floats at a time: the last vector may be a part of one. It is read whole, since kernels may
// read 16 bytes behind a block, and what lies behind the row is replaced before anything is computed.

/** Four floats at `from`, of a row that has `left` more, at least one; `fill` stands for those behind its end. */
// @ts-ignore: decorator
@inline export function loadFloats(from: usize, left: i32, fill: f32): v128 {
  return left >= 4 ? v128.load(from) : loadPart(from, left, fill);
}

/** Stores the first four of [left] floats, or all where they are fewer. */
// @ts-ignore: decorator
@inline export function storeFloats(to: usize, x: v128, left: i32): void {
  if (left >= 4) v128.store(to, x);
  else storePart(to, x, left);
}

function loadPart(from: usize, count: i32, fill: f32): v128 {
  return v128.bitselect(v128.load(from), f32x4.splat(fill), i32x4.gt_s(i32x4.splat(count), i32x4(0, 1, 2, 3)));
}

function storePart(to: usize, x: v128, count: i32): void {
  if (count & 2) {
    v128.store64_lane(to, x, 0);
    to += 8;
    x = v128.shuffle<i64>(x, x, 1, 1);
  }
  if (count & 1) v128.store32_lane(to, x, 0);
}

/** The first two of four floats, in f64. */
// @ts-ignore: decorator
@inline export function promoteLow(x: v128): v128 {
  return f64x2.promote_low_f32x4(x);
}

/** The last two. */
// @ts-ignore: decorator
@inline export function promoteHigh(x: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i64>(x, x, 1, 1));
}

/** The sum of two f64. */
// @ts-ignore: decorator
@inline export function sumPair(x: v128): f64 {
  return f64x2.extract_lane(x, 0) + f64x2.extract_lane(x, 1);
}
