// The online softmax (Milakov & Gimelshein, arXiv 1805.02867; FlashAttention, arXiv 2205.14135), one lane a row.

import { LANE_BYTES, larger } from "./lanes";
import { LOG2_E, expColumn } from "./exp";
import { ALPHA, Block, L, M, lanes } from "./block";

/**
 * One block of scores further:
 *
 *     m' = max(m, max S)    P = exp((S − m')·unit)    α = exp((m − m')·unit)    l' = α·l + Σ P
 *
 *   s      [count][LANES], S in, P out; −Infinity is a masked key and gives exactly 0
 *   unit   what one unit of S is worth as a score
 *
 * Writes M, L and ALPHA of the block. Returns whether α differs from 1, so that O must be multiplied by it.
 */
export function softmaxStep(block: Block, s: usize, count: i32, unit: f32, constants: usize): bool {
  const factor = unit * LOG2_E;
  let rescale = false;
  for (let vector = 0; vector < block.vectors; vector++) {
    const at = (<usize>vector) << 4;
    const mPtr = lanes(block, M) + at;
    const lPtr = lanes(block, L) + at;
    const alphaPtr = lanes(block, ALPHA) + at;
    const m = v128.load(mPtr);
    const top = columnMax(s + at, count, m);
    v128.store(mPtr, top);
    const sum = expColumn(s + at, LANE_BYTES, count, top, factor, constants);
    if (v128.any_true(f32x4.ne(m, top))) {
      v128.store(alphaPtr, m);
      expColumn(alphaPtr, LANE_BYTES, 1, top, factor, constants);
      v128.store(lPtr, f32x4.add(f32x4.mul(v128.load(lPtr), v128.load(alphaPtr)), sum));
      rescale = true;
    } else {
      v128.store(alphaPtr, f32x4.splat(1));
      v128.store(lPtr, f32x4.add(v128.load(lPtr), sum));
    }
  }
  return rescale;
}

/** The largest of m and a column of vectors; NaN is passed over, the sum of the exponentials will carry it. */
function columnMax(s: usize, count: i32, m: v128): v128 {
  // Four chains, since each step waits for the one before.
  let m0 = m,
    m1 = m,
    m2 = m,
    m3 = m;
  const end = s + <usize>count * LANE_BYTES;
  for (; s + 3 * LANE_BYTES < end; s += 4 * LANE_BYTES) {
    m0 = larger(m0, v128.load(s));
    m1 = larger(m1, v128.load(s, LANE_BYTES));
    m2 = larger(m2, v128.load(s, 2 * LANE_BYTES));
    m3 = larger(m3, v128.load(s, 3 * LANE_BYTES));
  }
  for (; s < end; s += LANE_BYTES) m0 = larger(m0, v128.load(s));
  return larger(larger(m0, m1), larger(m2, m3));
}
