// The online softmax (Milakov & Gimelshein, arXiv 1805.02867; FlashAttention, arXiv 2205.14135), one lane a row.

import { LANE_BYTES, larger } from "../simd/lanes";
import { LOG2_E, expColumn } from "../simd/exp";
import { ALPHA, Block, L, M, lanes } from "./query-tile";

/**
 * One block of scores further:
 *
 *     m' = max(m, max S)    P = exp((S − m')·unit)    α = exp((m − m')·unit)    l' = α·l + Σ P
 *
 *   s      [count][LANES], S in, P out; −Infinity is a masked key and gives exactly 0
 *   powers [count] vectors of scratch
 *   unit   what one unit of S is worth as a score
 *
 * Writes M and L of the block. Returns whether any m rose: then O must be multiplied by α, in ALPHA.
 */
export function softmaxStep(block: Block, s: usize, powers: usize, count: i32, unit: f32, constants: usize): bool {
  const factor = unit * LOG2_E;
  const mPtr = lanes(block, M);
  const lPtr = lanes(block, L);
  const alphaPtr = lanes(block, ALPHA);
  const end = (<usize>block.vectors) << 4;
  const zero = f32x4.splat(0);

  // All maxima come first: an exponential waits for its maximum, and these do not wait for each other.
  let risen = zero;
  for (let at: usize = 0; at < end; at += 16) {
    const m = v128.load(mPtr + at);
    const top = columnMax(s + at, count, m);
    v128.store(mPtr + at, top);
    v128.store(alphaPtr + at, f32x4.sub(m, top));
    risen = v128.or(risen, f32x4.ne(m, top));
  }
  const rescale = v128.any_true(risen);
  if (rescale) {
    expColumn(alphaPtr, powers, 16, block.vectors, zero, factor, constants);
    for (let at: usize = 0; at < end; at += 16) {
      v128.store(lPtr + at, f32x4.mul(v128.load(lPtr + at), v128.load(alphaPtr + at)));
    }
  }
  for (let at: usize = 0; at < end; at += 16) {
    const sum = expColumn(s + at, powers, LANE_BYTES, count, v128.load(mPtr + at), factor, constants);
    v128.store(lPtr + at, f32x4.add(v128.load(lPtr + at), sum));
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
