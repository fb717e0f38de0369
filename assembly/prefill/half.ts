// Half precision: the products of q·k and of P·V in integers, 13 bits and a sign, by the register tile of simd/dot.ts.
// Scores, softmax and the sums over blocks of keys stay f32, and so does every option between the two products.
//
//     S = K·Qᵗ    w = S·log₂ e + log₂(scale of v)    P = 2^(w − n) in integers, n for each row and block
//     Oᵗ = α·Oᵗ + 2^(n − m)·Vᵗ·P                     m and l = Σ 2^(S·log₂ e − m) for each row
//
//     q    one scale for each row       integers up to ⌊√((2³¹ − 1)/dims)⌋ and 8191, in sums of 64 dims, or all up to 128
//     k    one scale for each row       the same
//     v    one scale for each row       up to 4095
//     P    one scale for each row and   up to 2¹³, of P·(scale of v): the scale of v goes into P, so that the sum over
//          block of keys                keys is one of integers
//
// No sum overflows: 64 · 2¹³ · 4095 < 2³¹ (the keys of a block), and dims · ⌊√((2³¹ − 1)/dims)⌋² < 2³¹.
//
// No scale of a row depends on another row, nor on a key that the row does not see. So the bits of a row are those of
// any batch, chunk or page, as in full precision. A row whose values have no such form (not finite, or beyond the
// powers of two that a scale may be) has NaN for its scale. Where that is in sight of a query row, its sum l becomes
// NaN, and the query row is done again in full precision (closeTiles of passes.ts).
//
//     ┌ row of K: a pair is dims d and d + 4 ───────────┐      ┌ rows 2t and 2t + 1 of V ─────────────────┐
//     │ 0 4 │ 1 5 │ 2 6 │ 3 7 │ 8 12 │ 9 13 │ … │ unused │      │ v[2t][0] v[2t+1][0] │ v[2t][1] … │ unused │
//     └─────────────────────────────────────────────────┘      └──────────────────────────────────────────┘

import { AttendArgs } from "../args";
import { seesAny } from "../attention/mask";
import { adjustsScores } from "../attention/scores";
import { P_SCALES, Q_SCALE, QueryTile, lanes, queries, sumOf } from "../attention/query-tile";
import { fetchRows, gatherKeys, gatheredRowStride } from "../kv/gather";
import { PAGE_KEYS, kAddress, vAddress } from "../kv/rows";
import { multiplyPairs, sidePairs } from "../simd/dot";
import { INTEGER, ONE, ZERO } from "../simd/constants";
import { LOG2_E, log } from "../simd/exp";
import { LANE_BYTES, madd, maxMagnitudeBits } from "../simd/lanes";

/** From one array of a kv tile's keys to the next: the scales of K, log₂ of those of V, their inverses. */
// @ts-ignore: decorator
@inline export const WEIGHT_BYTES: usize = <usize>PAGE_KEYS * 4;

/** Bytes of the three of them. */
// @ts-ignore: decorator
@inline export const SCALE_BYTES: usize = 3 * WEIGHT_BYTES;

/** Dims whose products are added up in integers: the fewer, the larger the integers may be. */
// @ts-ignore: decorator
@inline function dimsOfSum(args: AttendArgs): i32 {
  return args.headDim > 128 ? 64 : args.headDim;
}

/** The largest f32 below 2³¹. */
// @ts-ignore: decorator
@inline const BELOW_2_31: f32 = 2147483520;

/** The largest integer of v. */
// @ts-ignore: decorator
@inline const V_MOST: f32 = 4095;

/** The bits of the magnitudes that have a scale: from 2⁻⁴⁰ on, below 2⁴⁰. */
// @ts-ignore: decorator
@inline const LEAST_BITS: i32 = (127 - 40) << 23;
// @ts-ignore: decorator
@inline const ABOVE_BITS: i32 = (127 + 40) << 23;

/** The factor of a row of V that is zero: 2⁵², more than any. */
// @ts-ignore: decorator
@inline const ZERO_FACTOR: f32 = 4503599627370496;

/** Whether this call is in half precision: rows that are no whole eights are computed in full. */
export function isHalf(args: AttendArgs): bool {
  return args.half != 0 && !args.careful && !((args.headDim | args.valueDim) & 7);
}

/** The largest integer of q and of k. */
// @ts-ignore: decorator
@inline function mostOf(args: AttendArgs): f32 {
  return min<f32>(8191, floor(sqrt<f32>(BELOW_2_31 / <f32>dimsOfSum(args))));
}

