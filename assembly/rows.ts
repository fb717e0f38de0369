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

import { Head } from "./head";

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

/** Values 0 … 3 of the eight at `at`, as f32; T is f32, u16 (binary16) or i8. The last two serve binary16, see {@link widen}. */
// @ts-ignore: decorator
@inline export function low4<T>(at: usize, signAndBits: v128, magnify: v128): v128 {
  if (isFloat<T>()) return v128.load(at);
  if (sizeof<T>() == 2) return widen(v128.load16x4_s(at), signAndBits, magnify);
  return f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(v128.load8x8_s(at)));
}

/** Values 4 … 7 of the eight at `at`. */
// @ts-ignore: decorator
@inline export function high4<T>(at: usize, signAndBits: v128, magnify: v128): v128 {
  if (isFloat<T>()) return v128.load(at, 16);
  if (sizeof<T>() == 2) return widen(v128.load16x4_s(at, 8), signAndBits, magnify);
  return f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(v128.load8x8_s(at)));
}

/**
 * Sign-extended binary16 to f32: exponent and fraction move to their f32 places and the exponent bias is made up for by a product.
 *
 *   signAndBits  0x8fffe000 in every lane
 *   magnify      2¹¹² in every lane
 */
// @ts-ignore: decorator
@inline function widen(half: v128, signAndBits: v128, magnify: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(half, 13), signAndBits), magnify);
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
    else if (type == F16) convertRow<u16>(to, from, dim, 1);
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
  const signAndBits = i32x4.splat(0x8fffe000);
  const magnify = f32x4.splat(reinterpret<f32>(0x77800000));
  for (const end = to + ((<usize>dim) << 2); to < end; to += 32) {
    v128.store(to, f32x4.mul(low4<T>(from, signAndBits, magnify), f32x4.splat(scale)));
    v128.store(to, f32x4.mul(high4<T>(from, signAndBits, magnify), f32x4.splat(scale)), 16);
    from += 8 * sizeof<T>();
  }
}

/**
 * Stores `dim` floats as binary16, rounded to nearest even, and zeros up to the next multiple of eight. Beyond ±65504, and for NaN,
 * they saturate.
 */
function storeF16(to: usize, from: usize, dim: i32): void {
  for (let d = 0; d < dim; d++) {
    const x = load<f32>(from + ((<usize>d) << 2));
    const magnitude = min<f32>(abs(x), 65504);
    const bits = reinterpret<u32>(magnitude);
    // Subnormal halves are whole multiples of 2⁻²⁴, the last place of numbers from ½ on: adding ½ rounds to them.
    const half =
      magnitude < 6.103515625e-5
        ? reinterpret<u32>(magnitude + 0.5) - 0x3f000000
        : (bits - 0x38000000 + 0xfff + ((bits >> 13) & 1)) >> 13;
    store<u16>(to + ((<usize>d) << 1), <u16>(half | ((reinterpret<u32>(x) >> 16) & 0x8000)));
  }
  for (let d = dim; d & 7; d++) store<u16>(to + ((<usize>d) << 1), 0);
}

/**
 * Stores `dim` floats as bytes, and zeros up to the next multiple of eight. Returns their scale, the largest magnitude / 127; a row with
 * NaN or Infinity has such a scale and so becomes NaN.
 */
function storeInt8(to: usize, from: usize, dim: i32): f32 {
  let largest: f32 = 0;
  for (let d = 0; d < dim; d++) largest = max<f32>(largest, abs(load<f32>(from + ((<usize>d) << 2))));
  const scale = largest / 127;
  const whole = scale > 0 && largest <= f32.MAX_VALUE;
  for (let d = 0; d < dim; d++) {
    const steps = whole ? nearest(load<f32>(from + ((<usize>d) << 2)) / scale) : 0;
    store<i8>(to + <usize>d, <i8>max<f32>(min<f32>(steps, 127), -127));
  }
  for (let d = dim; d & 7; d++) store<i8>(to + <usize>d, 0);
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
