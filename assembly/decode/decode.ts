// Attention for a few query rows: decoding, where the work is to read K and V once. Rows of K and V are read as vectors, and the scores
// of a row lie together, so that no lane is idle for want of query rows. From five rows on the tile of tile.ts is faster.
//
//     Head.scratch     S, P [ROWS][PAGE_KEYS]    work of few.ts
//     behind the       q [ROWS][headDim]    O [ROWS][valueDim]    ready q of few.ts    sums of whole.ts
//     lane arrays
//
//     for each step of at most PAGE_KEYS keys
//       S = q·Kᵀ · scale of the key
//       S = softcap, ALiBi, bias, masks
//       P = exp(S − m'), α, l'
//       O = α·O + P·scale of the key·V
//
// Shared with flash.ts: the lane arrays of a block (block.ts), which hold m, l and what is known of each row.

import { Head, begins, ends } from "../args";
import { LOG2_E, exp, expColumn, softcap } from "../simd/exp";
import { ROWS, WORK_BYTES, addRows, readyBytes, readyRows, scoreStored } from "./products";
import { SCORE_ROW } from "./qk";
import { sortEights } from "./pv";
import {
  ALPHA,
  BIAS_ROW,
  Block,
  FROM,
  L,
  M,
  MASK_ROW,
  OUT_ROW,
  POSITION,
  Q_ROW,
  SLOPE,
  TO,
  blockBytes,
  closeLanes,
  lanes,
  openLanes,
  queries,
} from "../attention/query-tile";
import { keptByAny } from "../attention/mask";
import { F16, F32, PAGE_KEYS, keyAddress } from "../kv/rows";
import { SCORE_BYTES } from "../prefill/kv-tile";
import { addedBytes } from "./int8";

/** Whether the kernels here take a head: few rows of q, and whole eights of values in those of K and V. */
// @ts-ignore: decorator
@inline export function decodes(head: Head): bool {
  return head.seqLenQ * head.group <= ROWS && ((head.headDim | head.valueDim) & 7) == 0;
}

/**
 * Attends from all query rows of a head over the keys [fromKey, toKey). False where a masked value that is not finite may have got into
 * the result, a row's scores are all −Infinity, or int8 meets numbers that whole.ts does not take: then nothing is written, and the
 * blocks of flash.ts, which keep masked values away, must do it.
 */
