// The probabilities themselves, for chosen query rows: the scores of a row, which decode.ts makes and forgets, are kept.
//
//     weigh           for each ROWS chosen rows
//                       for each step of at most PAGE_KEYS keys
//                         S = q·Kᵀ · scale, softcap, ALiBi, bias, masks     decode.ts
//                         W[step] = S, m = max(m, max S)
//     normalizeRows   for each chosen row
//                       P = exp(W − m)    l = Σ P + exp(sink − m)    W = P/l
//     addRows         for the sums over rows or heads
//
// Rows are numbered as in block.ts: row r is query r / group of head r % group. Each has a block of its own, in lane 0.

import { Head } from "../args";
import { Block, FROM, SINK, TO, blockBytes, lanes, openLanes } from "../attention/query-tile";
import { finishScores, scoreRows } from "../decode/decode";
import { LOG2_E, exp64, expColumn, log } from "../simd/exp";
import { ROWS, WORK_BYTES, readyBytes, readyRows, scoreStored } from "../decode/products";
import { SCORE_ROW } from "../decode/qk";
import { larger } from "../simd/lanes";
import { keeps } from "../attention/mask";
import { F32, PAGE_KEYS, gatherRows, keyAddress } from "../kv/rows";

/** A chosen row. TypeScript writes it (bindings/attention-weights/options.ts); every field has four bytes. */
@unmanaged
export class Chosen {
  row: i32;
  /** [seqLenKv] floats. */
  weights: usize;
  /** One float, or 0. */
  entropy: usize;
  /** The lse that settles the denominator, if the call has one. */
  lse: f32;
  /** The largest score so far, from −FLT_MAX on. */
  m: f32;
  /** Σ |q_d·k_d| · scale of the key whose score that is; with an lse alone. */
  size: f32;
}

// @ts-ignore: decorator
@inline const CHOSEN_BYTES: usize = offsetof<Chosen>();

// @ts-ignore: decorator
@inline function chosenAt(rows: usize, r: i32): Chosen {
  return changetype<Chosen>(rows + <usize>r * CHOSEN_BYTES);
}

/** Bytes of `Head.scratch` here: lane arrays, S, the work of few.ts and the keys of one step as f32; `headDim` is a multiple of 8. */
export function weighBytes(headDim: i32): usize {
  const gathered = ((<usize>PAGE_KEYS) << 2) * <usize>headDim;
  return <usize>ROWS * (blockBytes(0, 0) + SCORE_ROW) + WORK_BYTES + readyBytes(headDim) + gathered;
}

/**
 * The scores of chosen rows for the keys [first, end), as they reach the softmax; −Infinity where a key is masked.
 *
 *   rows   [count] of Chosen; writes weights[first … end), raises m
 *   q      [count][headDim] = the rows of q · queryScale, 0 beyond `dim`
 *   head   headDim is `dim` rounded up to a multiple of 8, scratch has weighBytes(headDim); out, lse, q and v are not used
 *   sized  whether to keep `size`
 */
export function weigh(
  head: Head,
  rows: usize,
  q: usize,
  count: i32,
  dim: i32,
  first: i32,
  end: i32,
  sized: bool,
): void {
  assert((head.headDim & 7) == 0 && dim > head.headDim - 8 && dim <= head.headDim, "headDim must be dim rounded up");
  assert(0 <= first && first <= end && end <= head.seqLenKv, "keys must be keys of the head");
  const qRow = (<usize>head.headDim) << 2;
  for (let r = 0; r < count; r += ROWS) {
    const few = min(ROWS, count - r);
    weighFew(head, rows + <usize>r * CHOSEN_BYTES, q + <usize>r * qRow, few, dim, first, end, sized);
  }
}

