// One query tile over one kv tile: the keys of at most one page, K and V as f32, in place or gathered.
//
//     S  = K·Qᵗ                       simd/gemm.ts
//     S  = softcap, ALiBi, bias       attention/scores.ts, only where there are any
//     S  = −Infinity where masked     attention/mask.ts, only where a row may not see a key
//     P  = exp(S − m'), α, l'         attention/softmax.ts
//     Oᵗ = α·Oᵗ + Vᵗ·P                simd/gemm.ts

import { AttendArgs } from "../args";
import { keptByAny, maskScores } from "../attention/mask";
import { ALPHA, P_SCALES, QueryTile, clearOutput, lanes, queries } from "../attention/query-tile";
import { adjustScores, adjustsScores } from "../attention/scores";
import { softmaxStep } from "../attention/softmax";
import { SPAN_BITS, enterSpan, keysOfBlock, scaleTotals } from "../attention/totals";
import { PAGE_KEYS } from "../kv/rows";
import { LANE_BYTES } from "../simd/lanes";
import { multiply } from "../simd/gemm";
import { WEIGHT_BYTES, accumulateHalf, scoreKeysHalf, weighScores } from "./half";

/** S of a kv tile, and the rows that a last register tile or a last four of keys runs into. */
// @ts-ignore: decorator
@inline const S_BYTES: usize = <usize>(PAGE_KEYS + 8) * LANE_BYTES;

/** S, and behind it the powers of expColumn; these are at least one row of LANES, for α. */
// @ts-ignore: decorator
@inline export const SCORE_BYTES: usize = S_BYTES + <usize>PAGE_KEYS * 16;

/** What one unit of S is worth as a score once it reaches the softmax. */
// @ts-ignore: decorator
@inline export function scoreUnit(args: AttendArgs): f32 {
  return adjustsScores(args) ? 1 : args.scoreScale;
}

/**
 * One query tile over the keys [first, end), at most PAGE_KEYS of them; key 0 would stand at k and v.
 *
 *   head   0; or the keys were picked (canPickKeys of kv/gather.ts): every row sees them, wherever they stand, and the
 *          first `head` of them are in one block
 *   scales 0; or K and V are integers (half.ts), and the scale of key 0 of K would stand here
 */
export function attendKvTile(
  tile: QueryTile,
  args: AttendArgs,
  s: usize,
  first: i32,
  end: i32,
  head: i32,
  k: usize,
  v: usize,
  kRowStride: usize,
  vRowStride: usize,
  scales: usize,
): void {
  const picked = head != 0;
  if (!picked && (args.keepMask || args.bias)) {
    // Keys at either end that the masks take from every row are not computed: padding, block-sparse masks.
    while (first < end && !keptByAny(tile, args, first)) first++;
    while (first < end && !keptByAny(tile, args, end - 1)) end--;
  }
  if (first >= end) return;
  // Keys of V stand in pairs; the one before the first is masked, as no row sees it.
  if (scales) first &= ~1;
  const count = end - first;
  enterSpan(tile, first >> SPAN_BITS);
  if (scales) scales += (<usize>first) << 2;
  scoreKeys(tile, args, s, first, count, k + <usize>first * kRowStride, kRowStride, picked, scales);
  if (!picked) head = keysOfBlock(first, count);
  softmaxAndAccumulate(tile, args, s, count, head, v + <usize>first * vRowStride, vRowStride, scales);
}

/** S = K·Qᵗ, adjusted, and masked unless the keys were `picked`; key `first` stands at k. */
export function scoreKeys(
  tile: QueryTile,
  args: AttendArgs,
  s: usize,
  first: i32,
  count: i32,
  k: usize,
  kRowStride: usize,
  picked: bool,
  scales: usize,
): void {
  if (scales) scoreKeysHalf(tile, args, s, count, k, kRowStride, scales);
  else multiply(s, k, queries(tile), count, args.headDim, tile.vectors, args.useTile6x2 != 0, kRowStride, 4, 0);
  if (adjustsScores(args)) {
    adjustScores(tile, args, s, first, count);
    if (scales) weighScores(s, count, scales);
  }
  if (picked) return;
  if (args.keepMask || args.bias || first < tile.commonFirst || first + count > tile.commonEnd) {
    tile.masked = 1;
    maskScores(tile, args, s, first, count);
  }
}

/** P = exp(S − m'), Oᵗ = α·Oᵗ + Vᵗ·P, block by block, of which the first has `head` keys. */
function softmaxAndAccumulate(
  tile: QueryTile,
  args: AttendArgs,
  s: usize,
  count: i32,
  head: i32,
  v: usize,
  vRowStride: usize,
  scales: usize,
): void {
  softmaxAndRescale(tile, args, s, count, head, scales ? scales + 2 * WEIGHT_BYTES : 0);
  for (let pScales = lanes(tile, P_SCALES); count > 0; head = count, pScales += LANE_BYTES) {
    const isFirst = tile.steps == 0;
    if (scales) {
      if (isFirst) clearOutput(tile, args);
      accumulateHalf(tile, args, s, head, v, vRowStride, pScales);
    } else {
      multiply(tile.o, v, s, args.valueDim, head, tile.vectors, args.useTile6x2 != 0, 4, vRowStride, -i32(!isFirst));
    }
    tile.steps++;
    s += <usize>head * LANE_BYTES;
    v += <usize>head * vRowStride;
    count -= head;
  }
}

/** P = exp(S − m'), Oᵗ = α·Oᵗ; `head` keys are in the first block, `weights` as for softmaxStep. */
export function softmaxAndRescale(
  tile: QueryTile,
  args: AttendArgs,
  s: usize,
  count: i32,
  head: i32,
  weights: usize,
): void {
  const rescale = softmaxStep(tile, s, s + S_BYTES, count, head, scoreUnit(args), args.constants, weights);
  if (!rescale || tile.steps == 0) return;
  let o = tile.o;
  let total = tile.totals;
  for (let vector = 0; vector < tile.vectors; vector++) {
    const alpha = v128.load(lanes(tile, ALPHA) + ((<usize>vector) << 4));
    const end = o + <usize>args.valueDim * LANE_BYTES;
    for (let row = o; row != end; row += LANE_BYTES) v128.store(row, f32x4.mul(v128.load(row), alpha));
    if (tile.hasTotals) scaleTotals(total, 2 * LANE_BYTES, args.valueDim, alpha);
    o += 16;
    total += 32;
  }
}
