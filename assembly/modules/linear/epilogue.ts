// What `linear` does with a block of products before it leaves the first-level cache: bias, activation or gate,
// residual.
//
//     out = act(C + bias) + residual        or, gated,        out = act(C₀ + bias₀) · (C + bias) + residual

import { activate } from "../../simd/activations";
import { LANE_BYTES } from "../../simd/lanes";

/** Four floats, or one in each lane. */
function loadFour(at: usize, isFour: bool): v128 {
  return isFour ? v128.load(at) : v128.load32_splat(at);
}

/**
 * out[row] = act(C[row] + bias) + residual, or gate·(C + bias) + residual, in the bytes [from, end) of a row of out.
 *
 *   out       rows outRowStride bytes apart; may be C, or residual
 *   c, gate   rows of LANES floats, from the byte `from` on; gate may be 0
 *   bias      a row like those of out, or 0
 *   residual  rows outRowStride bytes apart, or 0
 */
export function storeBlock(
  out: usize,
  c: usize,
  gate: usize,
  bias: usize,
  residual: usize,
  rows: i32,
  from: usize,
  end: usize,
  outRowStride: usize,
  activation: i32,
  table: usize,
): void {
  for (let row: usize = 0; rows > 0; rows--) {
    for (let n = from; n != end;) {
      const isFour = end - n >= 16;
      const place = row + n - from;
      let x = loadFour(c + place, isFour);
      if (bias) x = f32x4.add(x, loadFour(bias + n, isFour));
      if (activation) x = activate(x, activation, table);
      if (gate) x = f32x4.mul(x, loadFour(gate + place, isFour));
      if (residual) x = f32x4.add(x, loadFour(residual + n, isFour));
      if (isFour) {
        v128.store(out + n, x);
        n += 16;
      } else {
        v128.store32_lane(out + n, x, 0);
        n += 4;
      }
    }
    row += LANE_BYTES;
    out += outRowStride;
    if (residual) residual += outRowStride;
  }
}
