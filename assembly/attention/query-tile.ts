// One block: LANES rows of q, and all that is known of them while the keys go by.
//
//     ┌───────┬───────────────────────────┬──────────────┬─────────────────────────┐
//     │ Block │ lane arrays, [LANES] each │ Qᵗ [headDim] │ Oᵗ [valueDim +          │
//     │       │ m l alpha … biasRow       │    [LANES]   │    ROWS_OVER][LANES]    │
//     └───────┴───────────────────────────┴──────────────┴─────────────────────────┘
//
// Rows are numbered query by query, the heads of the group within a query: row r is query r / group of head r % group. So a
// group of query heads is simply more rows over the same keys, and the rows of one block stand close together in position.
// Where rows run out, the remaining lanes repeat the last row, all of it: they compute, and store, the same values again.

import { Head } from "../args";
import { LANES, LANE_BYTES, VECTORS, larger, storeTransposed } from "../simd/lanes";
import { exp, log } from "../simd/exp";
import { ROWS_OVER } from "../simd/gemm";


@unmanaged
export class Block {
  /** Keys that some row sees by position: [first, end). */
  first: i32;
  end: i32;
  /** Keys that every row sees by position: [commonFirst, commonEnd). */
  commonFirst: i32;
  commonEnd: i32;
  /** Lanes that hold rows of their own; the rest only repeat the last row. And vectors with such lanes. */
  rows: i32;
  vectors: i32;
  /** Steps of keys that have gone into m, l and O; before the first one O is undefined. */
  steps: i32;
  /** Whether a row has met a key that is masked for it, so that 0·v stood for "not read". */
  masked: i32;
  /** Whether out and lse are written. */
  closed: i32;
}

// Lane arrays, in the order in which they stand.
/** f32: running maximum of the scores, at least −FLT_MAX. */
// @ts-ignore: decorator
@inline export const M: usize = 0;
/** f32: running Σ exp(score − m). */
// @ts-ignore: decorator
@inline export const L: usize = 1;
/** f32: what the last step multiplies O and l by. */
// @ts-ignore: decorator
@inline export const ALPHA: usize = 2;
/** i32: the keys that a row sees by position, [FROM, TO). */
// @ts-ignore: decorator
@inline export const FROM: usize = 3;
// @ts-ignore: decorator
@inline export const TO: usize = 4;
/** i32: i + queryOffset. */
// @ts-ignore: decorator
@inline export const POSITION: usize = 5;
/** f32: ALiBi slope. */
// @ts-ignore: decorator
@inline export const SLOPE: usize = 6;
/** f32: attention sink. */
// @ts-ignore: decorator
@inline export const SINK: usize = 7;
/** Pointers to a row's first float, or byte. */
// @ts-ignore: decorator
@inline export const OUT_ROW: usize = 8;
// @ts-ignore: decorator
@inline export const LSE_ROW: usize = 9;
// @ts-ignore: decorator
@inline export const Q_ROW: usize = 10;
// @ts-ignore: decorator
@inline export const MASK_ROW: usize = 11;
// @ts-ignore: decorator
@inline export const BIAS_ROW: usize = 12;
/** i32: all bits where repeatBlock of step.ts has met a key that the row sees. */
// @ts-ignore: decorator
@inline export const SEEN: usize = 13;
// @ts-ignore: decorator
@inline const LANE_ARRAYS: usize = 14;
// @ts-ignore: decorator
@inline const HEADER_BYTES: usize = 64;

/** The lane array `which` of a block. */
// @ts-ignore: decorator
@inline export function lanes(block: Block, which: usize): usize {
  return changetype<usize>(block) + HEADER_BYTES + which * LANE_BYTES;
}

/** Qᵗ [headDim][LANES] of a block. */
// @ts-ignore: decorator
@inline export function queries(block: Block): usize {
  return lanes(block, LANE_ARRAYS);
}

/** Oᵗ [valueDim, rounded up][LANES] of a block. */
// @ts-ignore: decorator
@inline export function output(block: Block, headDim: i32): usize {
  return queries(block) + <usize>headDim * LANE_BYTES;
}

export function blockBytes(headDim: i32, valueDim: i32): usize {
  return HEADER_BYTES + (LANE_ARRAYS + <usize>headDim + <usize>valueDim + ROWS_OVER) * LANE_BYTES;
}

// @ts-ignore: decorator
@inline function pointerAt(array: usize, lane: i32): usize {
  return load<usize>(array + ((<usize>lane) << 2));
}

