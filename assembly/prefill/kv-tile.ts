// One block of query rows over the keys of one step, and over all keys once more where masked values that are not finite got in.
//
// Masked keys are multiplied by a probability of 0. That is right unless the value is NaN or Infinity; then the block comes
// out not finite, and is done again key by key with the value kept away from the lanes that must not see it.

import { Head, begins, ends } from "../args";
import { ALPHA, Block, L, SEEN, clearOutput, forgetKeys, lanes, output, queries } from "../attention/query-tile";
import { gatherKeys } from "../kv/gather";
import { LANE_BYTES } from "../simd/lanes";
import { keptByAny, maskScores, seesAny } from "../attention/mask";
import { PAGE_KEYS } from "../kv/rows";
import { addBias, adjustScores, adjustsScores } from "../attention/scores";
import { softmaxStep } from "../attention/softmax";
import { multiply } from "../simd/gemm";

/** S: the keys of a step, and the rows that a last tile or a last step of four runs into. */
// @ts-ignore: decorator
@inline const S_BYTES: usize = <usize>(PAGE_KEYS + 8) * LANE_BYTES;

/** S, and behind it the powers of expColumn. At least one row of LANES, for α. */
// @ts-ignore: decorator
@inline export const SCORE_BYTES: usize = S_BYTES + <usize>PAGE_KEYS * 16;

/** What one unit of S is worth as a score once it reaches the softmax. */
// @ts-ignore: decorator
@inline export function unit(head: Head): f32 {
  return adjustsScores(head) ? 1 : head.scoreScale;
}

/** One block over the keys [first, end), at most PAGE_KEYS of them; key 0 would stand at k and v. */
export function attendKeys(
  block: Block,
  head: Head,
  s: usize,
  first: i32,
  end: i32,
  k: usize,
  v: usize,
  kRow: usize,
  vRow: usize,
): void {
  if (head.keepMask || head.bias) {
    // Keys that the masks take from every row are not computed where they stand at either end: padding, blocks.
    while (first < end && !keptByAny(block, head, first)) first++;
    while (first < end && !keptByAny(block, head, end - 1)) end--;
  }
  if (first >= end) return;
  const count = end - first;
  scoreKeys(block, head, s, first, count, k + <usize>first * kRow, kRow, false);
  weighKeys(block, head, s, count, v + <usize>first * vRow, vRow);
}

/** One block over `count` keys at k and v that every row sees, and whose places do not matter (gather.ts). */
export function attendPicked(
  block: Block,
  head: Head,
  s: usize,
  count: i32,
  k: usize,
  v: usize,
  kRow: usize,
  vRow: usize,
): void {
  scoreKeys(block, head, s, 0, count, k, kRow, true);
  weighKeys(block, head, s, count, v, vRow);
}

/** S = K·Qᵗ, adjusted, and masked unless the keys were `picked`; key `first` stands at k. */
function scoreKeys(
  block: Block,
  head: Head,
  s: usize,
  first: i32,
  count: i32,
  k: usize,
  kRow: usize,
  picked: bool,
): void {
  multiply(s, k, queries(block), count, head.headDim, block.vectors, head.tall != 0, kRow, 4, false);
  if (adjustsScores(head)) adjustScores(block, head, s, first, count);
  if (picked) return;
  if (head.keepMask || head.bias || first < block.commonFirst || first + count > block.commonEnd) {
    block.masked = 1;
    maskScores(block, head, s, first, count);
  }
}

/** P = exp(S − m'), Oᵗ = α·Oᵗ + Vᵗ·P */
function weighKeys(block: Block, head: Head, s: usize, count: i32, v: usize, vRow: usize): void {
  stepKeys(block, head, s, count);
  const o = output(block, head.headDim);
  multiply(o, v, s, head.valueDim, count, block.vectors, head.tall != 0, 4, vRow, block.steps > 0);
  block.steps++;
}