export function decode(block: Block, head: Head): bool {
  assert(
    <usize>ROWS * SCORE_ROW + WORK_BYTES <= SCORE_BYTES,
    "S and the work of few.ts must fit where S of a block does",
  );
  const rows = head.seqLenQ * head.group;
  const scores = head.scratch;
  const work = scores + <usize>ROWS * SCORE_ROW; // of few.ts, and powers of expColumn
  const q = queries(block);
  const o = q + <usize>ROWS * ((<usize>head.headDim) << 2);
  const oRow = (<usize>head.valueDim) << 2;
  const inReady = o + <usize>ROWS * oRow;
  const added = inReady + readyBytes(head.headDim);
  assert(
    added + addedBytes(head.valueDim) <= changetype<usize>(block) + blockBytes(head.headDim, head.valueDim),
    "the rest must fit where Qᵗ and Oᵗ of a block do",
  );
  let ready = q;
  if (begins(head)) {
    openLanes(block, head, 0);
    packRows(block, head, q, rows);
    memory.fill(o, 0, <usize>rows * oRow);
  }
  // f16 and int8 come in one piece.
  if (head.kType != F32) ready = readyRows(inReady, q, rows, head.headDim, head.kType);
  if (!ready) return false;

  // Steps end where pages do.
  const to = min(block.end, head.toKey);
  let end = 0;
  for (let key = max(block.first, head.fromKey); key < to; key = end) {
    end = min(key - (key % PAGE_KEYS) + PAGE_KEYS, to);
    let last = end;
    if (head.keepMask || head.bias) {
      // Padding at either end is not read.
      while (key < last && !keptByAny(block, head, key)) key++;
      while (key < last && !keptByAny(block, head, last - 1)) last--;
    }
    const count = last - key;
    if (count == 0) continue;
    scoreRows(head, scores, ready, work, key, count, rows);
    for (let row = 0; row < rows; row++) {
      const s = scores + <usize>row * SCORE_ROW;
      finishScores(block, head, s, row, key, count);
      const alpha = softmaxRow(block, head, s, work, row, count);
      if (alpha != 1) scaleRow(o + <usize>row * oRow, head.valueDim, alpha);
      if (head.vScales) multiplyRow(s, keyAddress(head, head.vScales, key, 4), count);
    }
    if (!addRows(head, o, scores, work, added, key, count, rows)) return false;
  }
  if (!ends(head)) return true;

  const masked = head.keepMask != 0 || head.bias != 0 || block.first < block.commonFirst || block.end > block.commonEnd;
  for (let row = 0; row < rows; row++) {
    const at = (<usize>row) << 2;
    const l = load<f32>(lanes(block, L) + at);
    const sees = load<i32>(lanes(block, FROM) + at) < load<i32>(lanes(block, TO) + at);
    if (l == 0 && sees) return false;
    if (masked && !isFiniteRow(o + <usize>row * oRow, head.valueDim)) return false;
  }
  closeLanes(block, head, 1);
  for (let row = 0; row < rows; row++) {
    const at = (<usize>row) << 2;
    const factor = f32x4.splat(load<f32>(lanes(block, ALPHA) + at));
    const out = load<usize>(lanes(block, OUT_ROW) + at);
    if (head.vType == F16) sortEights(o + <usize>row * oRow, head.valueDim);
    for (let d: usize = 0; d < oRow; d += 16) {
      v128.store(out + d, f32x4.mul(v128.load(o + <usize>row * oRow + d), factor));
    }
  }
  return true;
}

/** q [rows][headDim] = the rows of q · queryScale */
function packRows(block: Block, head: Head, q: usize, rows: i32): void {
  const scale = f32x4.splat(head.queryScale);
  const bytes = (<usize>head.headDim) << 2;
  for (let row = 0; row < rows; row++) {
    const from = load<usize>(lanes(block, Q_ROW) + ((<usize>row) << 2));
    for (let d: usize = 0; d < bytes; d += 16) v128.store(q + d, f32x4.mul(v128.load(from + d), scale));
    q += bytes;
  }
}

/** S [rows][count] = q·Kᵀ for the keys from `first` on; `q` is as readyRows gives it, `work` is for WORK_BYTES. */
export function scoreRows(head: Head, s: usize, q: usize, work: usize, first: i32, count: i32, rows: i32): void {
  const k = keyAddress(head, head.k, first, head.kRow);
  scoreStored(head, s, q, work, k, count, rows, head.kRow, head.kType);
  if (!head.kScales) return;
  for (let row = 0; row < rows; row++) {
    multiplyRow(s + <usize>row * SCORE_ROW, keyAddress(head, head.kScales, first, 4), count);
  }
}

