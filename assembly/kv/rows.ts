// Rows of K and V as they are stored: f32 anywhere, f16 and int8 in the pages of a KV cache.
//
//     f32    4 bytes a value
//     f16    2 bytes a value, IEEE 754 binary16, finite
//     int8   1 byte a value: value = byte · scale, with one f32 scale a key
//
// The kernels convert as they load, eight values at a time: stored f16 and int8 rows have a multiple of eight values.
//
//     contiguous        key j at base + j·row
//     paged             ┌ page ───────────────────────────────────────────┐   key j is key j % PAGE_KEYS
//     (Head.pages)      │ K of head 0 │ K of head 1 │ … │ V … │ scales … │   of page (j / PAGE_KEYS) % pageCount
//                       └─────────────┴─────────────┴───┴─────┴──────────┘

import { Head } from "../args";
import { largestLane } from "../simd/lanes";

/** The stored types, as `Head.kType` and `Head.vType` give them. */
// @ts-ignore: decorator
@inline export const F32: i32 = 0;
// @ts-ignore: decorator
@inline export const F16: i32 = 1;
// @ts-ignore: decorator
@inline export const INT8: i32 = 2;

/** Keys in a page; also the most that one step of the kernels takes. */
// @ts-ignore: decorator
@inline export const PAGE_KEYS: i32 = 128;

/** Where key `key` stands; with pages `base` is its head's place in a page. All keys up to the next multiple of PAGE_KEYS follow. */
// @ts-ignore: decorator
@inline export function keyAddress(head: Head, base: usize, key: i32, row: usize): usize {
  if (!head.pages) return base + <usize>key * row;
  const page = load<usize>(head.pages + ((<usize>((key / PAGE_KEYS) % head.pageCount)) << 2));
  return page + base + <usize>(key % PAGE_KEYS) * row;
}

/** What the functions below leave binary16 short of: 2¹¹². */
// @ts-ignore: decorator
@inline export const HALF: f32 = reinterpret<f32>(0x77800000);

/**
 * The binary16 at even or at odd places of eight, as f32: `factors` has EVENS or ODDS of exp.ts in every lane, `bits` has HALF_BITS. They come
 * out 1/HALF of their size: exponent and fraction move to their f32 places, and the exponent bias stays. A product of pairs is sign
 * extension and shift in one.
 */
// @ts-ignore: decorator
@inline export function widen(x: v128, factors: v128, bits: v128): v128 {
  return v128.and(i32x4.dot_i16x8_s(x, factors), bits);
}

/** Four of the eight values at `at`, for the kernels of few rows: of T = f32 the first four, of u16 (binary16) those at even places. */
// @ts-ignore: decorator
@inline export function firstFour<T>(at: usize, evens: v128, bits: v128): v128 {
  if (isFloat<T>()) return v128.load(at);
  return widen(v128.load(at), evens, bits);
}

/** The other four. */
// @ts-ignore: decorator
@inline export function secondFour<T>(at: usize, odds: v128, bits: v128): v128 {
  if (isFloat<T>()) return v128.load(at, 16);
  return widen(v128.load(at), odds, bits);
}

/** Values 0 … 3 of the eight at `at`, as f32; T is u16 (binary16, 1/HALF of its size) or i8. */
// @ts-ignore: decorator
@inline function low4<T>(at: usize, bits: v128): v128 {
  if (sizeof<T>() == 2) return v128.and(i32x4.shl(v128.load16x4_s(at), 13), bits);
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v128.load8x8_s(at)));
}

/** Values 4 … 7 of the eight at `at`. */
// @ts-ignore: decorator
@inline function high4<T>(at: usize, bits: v128): v128 {
  if (sizeof<T>() == 2) return v128.and(i32x4.shl(v128.load16x4_s(at, 8), 13), bits);
  return f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v128.load8x8_s(at)));
}

/** `to` = `count` rows of `dim` values as f32, `toRow` bytes apart; may write 28 bytes past the last row and reads whole eights. */
export function gatherRows(
  to: usize,
  from: usize,
  scales: usize,
  count: i32,
  dim: i32,
  toRow: usize,
  fromRow: usize,
  type: i32,
): void {
  if (type == F32) {
    for (; count >= 8; count -= 8) {
      copyEight(to, from, dim, toRow, fromRow);
      to += 8 * toRow;
      from += 8 * fromRow;
    }
  }
  for (; count > 0; count--) {
    if (type == F32) copyRow(to, from, dim);
    else if (type == F16) convertRow<u16>(to, from, dim, HALF);
    else convertRow<i8>(to, from, dim, load<f32>(scales));
    to += toRow;
    from += fromRow;
    scales += 4;
  }
}

// @ts-ignore: decorator
@inline function copyRow(to: usize, from: usize, dim: i32): void {
  for (const end = to + ((<usize>dim) << 2); to < end; to += 16) {
    v128.store(to, v128.load(from));
    from += 16;
  }
}

/**
 * Eight rows side by side. Rows of many heads stand on pages of their own: a copy that waits for one page after the other takes 2 to
 * 7 % of a call at 8 heads of 2048 × 2048 × 128, with eight under way half of that.
 */