/**
 * What values are multiplied by to become integers up to `most`, where the largest magnitude has these bits: 0 where they
 * are zero, NaN where they have no integers.
 */
function factorOf(bits: i32, most: f32): f32 {
  if (bits == 0) return 0;
  return bits < LEAST_BITS || bits >= ABOVE_BITS ? NaN : most / reinterpret<f32>(bits);
}

/** Qᵗ of a tile becomes pairs [headDim / 2][LANES], in its place; writes Q_SCALE. */
export function quantizeQueries(tile: QueryTile, args: AttendArgs): void {
  const most = mostOf(args);
  const unit: f32 = adjustsScores(args) ? 1 : args.scoreScale * LOG2_E;
  const eights = args.headDim >> 3;
  for (let offset: usize = 0; offset != LANE_BYTES; offset += 16) {
    const q = queries(tile) + offset;
    const scales = lanes(tile, Q_SCALE) + offset;
    let top = v128.load32_splat(args.constants, ZERO);
    for (let d = q, end = q + <usize>args.headDim * LANE_BYTES; d != end; d += LANE_BYTES) {
      top = i32x4.max_s(top, f32x4.abs(v128.load(d)));
    }
    v128.store(scales, top);
    const factors = lanes(tile, P_SCALES); // which have no meaning yet
    for (let lane: usize = 0; lane != 16; lane += 4) {
      const bits = load<i32>(scales + lane);
      const factor = factorOf(bits, most);
      store<f32>(factors + lane, factor);
      store<f32>(scales + lane, factor == factor ? (reinterpret<f32>(bits) / most) * unit : NaN);
    }
    const factor = v128.load(factors);
    for (let n: usize = 0; n != 4 * LANE_BYTES; n += LANE_BYTES) {
      toPairs(q + n, q + n, q + n + 4 * LANE_BYTES, eights, 4 * LANE_BYTES, 8 * LANE_BYTES, factor, factor, args);
    }
  }
}

/**
 * Pairs of the integers of a·factorA and b·factorB, four at a time: `count` vectors `step` bytes apart from `count` of
 * each, `fromStep` bytes apart. May be where a is.
 */
function toPairs(
  to: usize,
  a: usize,
  b: usize,
  count: i32,
  step: usize,
  fromStep: usize,
  factorA: v128,
  factorB: v128,
  args: AttendArgs,
): void {
  const integer = v128.load32_splat(args.constants, INTEGER);
  for (; count > 0; count--) {
    v128.store(to, sidePairs(madd(v128.load(a), factorA, integer), madd(v128.load(b), factorB, integer)));
    to += step;
    a += fromStep;
    b += fromStep;
  }
}

/**
 * K and V of `count` keys of one page, from `key` on, as integers: rows gatheredRowStride apart, of which key − key % 2
 * is the first.
 *
 *   scales   SCALE_BYTES: for each key the scale of its row of K, and log₂ and the inverse of that of V
 */
