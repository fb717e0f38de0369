// The online softmax (Milakov & Gimelshein, arXiv 1805.02867; FlashAttention, arXiv 2205.14135): a lane form, where
// each lane is a query row, and a row form, where the scores of one row stand side by side.
//
//     m' = m, or max S where that is larger    P = exp(S − m')    α = exp(m − m')    l' = α·l + Σ P
//
// m stays while P ≤ RISE, so that O is multiplied by α where much has changed, and rounded seldom: m may be any number
// near the maximum. And at the end, with the sink folded in:    M = max(m, sink)    l = l·exp(m − M) + exp(sink − M)

import { AttendArgs } from "../args";
import { LANE_BYTES, maxLane, maxNumber, sumLanes } from "../simd/lanes";
import { FLOOR, ONE, ZERO } from "../simd/constants";
import { LOG2_E, exp, expColumn, expPairs, log } from "../simd/exp";
import { ALPHA, L, LSE_ROW, M, P_SCALES, QueryTile, SINK, lanes, pointerAt } from "./query-tile";
import { addToTotal, roundTotal, scaleTotals } from "./totals";

/** log₂ of the largest P that leaves m as it is. */
// @ts-ignore: decorator
@inline const RISE: f32 = 1;

/**
 * Lane form: one kv tile of scores further, in units of the score.
 *
 *     P = exp((S − m')·unit)    α = exp((m − m')·unit)    l' = α·l + Σ P
 *
 *   s      [count][LANES], S in, P out; −Infinity is a masked key and gives exactly 0
 *   powers [count] vectors of scratch
 *   head   how many of the keys are in the first block (totals.ts)
 *   unit   what one unit of S is worth as a score
 *   weights  0; or with half precision the inverse of the scale of each key of V. Then S is w of prefill/half.ts, m too,
 *            and P becomes pairs of integers
 *
 * Writes M and L of the tile. Returns whether any m rose: then O and the totals must be multiplied by α, in ALPHA.
 */