/** Opens a block at row `firstRow`: writes its lane arrays, packs its queries, forgets every key. */
export function openBlock(block: Block, head: Head, firstRow: i32): void {
  openLanes(block, head, firstRow);
  packQueries(block, head);
}

/** The lane arrays alone, from row `firstRow` on. */
export function openLanes(block: Block, head: Head, firstRow: i32): void {
  const lastRow = head.seqLenQ * head.group - 1;
  block.rows = min(LANES, lastRow + 1 - firstRow);
  block.vectors = (block.rows + 3) >> 2;
  block.first = i32.MAX_VALUE;
  block.end = 0;
  block.commonFirst = 0;
  block.commonEnd = i32.MAX_VALUE;
  block.closed = 0;
  let i = firstRow / head.group;
  let g = firstRow % head.group;
  for (let lane = 0; lane < LANES; lane++) {
    const position = i + head.queryOffset;
    const from = <i32>max<i64>(<i64>position - head.left, 0);
    const to = <i32>min<i64>(<i64>position + head.right + 1, head.seqLenKv);
    if (from < to) {
      block.first = min(block.first, from);
      block.end = max(block.end, to);
    }
    block.commonFirst = max(block.commonFirst, from);
    block.commonEnd = min(block.commonEnd, to);

    const at = lanes(block, 0) + ((<usize>lane) << 2);
    store<i32>(at + FROM * LANE_BYTES, from);
    store<i32>(at + TO * LANE_BYTES, to);
    store<i32>(at + POSITION * LANE_BYTES, position);
    if (head.alibiSlopes) store<f32>(at + SLOPE * LANE_BYTES, load<f32>(head.alibiSlopes + ((<usize>g) << 2)));
    if (head.sinks) store<f32>(at + SINK * LANE_BYTES, load<f32>(head.sinks + ((<usize>g) << 2)));
    store<usize>(at + OUT_ROW * LANE_BYTES, head.out + <usize>i * head.outRow + <usize>g * head.outHead);
    if (head.lse) store<usize>(at + LSE_ROW * LANE_BYTES, head.lse + ((<usize>i) << 2) + <usize>g * head.lseHead);
    store<usize>(at + Q_ROW * LANE_BYTES, head.q + <usize>i * head.qRow + <usize>g * head.qHead);
    if (head.keepMask)
      store<usize>(at + MASK_ROW * LANE_BYTES, head.keepMask + <usize>i * head.maskRow + <usize>g * head.maskHead);
    if (head.bias)
      store<usize>(at + BIAS_ROW * LANE_BYTES, head.bias + <usize>i * head.biasRow + <usize>g * head.biasHead);

    if (firstRow + lane >= lastRow) continue;
    if (++g == head.group) {
      g = 0;
      i++;
    }
  }
  forgetKeys(block);
}

/** No key has been seen: m = −FLT_MAX, l = 0. */
export function forgetKeys(block: Block): void {
  block.masked = 0;
  block.steps = 0;
  for (let vector = 0; vector < VECTORS; vector++) {
    const at = (<usize>vector) << 4;
    v128.store(lanes(block, M) + at, f32x4.splat(-f32.MAX_VALUE));
    v128.store(lanes(block, L) + at, f32x4.splat(0));
  }
}

/** O = 0 */
export function clearOutput(block: Block, head: Head): void {
  memory.fill(output(block, head.headDim), 0, <usize>head.valueDim * LANE_BYTES);
}

/** Qᵗ[d][lane] = q[lane][d] · queryScale */
function packQueries(block: Block, head: Head): void {
  const headDim = head.headDim;
  const rows = lanes(block, Q_ROW);
  const scale = f32x4.splat(head.queryScale);
  for (let lane = 0; lane < LANES; lane += 4) {
    const r0 = pointerAt(rows, lane);
    const r1 = pointerAt(rows, lane + 1);
    const r2 = pointerAt(rows, lane + 2);
    const r3 = pointerAt(rows, lane + 3);
    let column = queries(block) + ((<usize>lane) << 2);
    let d = 0;
    for (; d + 4 <= headDim; d += 4) {
      const at = (<usize>d) << 2;
      storeTransposed(
        column,
        column + LANE_BYTES,
        column + 2 * LANE_BYTES,
        column + 3 * LANE_BYTES,
        f32x4.mul(v128.load(r0 + at), scale),
        f32x4.mul(v128.load(r1 + at), scale),
        f32x4.mul(v128.load(r2 + at), scale),
        f32x4.mul(v128.load(r3 + at), scale),
      );
      column += 4 * LANE_BYTES;
    }
    for (; d < headDim; d++) {
      const at = (<usize>d) << 2;
      store<f32>(column, load<f32>(r0 + at) * head.queryScale, 0);
      store<f32>(column, load<f32>(r1 + at) * head.queryScale, 4);
      store<f32>(column, load<f32>(r2 + at) * head.queryScale, 8);
      store<f32>(column, load<f32>(r3 + at) * head.queryScale, 12);
      column += LANE_BYTES;
    }
  }
}