function copyEight(to: usize, from: usize, dim: i32, toRow: usize, fromRow: usize): void {
  for (const end = to + ((<usize>dim) << 2); to < end; to += 16) {
    let at = from;
    const x0 = v128.load(at);
    const x1 = v128.load((at += fromRow));
    const x2 = v128.load((at += fromRow));
    const x3 = v128.load((at += fromRow));
    const x4 = v128.load((at += fromRow));
    const x5 = v128.load((at += fromRow));
    const x6 = v128.load((at += fromRow));
    const x7 = v128.load((at += fromRow));
    at = to;
    v128.store(at, x0);
    v128.store((at += toRow), x1);
    v128.store((at += toRow), x2);
    v128.store((at += toRow), x3);
    v128.store((at += toRow), x4);
    v128.store((at += toRow), x5);
    v128.store((at += toRow), x6);
    v128.store((at += toRow), x7);
    from += 16;
  }
}

// @ts-ignore: decorator
@inline function convertRow<T>(to: usize, from: usize, dim: i32, scale: f32): void {
  const bits = i32x4.splat(0x8fffe000);
  for (const end = to + ((<usize>dim) << 2); to < end; to += 32) {
    v128.store(to, f32x4.mul(low4<T>(from, bits), f32x4.splat(scale)));
    v128.store(to, f32x4.mul(high4<T>(from, bits), f32x4.splat(scale)), 16);
    from += 8 * sizeof<T>();
  }
}

/** Four floats at `from`, of which the first `left` count: the others are 0. */
// @ts-ignore: decorator
@inline function loadSome(from: usize, left: i32): v128 {
  if (left > 3) return v128.load(from);
  if (left <= 0) return i32x4.splat(0);
  const lanes = i32x4.add(i32x4.splat(-left), i32x4(0, 1, 2, 3));
  return v128.and(v128.load(from), i32x4.shr_s(lanes, 31));
}

/**
 * Four floats as binary16, each in the low half of its lane, rounded to nearest even. Beyond ±65504, and for NaN, they saturate.
 *
 *     normal halves      the bits, exponent bias 127 → 15, rounded by a carry out of the 13 that go
 *     subnormal halves   whole multiples of 2⁻²⁴, the last place of numbers from ½ on: adding ½ rounds to them
 */
function narrow(x: v128): v128 {
  const magnitude = f32x4.pmin(f32x4.splat(65504), f32x4.abs(x));
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(magnitude, i32x4.splat(0xfff - 0x38000000)), odd), 13);
  const subnormal = i32x4.sub(f32x4.add(magnitude, f32x4.splat(0.5)), i32x4.splat(0x3f000000));
  const half = v128.bitselect(subnormal, normal, f32x4.lt(magnitude, f32x4.splat(6.103515625e-5)));
  return v128.or(half, v128.and(i32x4.shr_u(x, 16), i32x4.splat(0x8000)));
}

/** Stores `dim` floats as binary16, see {@link narrow}, and zeros up to the next multiple of eight. */
function storeF16(to: usize, from: usize, dim: i32): void {
  for (; dim > 0; dim -= 8) {
    const low = loadSome(from, dim);
    const high = loadSome(from + 16, dim - 4);
    v128.store(to, i16x8.narrow_i32x4_u(narrow(low), narrow(high)));
    to += 16;
    from += 32;
  }
}

/** Four floats as whole numbers of steps of size `scale`. */
// @ts-ignore: decorator
@inline function stepsOf(x: v128, scale: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.div(x, scale)));
}

/** Stores eight whole numbers as bytes of −127 … 127. */
// @ts-ignore: decorator
@inline function storeBytes(to: usize, low: v128, high: v128): void {
  const words = i16x8.max_s(i16x8.narrow_i32x4_s(low, high), i16x8.splat(-127));
  v128.store64_lane(to, i8x16.narrow_i16x8_s(words, words), 0);
}

/**
 * Stores `dim` floats as bytes, and zeros up to the next multiple of eight. Returns their scale, the largest magnitude / 127; a row with
 * NaN or Infinity has such a scale and so becomes NaN.
 */
function storeInt8(to: usize, from: usize, dim: i32): f32 {
  // The bits of magnitudes are ordered as they are, NaN above all.
  let top = i32x4.splat(0);
  let at = from;
  for (let left = dim; left > 0; left -= 4) {
    top = i32x4.max_s(top, f32x4.abs(loadSome(at, left)));
    at += 16;
  }
  const largest = reinterpret<f32>(largestLane(top));
  const scale = largest / 127;
  if (!(scale > 0 && largest <= f32.MAX_VALUE)) {
    memory.fill(to, 0, (dim + 7) & ~7);
    return scale;
  }
  const step = f32x4.splat(scale);
  for (; dim > 0; dim -= 8) {
    const low = loadSome(from, dim);
    const high = loadSome(from + 16, dim - 4);
    storeBytes(to, stepsOf(low, step), stepsOf(high, step));
    to += 8;
    from += 32;
  }
  return scale;
}

/**
 * Stores `count` rows of `dim` floats as rows of a cache.
 *
 *   to      [count] rows of whole eights of values, toRow bytes apart
 *   scales  [count] f32, written for int8 alone
 *   from    [count] rows of dim floats, fromRow bytes apart; up to three floats past a row are read
 */
export function storeRows(
  to: usize,
  scales: usize,
  from: usize,
  count: i32,
  dim: i32,
  toRow: usize,
  fromRow: usize,
  type: i32,
): void {
  assert(type == F32 || type == F16 || type == INT8, "type must be F32, F16 or INT8");
  for (; count > 0; count--) {
    if (type == F32) copyRow(to, from, dim);
    else if (type == F16) storeF16(to, from, dim);
    else store<f32>(scales, storeInt8(to, from, dim));
    to += toRow;
    from += fromRow;
    scales += 4;
  }
}