/** P = exp(S − m'), Oᵗ = α·Oᵗ */
function stepKeys(block: Block, head: Head, s: usize, count: i32): void {
  const rescale = softmaxStep(block, s, s + S_BYTES, count, unit(head), head.constants);
  if (!rescale || block.steps == 0) return;
  let o = output(block, head.headDim);
  for (let vector = 0; vector < block.vectors; vector++) {
    const alpha = v128.load(lanes(block, ALPHA) + ((<usize>vector) << 4));
    const end = o + <usize>head.valueDim * LANE_BYTES;
    for (let at = o; at < end; at += LANE_BYTES) v128.store(at, f32x4.mul(v128.load(at), alpha));
    o += 16;
  }
}

/**
 * Whether the block must be done again with masked values kept away: something came out not finite and something was masked,
 * or a row saw keys and yet has no weight, because all its scores are −Infinity.
 */
export function mustRepeat(block: Block, head: Head): bool {
  if (block.masked) {
    const zero = f32x4.splat(0);
    let tainted = zero; // becomes NaN, and stays so, where anything is not finite
    const o = output(block, head.headDim);
    for (let vector = 0; vector < block.vectors; vector++) {
      let at = o + ((<usize>vector) << 4);
      const end = at + <usize>head.valueDim * LANE_BYTES;
      for (; at < end; at += LANE_BYTES) tainted = f32x4.add(tainted, f32x4.mul(v128.load(at), zero));
    }
    if (v128.any_true(f32x4.ne(tainted, tainted))) return true;
  }
  for (let lane = 0; lane < block.vectors << 2; lane++) {
    if (load<f32>(lanes(block, L) + ((<usize>lane) << 2)) == 0 && seesAny(block, head, lane)) return true;
  }
  return false;
}

/**
 * The block once more, key by key, with 0 in place of every value that a lane does not see, over the keys [fromKey, toKey); k and v take
 * one row each.
 */
export function repeatBlock(block: Block, head: Head, s: usize, k: usize, v: usize): void {
  const seen = s + 6 * LANE_BYTES; // behind the rows of one tile: which lanes see this key
  const seenAny = lanes(block, SEEN);
  if (begins(head)) {
    forgetKeys(block);
    clearOutput(block, head);
    memory.fill(seenAny, 0, LANE_BYTES);
  }
  const end = min(block.end, head.toKey);
  for (let key = max(block.first, head.fromKey); key < end; key++) {
    if (!keptByAny(block, head, key)) continue;
    memory.fill(seen, 0, 4 * LANE_BYTES);
    if (head.bias) addBias(block, head, seen, key, 1);
    maskScores(block, head, seen, key, 1);
    gatherKeys(head, k, v, key, 1);
    scoreKeys(block, head, s, key, 1, k, 0, false);
    stepKeys(block, head, s, 1);
    block.steps++;
    for (let vector = 0; vector < block.vectors; vector++) {
      const at = (<usize>vector) << 4;
      const sees = f32x4.ne(v128.load(seen + at), f32x4.splat(-Infinity));
      v128.store(seenAny + at, v128.or(v128.load(seenAny + at), sees));
      const p = v128.load(s + at);
      let o = output(block, head.headDim) + at;
      for (let column = 0; column < head.valueDim; column++) {
        const weighted = f32x4.mul(p, v128.load32_splat(v + ((<usize>column) << 2)));
        v128.store(o, f32x4.add(v128.load(o), v128.and(weighted, sees)));
        o += LANE_BYTES;
      }
    }
  }
  if (head.sinks || !ends(head)) return;
  // A row whose scores are all −Infinity: −Infinity − −Infinity is NaN. (A sink would be the maximum, and they 0.)
  for (let vector = 0; vector < block.vectors; vector++) {
    const at = (<usize>vector) << 4;
    const l = v128.load(lanes(block, L) + at);
    const lost = v128.and(f32x4.eq(l, f32x4.splat(0)), v128.load(seenAny + at));
    v128.store(lanes(block, L) + at, v128.bitselect(f32x4.splat(NaN), l, lost));
  }
}