function weighFew(head: Head, rows: usize, q: usize, count: i32, dim: i32, first: i32, end: i32, sized: bool): void {
  const blocks = head.scratch;
  const bytes = blockBytes(0, 0);
  const scores = blocks + <usize>ROWS * bytes;
  const work = scores + <usize>ROWS * SCORE_ROW;
  const gathered = work + WORK_BYTES + readyBytes(head.headDim);
  // The keys that some row sees by position.
  let low = end;
  let high = first;
  for (let r = 0; r < count; r++) {
    const block = changetype<Block>(blocks + <usize>r * bytes);
    openLanes(block, head, chosenAt(rows, r).row);
    const from = max(load<i32>(lanes(block, FROM)), first);
    const to = min(load<i32>(lanes(block, TO)), end);
    if (from >= to) continue;
    low = min(low, from);
    high = max(high, to);
  }
  high = max(low, high);

  const asStored = dim == head.headDim || head.kType != F32;
  const ready = asStored ? readyRows(work + WORK_BYTES, q, count, head.headDim, head.kType) : 0;
  // Steps end where pages do.
  for (let key = low; key < high;) {
    const keys = min(PAGE_KEYS - (key % PAGE_KEYS), high - key);
    if (ready) scoreRows(head, scores, ready, work, key, keys, count);
    else scoreGathered(head, scores, q, work, gathered, key, keys, dim, count);
    for (let r = 0; r < count; r++) {
      const s = scores + <usize>r * SCORE_ROW;
      const chosen = chosenAt(rows, r);
      finishScores(changetype<Block>(blocks + <usize>r * bytes), head, s, 0, key, keys);
      memory.copy(chosen.weights + ((<usize>key) << 2), s, (<usize>keys) << 2);
      const top = largest(s, keys, chosen.m);
      if (top <= chosen.m) continue;
      chosen.m = top;
      if (sized) chosen.size = sizeOf(head, q + <usize>r * ((<usize>head.headDim) << 2), gathered, s, top, key, dim);
    }
    key += keys;
  }

  for (let r = 0; r < count; r++) {
    const w = chosenAt(rows, r).weights;
    fill(w + ((<usize>first) << 2), low - first, -Infinity);
    fill(w + ((<usize>high) << 2), end - high, -Infinity);
  }
}

/** S of rows that few.ts cannot read as they are: copied as f32, with zeros behind. */
function scoreGathered(
  head: Head,
  s: usize,
  q: usize,
  work: usize,
  gathered: usize,
  first: i32,
  count: i32,
  dim: i32,
  rows: i32,
): void {
  const row = (<usize>head.headDim) << 2;
  const k = keyAddress(head, head.k, first, head.kRow);
  const scales = head.kScales ? keyAddress(head, head.kScales, first, 4) : 0;
  gatherRows(gathered, k, scales, count, dim, row, head.kRow, head.kType);
  const used = (<usize>dim) << 2;
  for (let key = 0; key < count; key++) memory.fill(gathered + <usize>key * row + used, 0, row - used);
  scoreStored(head, s, q, work, gathered, count, rows, row, F32);
}

/** The largest of m and [count] scores, of which the last vector is whole; NaN is passed over. */
function largest(s: usize, count: i32, m: f32): f32 {
  let top = f32x4.splat(m);
  for (const end = s + ((<usize>count) << 2); s < end; s += 16) top = larger(top, v128.load(s));
  top = larger(top, v128.shuffle<f32>(top, top, 2, 3, 0, 1));
  return f32x4.extract_lane(larger(top, v128.shuffle<f32>(top, top, 1, 0, 3, 2)), 0);
}

/** Σ |q_d·k_d| · scale of the key whose score is `top`, one of those in s, whose first is that of key `first`. */
function sizeOf(head: Head, q: usize, gathered: usize, s: usize, top: f32, first: i32, dim: i32): f32 {
  while (load<f32>(s) != top) {
    s += 4;
    first++;
  }
  const scales = head.kScales ? keyAddress(head, head.kScales, first, 4) : 0;
  gatherRows(gathered, keyAddress(head, head.k, first, head.kRow), scales, 1, dim, 0, 0, head.kType);
  let sum: f32 = 0;
  for (let d: usize = 0; d < (<usize>dim) << 2; d += 4) sum += abs(load<f32>(q + d) * load<f32>(gathered + d));
  return sum * head.scoreScale;
}

/**
 * The softmax of chosen rows over all seqLenKv keys, in place. A row that sees no key becomes 0; one that sees NaN, or only −Infinity,
 * becomes NaN where it sees, 0 elsewhere.
 *
 *   rows    [count] of Chosen, as `weigh` left them; writes weights and entropy
 *   hasLse  whether the denominators are those of Chosen.lse
 */
export function normalizeRows(head: Head, rows: usize, count: i32, dim: i32, hasLse: bool): void {
  for (let r = 0; r < count; r++) normalizeRow(head, chosenAt(rows, r), dim, hasLse);
}

