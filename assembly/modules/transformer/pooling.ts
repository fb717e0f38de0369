// The mean of some rows.

import { promoteHigh, promoteLow, storeFloats } from "./rows";

/**
 * out = the mean of those rows of x that are kept; 0 where none is. Sums are f64, as many as a row has floats.
 *
 *   out   [dim], overwritten
 *   x     [rows, dim]; a row that is not kept is not read
 *   keep  [rows] bytes, not 0 for a row that is kept; or 0, and all are
 *   sums  [dim rounded up to 4] f64, overwritten
 */
export function meanRows(out: usize, x: usize, keep: usize, sums: usize, rows: i32, dim: i32): void {
  const rowBytes = (<usize>dim) << 2;
  memory.fill(sums, 0, ((<usize>dim + 3) & ~3) << 3);
  let count = 0;
  for (; rows > 0; rows--) {
    if (!keep || load<u8>(keep++)) {
      count++;
      for (let left = dim, at: usize = 0; left > 0; left -= 4) {
        // What lies behind the row goes into sums that nobody reads.
        const four = v128.load(x + at);
        const sum = sums + 2 * at;
        v128.store(sum, f64x2.add(v128.load(sum), promoteLow(four)));
        v128.store(sum, f64x2.add(v128.load(sum, 16), promoteHigh(four)), 16);
        at += 16;
      }
    }
    x += rowBytes;
  }
  const divisor = f64x2.splat(max<f64>(<f64>count, 1));
  for (let left = dim; left > 0; left -= 4) {
    const a = f32x4.demote_f64x2_zero(f64x2.div(v128.load(sums), divisor));
    const b = f32x4.demote_f64x2_zero(f64x2.div(v128.load(sums, 16), divisor));
    storeFloats(out, v128.shuffle<i64>(a, b, 0, 2), left);
    sums += 32;
    out += 16;
  }
}