export function softmaxStep(
  tile: QueryTile,
  s: usize,
  powers: usize,
  count: i32,
  head: i32,
  unit: f32,
  constants: usize,
  weights: usize,
): bool {
  const factor: f32 = weights ? 1 : unit * LOG2_E;
  const mPtr = lanes(tile, M);
  const lPtr = lanes(tile, L);
  const alphaPtr = lanes(tile, ALPHA);
  const end = (<usize>tile.vectors) << 4;

  // All maxima come first: an exponential waits for its maximum, and these do not wait for each other.
  const zero = v128.load32_splat(constants, ZERO);
  let risen = zero;
  for (let offset: usize = 0; offset < end; offset += 16) {
    const m = v128.load(mPtr + offset);
    let top = m;
    if (weights) {
      // P of each block has a unit of its own. Less than 2⁻¹²⁷ of what the row has weighs nothing.
      const scales = lanes(tile, P_SCALES) + offset;
      const low = f32x4.add(m, v128.load32_splat(constants, FLOOR));
      const first = columnMax(s + offset, head, low);
      const second = columnMax(s + offset + <usize>head * LANE_BYTES, count - head, low);
      v128.store(scales, first);
      v128.store(scales, second, LANE_BYTES);
      top = maxNumber(m, maxNumber(first, second));
    } else {
      top = columnMax(s + offset, count, m);
    }
    const fall = f32x4.sub(m, top);
    const rises = f32x4.lt(f32x4.mul(fall, f32x4.splat(factor)), f32x4.splat(-RISE));
    v128.store(mPtr + offset, v128.bitselect(top, m, rises));
    v128.store(alphaPtr + offset, v128.and(fall, rises));
    risen = v128.or(risen, rises);
  }
  const rescale = v128.any_true(risen);
  if (rescale) {
    expColumn(alphaPtr, powers, 16, tile.vectors, tile.vectors, zero, factor, constants);
    for (let offset: usize = 0; offset < end; offset += 16) {
      scaleTotals(lPtr + 2 * offset, 0, 1, v128.load(alphaPtr + offset));
    }
  }
  for (let offset: usize = 0; offset < end; offset += 16) {
    const m = v128.load(mPtr + offset);
    const total = lPtr + 2 * offset;
    if (weights) {
      const scales = lanes(tile, P_SCALES) + offset;
      addToTotal(total, expPairs(s + offset, head, m, constants, weights, scales));
      const first = <usize>head;
      const rest = s + offset + first * LANE_BYTES;
      if (count > head) {
        const sum = expPairs(rest, count - head, m, constants, weights + (first << 2), scales + LANE_BYTES);
        addToTotal(total, sum);
      }
    } else {
      addToTotal(total, expColumn(s + offset, powers, LANE_BYTES, count, head, m, factor, constants));
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
  for (; count >= 4; count -= 4) {
    m0 = maxNumber(m0, v128.load(s));
    m1 = maxNumber(m1, v128.load(s, LANE_BYTES));
    m2 = maxNumber(m2, v128.load(s, 2 * LANE_BYTES));
    m3 = maxNumber(m3, v128.load(s, 3 * LANE_BYTES));
    s += 4 * LANE_BYTES;
  }
  for (const end = s + <usize>count * LANE_BYTES; s != end; s += LANE_BYTES) m0 = maxNumber(m0, v128.load(s));
  return maxNumber(maxNumber(m0, m1), maxNumber(m2, m3));
}

/**
 * Row form: P = exp(S − m'), l' = α·l + Σ P of the row in `lane`; returns α. Writes whole vectors; `powers` is scratch.
 * Where S begins does not show: a lane adds up every fourth key, and sumLanes is the same for lanes that are rotated.
 */
export function softmaxRow(tile: QueryTile, s: usize, powers: usize, lane: i32, count: i32, constants: usize): f32 {
  const slot = (<usize>lane) << 2;
  const mPtr = lanes(tile, M) + slot;
  const lPtr = lanes(tile, L) + 2 * slot;
  const vectors = (count + 3) >> 2;
  const m = load<f32>(mPtr);
  let top = f32x4.splat(m);
  for (let n = 0; n < vectors; n++) top = maxNumber(top, v128.load(s + ((<usize>n) << 4)));
  let alpha: f32 = 1;
  let newM = maxLane(top);
  if ((m - newM) * LOG2_E < -RISE) {
    alpha = f32x4.extract_lane(exp(f32x4.splat(m - newM), constants), 0);
    store<f32>(mPtr, newM);
  } else {
    newM = m;
  }
  const sum = sumLanes(expColumn(s, powers, 16, vectors, vectors, f32x4.splat(newM), LOG2_E, constants));
  store<f64>(lPtr, load<f64>(lPtr) * alpha + sum);
  return alpha;
}

/**
 * Folds in the sinks, writes lse, and to ALPHA what O is to be multiplied by; L becomes f32.
 *
 *     M = max(m, sink)    l = l·exp(m − M) + exp(sink − M)    out = O·exp(m − M)/l    lse = M + ln l
 *
 * A row that saw no key has l = 0: ALPHA 0, lse −Infinity.
 */
export function closeLanes(tile: QueryTile, args: AttendArgs, unit: f32): void {
  tile.closed = 1;
  const natural = f32x4.splat(unit);
  const lowest = f32x4.splat(-f32.MAX_VALUE);
  const zero = v128.load32_splat(args.constants, ZERO);
  for (let vector = 0; vector < tile.vectors; vector++) {
    const offset = (<usize>vector) << 4;
    const m = maxNumber(f32x4.mul(v128.load(lanes(tile, M) + offset), natural), lowest);
    let l = roundTotal(lanes(tile, L) + 2 * offset);
    let shrink = v128.load32_splat(args.constants, ONE);
    if (args.sinks) {
      const sink = v128.load(lanes(tile, SINK) + offset);
      const top = maxNumber(m, sink);
      shrink = exp(f32x4.sub(m, top), args.constants);
      l = f32x4.add(f32x4.mul(l, shrink), exp(f32x4.sub(sink, top), args.constants));
      v128.store(lanes(tile, M) + offset, top);
    } else {
      v128.store(lanes(tile, M) + offset, m);
    }
    v128.store(lanes(tile, L) + offset, l);
    v128.store(lanes(tile, ALPHA) + offset, v128.andnot(f32x4.div(shrink, l), f32x4.eq(l, zero)));
  }
  if (args.lse) {
    for (let lane = 0; lane < tile.rows; lane++) {
      const offset = (<usize>lane) << 2;
      const lse = <f64>load<f32>(lanes(tile, M) + offset) + log(load<f32>(lanes(tile, L) + offset));
      store<f32>(pointerAt(lanes(tile, LSE_ROW), lane), <f32>lse);
    }
  }
}