/** Closes a block: writes out and lse. `unit` is what one unit of m is worth as a score. */
export function closeBlock(block: Block, head: Head, unit: f32): void {
  if (block.steps == 0) clearOutput(block, head);
  closeLanes(block, head, unit);
  unpackOutput(block, head);
}

/**
 * Folds in the sinks, writes lse, and to ALPHA what O is to be multiplied by.
 *
 *     M = max(m, sink)    l = l·exp(m − M) + exp(sink − M)    out = O·exp(m − M)/l    lse = M + ln l
 *
 * A row that saw no key has l = 0: ALPHA 0, lse −Infinity.
 */
export function closeLanes(block: Block, head: Head, unit: f32): void {
  block.closed = 1;
  const natural = f32x4.splat(unit);
  const lowest = f32x4.splat(-f32.MAX_VALUE);
  const zero = f32x4.splat(0);
  for (let vector = 0; vector < block.vectors; vector++) {
    const at = (<usize>vector) << 4;
    const m = larger(f32x4.mul(v128.load(lanes(block, M) + at), natural), lowest);
    let l = v128.load(lanes(block, L) + at);
    let shrink = f32x4.splat(1);
    if (head.sinks) {
      const sink = v128.load(lanes(block, SINK) + at);
      const top = larger(m, sink);
      shrink = exp(f32x4.sub(m, top), head.constants);
      l = f32x4.add(f32x4.mul(l, shrink), exp(f32x4.sub(sink, top), head.constants));
      v128.store(lanes(block, M) + at, top);
    } else {
      v128.store(lanes(block, M) + at, m);
    }
    v128.store(lanes(block, L) + at, l);
    v128.store(lanes(block, ALPHA) + at, v128.andnot(f32x4.div(shrink, l), f32x4.eq(l, zero)));
  }
  if (head.lse) {
    for (let lane = 0; lane < block.rows; lane++) {
      const at = (<usize>lane) << 2;
      const lse = <f64>load<f32>(lanes(block, M) + at) + log(load<f32>(lanes(block, L) + at));
      store<f32>(pointerAt(lanes(block, LSE_ROW), lane), <f32>lse);
    }
  }
}

/** out[lane][column] = Oᵗ[column][lane] · ALPHA[lane] */
function unpackOutput(block: Block, head: Head): void {
  const valueDim = head.valueDim;
  const rows = lanes(block, OUT_ROW);
  for (let lane = 0; lane < block.vectors << 2; lane += 4) {
    const factors = lanes(block, ALPHA) + ((<usize>lane) << 2);
    const factor = v128.load(factors);
    const r0 = pointerAt(rows, lane);
    const r1 = pointerAt(rows, lane + 1);
    const r2 = pointerAt(rows, lane + 2);
    const r3 = pointerAt(rows, lane + 3);
    let o = output(block, head.headDim) + ((<usize>lane) << 2);
    let column = 0;
    for (; column + 4 <= valueDim; column += 4) {
      const at = (<usize>column) << 2;
      storeTransposed(
        r0 + at,
        r1 + at,
        r2 + at,
        r3 + at,
        f32x4.mul(v128.load(o), factor),
        f32x4.mul(v128.load(o + LANE_BYTES), factor),
        f32x4.mul(v128.load(o + 2 * LANE_BYTES), factor),
        f32x4.mul(v128.load(o + 3 * LANE_BYTES), factor),
      );
      o += 4 * LANE_BYTES;
    }
    for (; column < valueDim; column++) {
      const at = (<usize>column) << 2;
      const x = f32x4.mul(v128.load(o), factor);
      store<f32>(r0 + at, f32x4.extract_lane(x, 0));
      store<f32>(r1 + at, f32x4.extract_lane(x, 1));
      store<f32>(r2 + at, f32x4.extract_lane(x, 2));
      store<f32>(r3 + at, f32x4.extract_lane(x, 3));
      o += LANE_BYTES;
    }
  }
}
