// Exact attention without a score matrix (FlashAttention-2, arXiv 2307.08691): blocks of query rows stay, keys and values
// stream past them once, KEYS at a time, through an online softmax.
//
//     for each pass of up to 32 blocks of LANES query rows
//       for each KEYS keys that some row of the pass sees
//         for each block                        all operands of one step are in L1 or L2
//           S  = K·Qᵗ                           tile.ts
//           S  = softcap, ALiBi, bias, masks    scores.ts, mask.ts; only where there are any
//           P  = exp(S − m'), α, l'             softmax.ts
//           Oᵗ = α·Oᵗ + Vᵗ·P                    tile.ts
//       out = Oᵗ/l, lse = m + ln l              block.ts
//
// A few rows of q go to decode.ts, which comes back here where its result is not finite.
//
// Masked keys are multiplied by a probability of 0. That is right unless the value is NaN or Infinity; then the block comes
// out not finite, and is done again key by key with the value kept away from the lanes that must not see it.

import { Head } from "./head";
import { LANES, LANE_BYTES } from "./lanes";
import { multiply } from "./tile";
import { decode, decodes } from "./decode";
import { F32, PAGE_KEYS, gatherRows, keyAddress } from "./rows";
import { softmaxStep } from "./softmax";
import { addBias, adjustScores, adjustsScores } from "./scores";
import { keptByAny, maskScores, seesAny } from "./mask";
import {
  ALPHA,
  Block,
  L,
  blockBytes,
  clearOutput,
  closeBlock,
  forgetKeys,
  lanes,
  openBlock,
  openLanes,
  output,
  queries,
} from "./block";

/** Keys of one step, at most: a step ends where a page does. */
// @ts-ignore: decorator
@inline const KEYS: i32 = PAGE_KEYS;

/** What the blocks of one pass may take together: of the order of a second-level cache, through which they pass in address order. */
// @ts-ignore: decorator
@inline const PASS_BYTES: usize = 1024 * 1024;

/**
 * Blocks of query rows that go through the keys together. The more, the more seldom K and V come from beyond the second-level cache:
 * 8 blocks reach 48, 32 blocks 50.3, 64 blocks 50.9 GFLOP/s at 8 heads of 2048 × 2048 × 128.
 */
function passBlocks(headDim: i32, valueDim: i32, rows: i32): i32 {
  const fit = <i32>(PASS_BYTES / blockBytes(headDim, valueDim));
  return min(max(min(fit, 64), 4), (rows + LANES - 1) / LANES);
}

/**
 * From this many blocks on, a pass copies the K and V of each step together. Rows that are numHeads·headDim floats apart fall on few
 * cache sets: read in place they cost 18 % at 8 heads of 128, the copy costs 2 %.
 */
// @ts-ignore: decorator
@inline const GATHER_BLOCKS: i32 = 3;

/**
 * Up to this many blocks read a step of up to SMALL_BYTES of K and V in place after all, unless its rows stand a multiple of SET_BYTES
 * apart: it stays in L1 by itself, and the copy would cost 4 % at 8×12 heads of 64 × 64 × 64.
 */
// @ts-ignore: decorator
@inline const SMALL_BLOCKS: i32 = 8;
// @ts-ignore: decorator
@inline const SMALL_BYTES: i32 = 32 * 1024;
// @ts-ignore: decorator
@inline const SET_BYTES: usize = 4096;

/** S: KEYS rows, and the rows that a last tile or a last step of four runs into. */
// @ts-ignore: decorator
@inline const SCORE_BYTES: usize = <usize>(KEYS + 8) * LANE_BYTES;

/** Behind S: the powers of expColumn. At least one row of LANES, for α. */
// @ts-ignore: decorator
@inline const POWER_BYTES: usize = <usize>KEYS * 16;

/** Bytes from one gathered row to the next: an odd number of cache lines, so that the rows of a step fall on all sets. */
// @ts-ignore: decorator
@inline function gatheredRow(dim: i32): usize {
  return ((((<usize>dim) << 2) + 63) & ~63) | 64;
}

