// Activations of rows that stand in memory; the module of `linear` applies them to products before they leave the cache.

import { activate } from "../../simd/activations";
import { loadFloats, storeFloats } from "./rows";

/**
 * out = act(x), or with a gate out = act(x)·up.
 *
 *   out       rows of `dim` floats, one behind the other; may be x or up where those have no other floats
 *   x, up     rows xRowStride bytes apart; up may be 0
 *   activation  see simd/activations.ts
 *   table     the table of simd/constants.ts, with what writeActivations adds
 */
export function activateRows(
  out: usize,
  x: usize,
  up: usize,
  rows: i32,
  dim: i32,
  xRowStride: usize,
  activation: i32,
  table: usize,
): void {
  for (; rows > 0; rows--) {
    for (let left = dim, at: usize = 0; left > 0; left -= 4) {
      let y = activate(loadFloats(x + at, left, 0), activation, table);
      if (up) y = f32x4.mul(y, v128.load(up + at));
      storeFloats(out, y, min(left, 4));
      out += (<usize>min(left, 4)) << 2;
      at += 16;
    }
    x += xRowStride;
    if (up) up += xRowStride;
  }
}