function normalizeRow(head: Head, chosen: Chosen, dim: i32, hasLse: bool): void {
  const block = changetype<Block>(head.scratch);
  const scratch = head.scratch + blockBytes(0, 0);
  openLanes(block, head, chosen.row);
  const from = load<i32>(lanes(block, FROM));
  const to = max(from, load<i32>(lanes(block, TO)));
  const w = chosen.weights;
  const seen = w + ((<usize>from) << 2);
  const end = w + ((<usize>to) << 2);
  fill(w, min(from, head.seqLenKv), 0);
  if (to < head.seqLenKv) fill(end, head.seqLenKv - max(to, 0), 0);
  if (from == to) {
    if (chosen.entropy) store<f32>(chosen.entropy, 0);
    return;
  }

  // P = exp(S − m); in f64 from step to step, so that equal terms do not add up rounding.
  const sink = load<f32>(lanes(block, SINK));
  const m = head.sinks != 0 && sink > chosen.m ? sink : chosen.m;
  let sum: f64 = 0;
  let dot: f64 = 0; // Σ P·(S − m)
  for (let at = seen; at < end; at += SCORE_ROW) {
    const keys = <i32>(min(end - at, SCORE_ROW) >> 2);
    if (chosen.entropy) distances(scratch, at, keys, m);
    sum += expStep(at, scratch + SCORE_ROW, keys, m, head.constants);
    if (chosen.entropy) dot += product(scratch, at, keys);
  }
  let l = head.sinks ? sum + exp64(<f64>sink - <f64>m) : sum;

  if (hasLse && l > 0) {
    // Another order of the same sums may be off by this: a given lse as close is taken for l itself, and the row sums to 1.
    const off = <f64>f32.EPSILON * (sqrt(<f64>dim) * <f64>chosen.size + 4 * (1 + abs(<f64>chosen.lse)));
    const apart = <f64>chosen.lse - (<f64>m + log(l));
    if (!(abs(apart) <= off)) l = exp64(<f64>chosen.lse - <f64>m);
  }
  if (l > 0) {
    divideRow(seen, to - from, <f32>l);
    if (chosen.entropy) store<f32>(chosen.entropy, <f32>((log(l) * sum - dot) / l));
  } else {
    let sees = false;
    for (let key = from; key < to; key++) {
      const kept = keeps(block, head, 0, key);
      if (kept) sees = true;
      store<f32>(w + ((<usize>key) << 2), kept ? NaN : 0);
    }
    if (chosen.entropy) store<f32>(chosen.entropy, sees ? NaN : 0);
  }
}

/** x ← exp(x − m) on [count] floats, and their sum. `scratch` is for [count] floats and a vector. */
function expStep(x: usize, scratch: usize, count: i32, m: f32, constants: usize): f64 {
  const top = f32x4.splat(m);
  const whole = count >> 2;
  let sum = sum4(expColumn(x, scratch, 16, whole, top, LOG2_E, constants));
  const rest = (<usize>(count & 3)) << 2;
  if (rest) {
    const tail = x + ((<usize>whole) << 4);
    v128.store(scratch, f32x4.splat(-Infinity));
    memory.copy(scratch, tail, rest);
    sum += sum4(expColumn(scratch, scratch + 16, 16, 1, top, LOG2_E, constants));
    memory.copy(tail, scratch, rest);
  }
  return sum;
}

/** to = max(x − m, −104) of [count] floats: below, exp is 0, and 0·distance is to be 0. */
function distances(to: usize, x: usize, count: i32, m: f32): void {
  for (const end = x + ((<usize>count) << 2); x < end; x += 4) {
    const distance = load<f32>(x) - m;
    store<f32>(to, distance < -104 ? -104 : distance);
    to += 4;
  }
}

/** Σ a·b of [count] floats. */
function product(a: usize, b: usize, count: i32): f64 {
  let sum: f64 = 0;
  for (const end = a + ((<usize>count) << 2); a < end; a += 4) {
    sum += <f64>load<f32>(a) * <f64>load<f32>(b);
    b += 4;
  }
  return sum;
}

// @ts-ignore: decorator
@inline function sum4(x: v128): f64 {
  return (
    <f64>f32x4.extract_lane(x, 0) +
    <f64>f32x4.extract_lane(x, 1) +
    (<f64>f32x4.extract_lane(x, 2) + <f64>f32x4.extract_lane(x, 3))
  );
}

/** row ← row / divisor on [count] floats. */
export function divideRow(row: usize, count: i32, divisor: f32): void {
  const end = row + ((<usize>count) << 2);
  for (; row + 16 <= end; row += 16) v128.store(row, f32x4.div(v128.load(row), f32x4.splat(divisor)));
  for (; row < end; row += 4) store<f32>(row, load<f32>(row) / divisor);
}

/** row = x on [count] floats. */
function fill(row: usize, count: i32, x: f32): void {
  const end = row + ((<usize>max(count, 0)) << 2);
  for (; row + 16 <= end; row += 16) v128.store(row, f32x4.splat(x));
  for (; row < end; row += 4) store<f32>(row, x);
}

/** to[key] += Σ weights[key] of the chosen rows, for [length] keys. */
export function addRows(to: usize, rows: usize, count: i32, length: i32): void {
  const bytes = (<usize>length) << 2;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    let sum = f32x4.splat(0);
    for (let r = 0; r < count; r++) sum = f32x4.add(sum, v128.load(chosenAt(rows, r).weights + at));
    v128.store(to + at, f32x4.add(v128.load(to + at), sum));
  }
  for (; at < bytes; at += 4) {
    let sum: f32 = 0;
    for (let r = 0; r < count; r++) sum += load<f32>(chosenAt(rows, r).weights + at);
    store<f32>(to + at, load<f32>(to + at) + sum);
  }
}