/** Bytes of scratch for {@link attend} of at most `rows` query rows: O(headDim + valueDim), whatever the lengths. */
export function scratchBytes(headDim: i32, valueDim: i32, rows: i32): usize {
  return (
    SCORE_BYTES +
    POWER_BYTES +
    <usize>max(1, passBlocks(headDim, valueDim, rows)) * blockBytes(headDim, valueDim) +
    <usize>KEYS * (gatheredRow(headDim) + gatheredRow(valueDim))
  );
}

/** out and lse of every query head, KV head by KV head. */
export function attend(head: Head): void {
  assert(head.numKvHeads > 0 && head.group > 0 && head.headDim > 0 && head.valueDim > 0, "dims must be positive");
  assert(head.seqLenQ >= 0 && head.seqLenKv >= 0, "lengths must not be negative");
  assert(head.scoreScale > 0, "scoreScale must be positive");
  assert(head.left >= 0, "left must not be negative");

  if (head.seqLenQ == 0) return;
  attendGroup(head);
  for (let left = head.numKvHeads - 1; left > 0; left--) {
    nextGroup(head);
    attendGroup(head);
  }
}

/** The query heads of one KV head. */
function attendGroup(head: Head): void {
  const rows = head.seqLenQ * head.group;
  if (decodes(head)) {
    // Its few rows of q, S and O take less room than the Qᵗ and Oᵗ of the blocks.
    const block = changetype<Block>(head.scratch);
    openLanes(block, head, 0);
    if (decode(block, head, queries(block))) return;
  }
  for (let row = 0; row < rows;) {
    const count = passBlocks(head.headDim, head.valueDim, rows - row);
    attendPass(head, row, count);
    row += count * LANES;
  }
}

/** Moves the pointers to the next KV head and its query heads. */
function nextGroup(head: Head): void {
  const group = <usize>head.group;
  head.out += group * head.outHead;
  head.q += group * head.qHead;
  head.k += head.kHead;
  head.v += head.vHead;
  if (head.lse) head.lse += group * head.lseHead;
  if (head.keepMask) head.keepMask += group * head.maskHead;
  if (head.bias) head.bias += group * head.biasHead;
  if (head.alibiSlopes) head.alibiSlopes += group << 2;
  if (head.sinks) head.sinks += group << 2;
  if (head.kScales) head.kScales += PAGE_KEYS << 2;
  if (head.vScales) head.vScales += PAGE_KEYS << 2;
}

/** One pass of `count` blocks over the keys, from query row `row` on. */
function attendPass(head: Head, row: i32, count: i32): void {
  const scores = head.scratch;
  const blocks = scores + SCORE_BYTES + POWER_BYTES;
  const bytes = blockBytes(head.headDim, head.valueDim);
  const end = blocks + <usize>count * bytes;
  let firstKey = i32.MAX_VALUE;
  let endKey = 0;
  for (let at = blocks; at < end; at += bytes, row += LANES) {
    const block = changetype<Block>(at);
    openBlock(block, head, row);
    firstKey = min(firstKey, block.first);
    endKey = max(endKey, block.end);
  }

  const gatheredK = end;
  const gatheredV = gatheredK + <usize>KEYS * gatheredRow(head.headDim);
  const stored = head.kType != F32 || head.vType != F32;
  const spread = ((head.kRow | head.vRow) & (SET_BYTES - 1)) != 0;
  const rowBytes = (head.headDim + head.valueDim) << 2;
  for (let key = firstKey; key < endKey;) {
    const keys = min(KEYS - (key % KEYS), endKey - key);
    const small = spread && count <= SMALL_BLOCKS && keys * rowBytes <= SMALL_BYTES;
    const gathers = stored || (count >= GATHER_BLOCKS && !small);
    let k = keyAddress(head, head.k, key, head.kRow);
    let v = keyAddress(head, head.v, key, head.vRow);
    let kRow = head.kRow;
    let vRow = head.vRow;
    if (gathers) {
      gatherKeys(head, gatheredK, gatheredV, key, keys);
      k = gatheredK;
      v = gatheredV;
      kRow = gatheredRow(head.headDim);
      vRow = gatheredRow(head.valueDim);
    }
    // As if key 0 stood in the same array.
    k -= <usize>key * kRow;
    v -= <usize>key * vRow;
    for (let at = blocks; at < end; at += bytes) {
      const block = changetype<Block>(at);
      attendKeys(block, head, scores, max(key, block.first), min(key + keys, block.end), k, v, kRow, vRow);
    }
    key += keys;
  }

  for (let at = blocks; at < end; at += bytes) {
    const block = changetype<Block>(at);
    if (mustRepeat(block, head)) repeatBlock(block, head, scores, gatheredK, gatheredV);
    closeBlock(block, head, unit(head));
  }
}

