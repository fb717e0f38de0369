// The softmax of rows, and the two forms of logits before it.

import { LOG2_E, expColumn, softcap } from "../../simd/exp";
import { maxLane, maxNumber, sumLanes } from "../../simd/lanes";
import { loadFloats, storeFloats } from "./rows";

/** Vectors whose powers stand in scratch, and whose sum is f32; the sum of all is f64. */
// @ts-ignore: decorator
@inline const STRETCH: i32 = 64;

/** Bytes of scratch for a softmax. */
export function softmaxBytes(): i32 {
  return (STRETCH + 1) << 4;
}

/**
 * out = softmax(x·scale) of each row. −Infinity has a weight of 0; a row with NaN or Infinity, or of −Infinity alone, is
 * NaN, as in IEEE.
 *
 *   out, x   [rows, dim]; may be the same
 *   scratch  softmaxBytes
 *   scale    > 0
 */
export function softmaxRows(out: usize, x: usize, scratch: usize, rows: i32, dim: i32, scale: f32, table: usize): void {
  const rowBytes = (<usize>dim) << 2;
  // 0·Infinity would be NaN.
  const factor = min<f32>(scale * LOG2_E, f32.MAX_VALUE);
  for (; rows > 0; rows--) {
    let top = f32x4.splat(-Infinity);
    let at = x;
    for (let left = dim; left > 0; left -= 4) {
      top = maxNumber(top, loadFloats(at, left, -Infinity));
      at += 16;
    }
    const m = f32x4.splat(maxLane(top));
    if (out != x) memory.copy(out, x, rowBytes);
    let total: f64 = 0;
    at = out;
    for (let left = dim >> 2; left > 0; left -= STRETCH) {
      const count = min(left, STRETCH);
      total += <f64>sumLanes(expColumn(at, scratch, 16, count, count, m, factor, table));
      at += (<usize>count) << 4;
    }
    const over = dim & 3;
    if (over) {
      v128.store(scratch, loadFloats(at, over, -Infinity));
      total += <f64>sumLanes(expColumn(scratch, scratch + 16, 16, 1, 1, m, factor, table));
      storeFloats(at, v128.load(scratch), over);
    }
    const share = f32x4.splat(<f32>(1 / total));
    at = out;
    for (let left = dim; left > 0; left -= 4) {
      storeFloats(at, f32x4.mul(v128.load(at), share), left);
      at += 16;
    }
    out += rowBytes;
    x += rowBytes;
  }
}

/**
 * out = x·scale, or where cap > 0 cap·tanh(x·scale/cap).
 *
 *   out, x   [count]; may be the same
 *   scratch  softmaxBytes
 */
export function capLogits(out: usize, x: usize, scratch: usize, count: i32, scale: f32, cap: f32, table: usize): void {
  if (cap > 0) {
    if (out != x) memory.copy(out, x, (<usize>count) << 2);
    softcap(out, count >> 2, scale, cap, table);
    const over = count & 3;
    if (!over) return;
    out += (<usize>(count >> 2)) << 4;
    v128.store(scratch, loadFloats(out, over, 0));
    softcap(scratch, 1, scale, cap, table);
    storeFloats(out, v128.load(scratch), over);
    return;
  }
  for (; count > 0; count -= 4) {
    storeFloats(out, f32x4.mul(v128.load(x), f32x4.splat(scale)), count);
    out += 16;
    x += 16;
  }
}
