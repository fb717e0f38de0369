// Sums over keys do not drift: they are taken in levels, so that rounding does not grow with the number of keys.
//
//     block     up to BLOCK_KEYS keys     f32, from zero
//     span      up to SPAN_KEYS keys      f32: O, to which each block is added
//     totals    the spans before          f64: when a span begins, O is added to the totals, and is 0 again
//
//     n equal terms, relative error:      one f32 sum      5e-5 for 4096 keys, 1e-3 for 131 072, 1e-2 for 10⁶
//                                         these levels     9.5e-7 + 1.2e-7, whatever n
//
// Blocks and spans begin at multiples of their keys, so that neither pieces nor query tiles show in the bits. l has its
// blocks, and is f64 beyond them. decode/ has spans of its own lengths (spanBitsOf of products.ts).

import { QueryTile } from "./query-tile";

/** log₂ of BLOCK_KEYS. */
// @ts-ignore: decorator
@inline export const BLOCK_BITS: i32 = 6;

/** Keys of a block: 64 equal terms one after the other are off by 9.5e-7 at most. */
// @ts-ignore: decorator
@inline export const BLOCK_KEYS: i32 = 1 << BLOCK_BITS;

/** log₂ of SPAN_KEYS, the keys of a span. */
// @ts-ignore: decorator
@inline export const SPAN_BITS: i32 = 10;

/** How many of `count` keys from `first` on are in the block of `first`. */
// @ts-ignore: decorator
@inline export function keysOfBlock(first: i32, count: i32): i32 {
  return min(BLOCK_KEYS - (first & (BLOCK_KEYS - 1)), count);
}

/** Readies O for span number `span`: another span before it goes into the totals. */
export function enterSpan(tile: QueryTile, span: i32): void {
  if (span == tile.span) return;
  tile.span = span;
  if (!tile.steps) return;
  const o = tile.o;
  const totals = tile.totals;
  const bytes = tile.oBytes;
  if (!tile.hasTotals) memory.fill(totals, 0, 2 * bytes);
  tile.hasTotals = 1;
  for (let offset: usize = 0; offset != bytes; offset += 16) {
    addToTotal(totals + 2 * offset, v128.load(o + offset));
  }
  memory.fill(o, 0, bytes);
}

/** O = totals + O, after the last key. */
export function takeTotals(tile: QueryTile): void {
  if (!tile.hasTotals) return;
  enterSpan(tile, -1);
  tile.hasTotals = 0;
  let o = tile.o;
  let total = tile.totals;
  for (const end = tile.o + tile.oBytes; o != end; o += 16) {
    v128.store(o, roundTotal(total));
    total += 32;
  }
}

/** Four f64 += four floats. */
// @ts-ignore: decorator
@inline export function addToTotal(total: usize, x: v128): void {
  v128.store(total, f64x2.add(v128.load(total), f64x2.promote_low_f32x4(x)));
  v128.store(total, f64x2.add(v128.load(total, 16), f64x2.promote_low_f32x4(upper(x))), 16);
}

/** Four f64 each, `step` bytes apart, ← themselves·α. */
export function scaleTotals(total: usize, step: usize, count: i32, alpha: v128): void {
  const low = f64x2.promote_low_f32x4(alpha);
  const high = f64x2.promote_low_f32x4(upper(alpha));
  for (; count > 0; count--) {
    v128.store(total, f64x2.mul(v128.load(total), low));
    v128.store(total, f64x2.mul(v128.load(total, 16), high), 16);
    total += step;
  }
}

/** Four f64 as floats. */
// @ts-ignore: decorator
@inline export function roundTotal(total: usize): v128 {
  const low = f32x4.demote_f64x2_zero(v128.load(total));
  return v128.shuffle<f32>(low, f32x4.demote_f64x2_zero(v128.load(total, 16)), 0, 1, 4, 5);
}

// @ts-ignore: decorator
@inline function upper(x: v128): v128 {
  return v128.shuffle<f32>(x, x, 2, 3, 2, 3);
}