/** K and V of `keys` keys of one page, from `key` on, as f32 and together. */
function gatherKeys(head: Head, toK: usize, toV: usize, key: i32, keys: i32): void {
  const k = keyAddress(head, head.k, key, head.kRow);
  const v = keyAddress(head, head.v, key, head.vRow);
  const kScales = head.kScales ? keyAddress(head, head.kScales, key, 4) : 0;
  const vScales = head.vScales ? keyAddress(head, head.vScales, key, 4) : 0;
  gatherRows(toK, k, kScales, keys, head.headDim, gatheredRow(head.headDim), head.kRow, head.kType);
  gatherRows(toV, v, vScales, keys, head.valueDim, gatheredRow(head.valueDim), head.vRow, head.vType);
}

/** What one unit of S is worth as a score once it reaches the softmax. */
// @ts-ignore: decorator
@inline function unit(head: Head): f32 {
  return adjustsScores(head) ? 1 : head.scoreScale;
}

/** One block of query rows over the keys [first, end), at most KEYS of them; key 0 would stand at k and v. */
function attendKeys(
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
  scoreKeys(block, head, s, first, count, k + <usize>first * kRow, kRow);
  stepKeys(block, head, s, count);
  const o = output(block, head.headDim);
  multiply(
    o,
    v + <usize>first * vRow,
    s,
    head.valueDim,
    count,
    block.vectors,
    head.tall != 0,
    4,
    vRow,
    block.steps > 0,
  );
  block.steps++;
}

/** S = K·Qᵗ, adjusted and masked; key `first` stands at k. */
function scoreKeys(block: Block, head: Head, s: usize, first: i32, count: i32, k: usize, kRow: usize): void {
  multiply(s, k, queries(block), count, head.headDim, block.vectors, head.tall != 0, kRow, 4, false);
  if (adjustsScores(head)) adjustScores(block, head, s, first, count);
  if (head.keepMask || head.bias || first < block.commonFirst || first + count > block.commonEnd) {
    block.masked = 1;
    maskScores(block, head, s, first, count);
  }
}

/** P = exp(S − m'), Oᵗ = α·Oᵗ */
function stepKeys(block: Block, head: Head, s: usize, count: i32): void {
  const rescale = softmaxStep(block, s, s + SCORE_BYTES, count, unit(head), head.constants);
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
function mustRepeat(block: Block, head: Head): bool {
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

/** The whole block once more, key by key, with 0 in place of every value that a lane does not see; k and v take one row each. */
function repeatBlock(block: Block, head: Head, s: usize, k: usize, v: usize): void {
  const seen = s + 6 * LANE_BYTES; // behind the rows of one tile: which lanes see this key, then which have seen any
  const seenAny = seen + 4 * LANE_BYTES;
  forgetKeys(block);
  clearOutput(block, head);
  memory.fill(seenAny, 0, LANE_BYTES);
  for (let key = block.first; key < block.end; key++) {
    if (!keptByAny(block, head, key)) continue;
    memory.fill(seen, 0, 4 * LANE_BYTES);
    if (head.bias) addBias(block, head, seen, key, 1);
    maskScores(block, head, seen, key, 1);
    gatherKeys(head, k, v, key, 1);
    scoreKeys(block, head, s, key, 1, k, 0);
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
  if (head.sinks) return;
  // A row whose scores are all −Infinity: −Infinity − −Infinity is NaN. (A sink would be the maximum, and they 0.)
  for (let vector = 0; vector < block.vectors; vector++) {
    const at = (<usize>vector) << 4;
    const l = v128.load(lanes(block, L) + at);
    const lost = v128.and(f32x4.eq(l, f32x4.splat(0)), v128.load(seenAny + at));
    v128.store(lanes(block, L) + at, v128.bitselect(f32x4.splat(NaN), l, lost));
  }
}