/** Softcap, ALiBi, bias and masks on the scores of one row, and −Infinity in the rest of the last vector. */
export function finishScores(block: Block, head: Head, s: usize, row: i32, first: i32, count: i32): void {
  const vectors = (count + 3) >> 2;
  if (head.softcap > 0) softcap(s, vectors, head.scoreScale, head.softcap, head.constants);
  else if (head.scoreScale != 1) scaleRow(s, count, head.scoreScale);
  // What follows goes key by key: it is there for few calls, and little beside the products.
  const lane = (<usize>row) << 2;
  if (head.alibiSlopes) {
    const slope = load<f32>(lanes(block, SLOPE) + lane);
    const ahead = load<i32>(lanes(block, POSITION) + lane) - first;
    for (let key = 0; key < count; key++) {
      const at = s + ((<usize>key) << 2);
      store<f32>(at, load<f32>(at) - slope * abs(<f32>(ahead - key)));
    }
  }
  if (head.bias) {
    let bias = load<usize>(lanes(block, BIAS_ROW) + lane) + <usize>first * head.biasKey;
    for (let key = 0; key < count; key++) {
      const at = s + ((<usize>key) << 2);
      const added = load<f32>(bias);
      store<f32>(at, added == -Infinity ? added : load<f32>(at) + added);
      bias += head.biasKey;
    }
  }
  if (head.keepMask) {
    let mask = load<usize>(lanes(block, MASK_ROW) + lane) + <usize>first * head.maskKey;
    for (let key = 0; key < count; key++) {
      if (!load<u8>(mask)) store<f32>(s + ((<usize>key) << 2), -Infinity);
      mask += head.maskKey;
    }
  }
  const from = load<i32>(lanes(block, FROM) + lane);
  const to = load<i32>(lanes(block, TO) + lane);
  hide(s, 0, min(from - first, count));
  hide(s, max(to - first, 0), count);
  hide(s, count, vectors << 2);
}

/** S = −Infinity for the keys [from, to) of a step. */
function hide(s: usize, from: i32, to: i32): void {
  for (; from < to; from++) store<f32>(s + ((<usize>from) << 2), -Infinity);
}

/** P = exp(S − m'), l' = α·l + Σ P of one row; returns α. S is in units of the score. */
function softmaxRow(block: Block, head: Head, s: usize, powers: usize, row: i32, count: i32): f32 {
  const lane = (<usize>row) << 2;
  const mPtr = lanes(block, M) + lane;
  const lPtr = lanes(block, L) + lane;
  const vectors = (count + 3) >> 2;
  const m = load<f32>(mPtr);
  let top = f32x4.splat(m);
  for (let n = 0; n < vectors; n++) top = f32x4.pmax(top, v128.load(s + ((<usize>n) << 4)));
  top = f32x4.pmax(top, v128.shuffle<f32>(top, top, 2, 3, 0, 1));
  top = f32x4.pmax(top, v128.shuffle<f32>(top, top, 1, 0, 3, 2));
  const sum = sum4(expColumn(s, powers, 16, vectors, top, LOG2_E, head.constants));
  const newM = f32x4.extract_lane(top, 0);
  const alpha: f32 = m == newM ? 1 : f32x4.extract_lane(exp(f32x4.splat(m - newM), head.constants), 0);
  store<f32>(mPtr, newM);
  store<f32>(lPtr, load<f32>(lPtr) * alpha + sum);
  return alpha;
}

// @ts-ignore: decorator
@inline function sum4(x: v128): f32 {
  const pairs = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.add(pairs, v128.shuffle<f32>(pairs, pairs, 1, 0, 3, 2)), 0);
}

/** row ← row · factor, in whole vectors. */
function scaleRow(row: usize, count: i32, factor: f32): void {
  for (const end = row + ((<usize>count) << 2); row < end; row += 16) {
    v128.store(row, f32x4.mul(v128.load(row), f32x4.splat(factor)));
  }
}

/** row ← row · factors, element by element, in whole vectors. */
function multiplyRow(row: usize, factors: usize, count: i32): void {
  for (const end = row + ((<usize>count) << 2); row < end; row += 16) {
    v128.store(row, f32x4.mul(v128.load(row), v128.load(factors)));
    factors += 16;
  }
}

function isFiniteRow(row: usize, count: i32): bool {
  let tainted = f32x4.splat(0); // becomes NaN where anything is not finite
  for (const end = row + ((<usize>count) << 2); row < end; row += 16) {
    tainted = f32x4.add(tainted, f32x4.mul(v128.load(row), f32x4.splat(0)));
  }
  return !v128.any_true(f32x4.ne(tainted, tainted));
}
