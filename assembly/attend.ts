// Exact attention without a score matrix (FlashAttention-2, arXiv 2307.08691): blocks of query rows stay, keys and values
// stream past them once, KEYS at a time, through an online softmax.
//
//     for each pass of up to 64 blocks of LANES query rows
//       for each KEYS keys that some row of the pass sees
//         for each block                        all operands of one step are in L1 or L2
//           S  = K·Qᵗ                           step.ts by tile.ts
//           S  = softcap, ALiBi, bias, masks    scores.ts, mask.ts; only where there are any
//           P  = exp(S − m'), α, l'             softmax.ts
//           Oᵗ = α·Oᵗ + Vᵗ·P                    tile.ts
//       out = Oᵗ/l, lse = m + ln l              block.ts
//
// Keys that a keepMask takes from every row are left out before all that (gather.ts). A few rows of q go to decode.ts, which comes back
// here where it has no result.

import { Head, begins, ends } from "./args";
import { Block, blockBytes, closeBlock, openBlock } from "./attention/query-tile";
import { decode, decodes } from "./decode/decode";
import { fetchRows, gatherKept, gatherKeys, gatheredRow, picksKeys } from "./kv/gather";
import { LANES } from "./simd/lanes";
import { F32, PAGE_KEYS, keyAddress } from "./kv/rows";
import { SCORE_BYTES, attendKeys, attendPicked, mustRepeat, repeatBlock, unit } from "./prefill/kv-tile";

/** Keys of one step, at most: a step ends where a page does. */
// @ts-ignore: decorator
@inline const KEYS: i32 = PAGE_KEYS;

/** What the blocks of one pass may take together: of the order of a second-level cache, through which they pass in address order. */
// @ts-ignore: decorator
@inline const PASS_BYTES: usize = 1280 * 1024;

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

// Scratch: S of the step, the K and V that it gathers, then the blocks of a pass; where K and V come in pieces, those of every KV head.

/** What stands before the blocks. */
function stepBytes(headDim: i32, valueDim: i32): usize {
  return SCORE_BYTES + <usize>KEYS * (gatheredRow(headDim) + gatheredRow(valueDim));
}

/** The blocks of a pass. */
function passBytes(headDim: i32, valueDim: i32, rows: i32): usize {
  return <usize>max(1, passBlocks(headDim, valueDim, rows)) * blockBytes(headDim, valueDim);
}

/**
 * Bytes of scratch for {@link attend} of at most `rows` query rows: O(headDim + valueDim), whatever the lengths. `heads` is 1, or, for K
 * and V in pieces, the number of KV heads.
 */
export function scratchBytes(headDim: i32, valueDim: i32, rows: i32, heads: i32): usize {
  return stepBytes(headDim, valueDim) + <usize>heads * passBytes(headDim, valueDim, rows);
}

/**
 * out and lse of every query head, KV head by KV head. Where K and V come in pieces, in the order of the keys, they are written with the
 * last one, and all rows of a KV head must go in one pass: there are at most 64. False where some have not been written, since masked
 * values kept from being finite what came of it: then all pieces must come once more, with `careful`.
 */
export function attend(head: Head): bool {
  assert(head.numKvHeads > 0 && head.group > 0 && head.headDim > 0 && head.valueDim > 0, "dims must be positive");
  assert(head.seqLenQ >= 0 && head.seqLenKv >= 0, "lengths must not be negative");
  assert(head.scoreScale > 0, "scoreScale must be positive");
  assert(head.left >= 0, "left must not be negative");
  assert(head.fromKey % KEYS == 0 && (ends(head) || head.toKey % KEYS == 0), "pieces must begin and end with pages");

  if (head.seqLenQ == 0) return true;
  const rows = head.seqLenQ * head.group;
  const whole = begins(head) && ends(head);
  assert(whole || rows <= 64, "pieces are for a single pass");
  let blocks = head.scratch + stepBytes(head.headDim, head.valueDim);
  let written = attendGroup(head, blocks, rows, whole);
  for (let left = head.numKvHeads - 1; left > 0; left--) {
    nextGroup(head);
    if (!whole) blocks += passBytes(head.headDim, head.valueDim, rows);
    if (!attendGroup(head, blocks, rows, whole)) written = false;
  }
  return written;
}