export function quantizeKeys(
  args: AttendArgs,
  kvHead: i32,
  toK: usize,
  toV: usize,
  scales: usize,
  key: i32,
  count: i32,
): void {
  const kStride = <usize>gatheredRowStride(args.headDim);
  const vStride = <usize>gatheredRowStride(args.valueDim);
  const odd = key & 1;
  // The keys beside the first and the last one, with which they are pairs, weigh nothing.
  store<f32>(scales, 0, WEIGHT_BYTES);
  store<f32>(scales, 0, 2 * WEIGHT_BYTES);
  toK += <usize>odd * kStride;
  scales += (<usize>odd) << 2;
  let k = toK;
  let v = toV + <usize>odd * vStride;
  let kFrom = kStride;
  let vFrom = vStride;
  if (args.kType | args.vType) {
    gatherKeys(args, kvHead, k, v, key, count);
  } else {
    k = kAddress(args, kvHead, key);
    v = vAddress(args, kvHead, key);
    kFrom = args.kRowStride;
    vFrom = args.vRowStride;
  }
  const most = mostOf(args);
  let before = v;
  let factorBefore: f32 = 0;
  for (let n = odd; n < odd + count; n++) {
    if ((n & 7) == 0) {
      // Rows of many heads stand on pages of their own: eight come in side by side.
      const rows = min(8, odd + count - n);
      fetchRows(k, rows, args.headDim, kFrom, scales);
      fetchRows(v, rows, args.valueDim, vFrom, scales);
    }
    const kBits = maxMagnitudeBits(k, args.headDim);
    const vBits = maxMagnitudeBits(v, args.valueDim);
    const kFactor = factorOf(kBits, most);
    let kScale = reinterpret<f32>(kBits) / most;
    // A row of zeros is of little weight, and so of no say in the unit of P.
    let factor = vBits ? factorOf(vBits, V_MOST) : ZERO_FACTOR;
    if (factor + kFactor != factor + kFactor) {
      // Whoever sees this key sees it by its score.
      kScale = NaN;
      factor = 1;
    }
    store<f32>(scales, kScale);
    store<f32>(scales, <f32>(-log(factor) * LOG2_E), WEIGHT_BYTES);
    store<f32>(scales, factor, 2 * WEIGHT_BYTES);
    scales += 4;
    toPairs(toK, k, k + 16, args.headDim >> 3, 16, 32, f32x4.splat(kFactor), f32x4.splat(kFactor), args);
    if (n & 1) {
      toPairs(toV, before, v, args.valueDim >> 2, 16, 16, f32x4.splat(factorBefore), f32x4.splat(factor), args);
      toV += 2 * vStride;
    }
    before = v;
    factorBefore = factor;
    k += kFrom;
    toK += kStride;
    v += vFrom;
  }
  if ((odd + count) & 1) {
    store<f32>(scales, 0, 2 * WEIGHT_BYTES);
    const none = v128.load32_splat(args.constants, ZERO);
    toPairs(toV, before, before, args.valueDim >> 2, 16, 16, f32x4.splat(factorBefore), none, args);
  }
}

/**
 * S = K·Qᵗ of `count` keys; the first of them stands at k, and its scales at `scales`. Where nothing adjusts the scores,
 * S becomes w at once.
 */
export function scoreKeysHalf(
  tile: QueryTile,
  args: AttendArgs,
  s: usize,
  count: i32,
  k: usize,
  kRowStride: usize,
  scales: usize,
): void {
  let q = queries(tile);
  let weights = scales + WEIGHT_BYTES;
  let step: usize = 4;
  if (adjustsScores(args)) {
    weights = args.constants + ZERO;
    step = 0;
  }
  const end = s + <usize>count * LANE_BYTES;
  for (let row = s; row != end; weights += step, row += LANE_BYTES) {
    const weight = v128.load32_splat(weights);
    v128.store(row, weight, 0);
    v128.store(row, weight, 16);
    v128.store(row, weight, 32);
    v128.store(row, weight, 48);
  }
  const dims = dimsOfSum(args);
  for (let d = 0; d < args.headDim; d += dims) {
    const pairs = min(dims, args.headDim - d) >> 1;
    multiplyPairs(s, k, q, count, pairs, tile.vectors, kRowStride, 4, scales, 4, lanes(tile, Q_SCALE));
    k += (<usize>pairs) << 2;
    q += <usize>pairs * LANE_BYTES;
  }
}

/** S → w of `count` keys, after the scores are adjusted. */
export function weighScores(s: usize, count: i32, scales: usize): void {
  const scale = f32x4.splat(LOG2_E);
  for (const end = s + <usize>count * LANE_BYTES; s != end; s += LANE_BYTES) {
    const weight = v128.load32_splat(scales, WEIGHT_BYTES);
    for (let offset: usize = 0; offset != LANE_BYTES; offset += 16) {
      v128.store(s + offset, madd(v128.load(s + offset), scale, weight));
    }
    scales += 4;
  }
}

/** Oᵗ += Vᵗ·P of the `count` keys of one block. */
export function accumulateHalf(
  tile: QueryTile,
  args: AttendArgs,
  p: usize,
  count: i32,
  v: usize,
  vRowStride: usize,
  scales: usize,
): void {
  const one = args.constants + ONE;
  multiplyPairs(tile.o, v, p, args.valueDim, (count + 1) >> 1, tile.vectors, 4, 2 * vRowStride, one, 0, scales);
}

/** The lanes, as bits, that are to be done again in full precision: l is NaN, or 0 though the row sees a key. */
export function lostLanes(tile: QueryTile, args: AttendArgs): i32 {
  let lost = 0;
  for (let lane = 0; lane < tile.vectors << 2; lane++) {
    const l = sumOf(tile, lane);
    if (l != l || (l == 0 && seesAny(tile, args, lane))) lost |= 1 << lane;
  }
  return lost;
}