/** The query heads of one KV head. */
function attendGroup(head: Head, blocks: usize, rows: i32, whole: bool): bool {
  if (!head.careful && decodes(head)) {
    // Its few rows of q and O take less room than the Qᵗ and Oᵗ of the block.
    if (decode(changetype<Block>(blocks), head)) return true;
    if (!whole) return false;
  }
  let written: bool = true;
  for (let row = 0; row < rows;) {
    const count = passBlocks(head.headDim, head.valueDim, rows - row);
    if (!attendPass(head, row, count, blocks, whole)) written = false;
    row += count * LANES;
  }
  return written;
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

/** One pass of `count` blocks over the keys of this call, from query row `row` on. */
function attendPass(head: Head, row: i32, count: i32, blocks: usize, whole: bool): bool {
  const scores = head.scratch;
  const gatheredK = scores + SCORE_BYTES;
  const gatheredV = gatheredK + <usize>KEYS * gatheredRow(head.headDim);
  const bytes = blockBytes(head.headDim, head.valueDim);
  const end = blocks + <usize>count * bytes;
  let firstKey = i32.MAX_VALUE;
  let endKey = 0;
  // Keys that every row sees by position.
  let commonFirst = 0;
  let commonEnd = i32.MAX_VALUE;
  for (let at = blocks; at < end; at += bytes, row += LANES) {
    const block = changetype<Block>(at);
    if (begins(head) && !(head.careful && block.closed)) openBlock(block, head, row);
    firstKey = min(firstKey, block.first);
    endKey = max(endKey, block.end);
    commonFirst = max(commonFirst, block.commonFirst);
    commonEnd = min(commonEnd, block.commonEnd);
  }
  endKey = head.careful ? 0 : min(endKey, head.toKey);

  const stored = head.kType != F32 || head.vType != F32;
  const spread = ((head.kRow | head.vRow) & (SET_BYTES - 1)) != 0;
  const rowBytes = (head.headDim + head.valueDim) << 2;
  const picks = picksKeys(head);
  let keys = 0;
  for (let key = max(firstKey, head.fromKey); key < endKey; key += keys) {
    keys = min(KEYS - (key % KEYS), endKey - key);
    let k = gatheredK;
    let v = gatheredV;
    let kRow = gatheredRow(head.headDim);
    let vRow = gatheredRow(head.valueDim);
    if (picks && commonFirst <= key && key + keys <= commonEnd) {
      const kept = gatherKept(head, k, v, key, key + keys);
      for (let at = blocks; at < end && kept > 0; at += bytes) {
        attendPicked(changetype<Block>(at), head, scores, kept, k, v, kRow, vRow);
      }
      continue;
    }
    const small = spread && count <= SMALL_BLOCKS && keys * rowBytes <= SMALL_BYTES;
    if (stored || (count >= GATHER_BLOCKS && !small)) {
      gatherKeys(head, k, v, key, keys);
    } else {
      k = keyAddress(head, head.k, key, head.kRow);
      v = keyAddress(head, head.v, key, head.vRow);
      kRow = head.kRow;
      vRow = head.vRow;
      fetchRows(k, keys, head.headDim, kRow, scores);
      fetchRows(v, keys, head.valueDim, vRow, scores);
    }
    // As if key 0 stood in the same array.
    k -= <usize>key * kRow;
    v -= <usize>key * vRow;
    for (let at = blocks; at < end; at += bytes) {
      const block = changetype<Block>(at);
      attendKeys(block, head, scores, max(key, block.first), min(key + keys, block.end), k, v, kRow, vRow);
    }
  }

  if (!head.careful && !ends(head)) return true;
  let written = true;
  for (let at = blocks; at < end; at += bytes) {
    const block = changetype<Block>(at);
    if (block.closed) continue;
    if (head.careful || mustRepeat(block, head)) {
      if (!head.careful && !whole) {
        written = false;
        continue;
      }
      repeatBlock(block, head, scores, gatheredK, gatheredV);
    }
    if (ends(head)) closeBlock(block, head, unit(head));
  }
  return written;
}
