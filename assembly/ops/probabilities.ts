// The probabilities of chosen rows, from the scores that score-rows.ts kept:
//
//     P = exp(W − m)    l = Σ P + exp(sink − m)    W = P/l
//
// and their sums over rows or heads.

import { AttendArgs } from "../args";
import { keeps } from "../attention/mask";
import { BLOCK_KEYS } from "../attention/totals";
import { FROM, QueryTile, SINK, TO, lanes, openLanes, queryTileBytes } from "../attention/query-tile";
import { SCORE_ROW_BYTES } from "../decode/qk";
import { PAGE_KEYS } from "../kv/rows";
import { LOG2_E, exp64, expColumn, log } from "../simd/exp";
import { ScoreRow, fill, rowAt } from "./score-rows";

/**
 * The softmax of chosen rows over all seqLenKv keys, in place. A row that sees no key becomes 0; one that sees NaN, or
 * only −Infinity, becomes NaN where it sees, 0 elsewhere.
 *
 *   args     those of one KV head, as for scoreRows
 *   scratch  scoreRowsBytes(headDim) bytes, overwritten
 *   rows     [count] of ScoreRow, as scoreRows left them; writes weights and entropy
 *   hasLse   whether the denominators are those of ScoreRow.lse
 */
export function normalizeRows(args: AttendArgs, scratch: usize, rows: usize, count: i32, dim: i32, hasLse: bool): void {
  for (let r = 0; r < count; r++) normalizeRow(args, scratch, rowAt(rows, r), dim, hasLse);
}

function normalizeRow(args: AttendArgs, scratch: usize, row: ScoreRow, dim: i32, hasLse: bool): void {
  const tile = changetype<QueryTile>(scratch);
  const entropy = row.entropy;
  const work = scratch + <usize>queryTileBytes(0, 0);
  openLanes(tile, args, 0, row.row, 0);
  const from = load<i32>(lanes(tile, FROM));
  const to = max(from, load<i32>(lanes(tile, TO)));
  const w = row.weights;
  const seen = w + ((<usize>from) << 2);
  const end = w + ((<usize>to) << 2);
  fill(w, min(from, args.seqLenKv), 0);
  fill(end, args.seqLenKv - to, 0);
  if (from == to) {
    if (entropy) store<f32>(entropy, 0);
    return;
  }

  // P = exp(S − m); in f64 from page to page, so that equal terms do not add up rounding.
  const sink = load<f32>(lanes(tile, SINK));
  const m = args.sinks != 0 && sink > row.m ? sink : row.m;
  let sum: f64 = 0;
  let dot: f64 = 0; // Σ P·(S − m)
  let s = seen;
  for (let left = to - from; left > 0; left -= PAGE_KEYS) {
    const keys = min(left, PAGE_KEYS);
    if (entropy) distances(work, s, keys, m);
    sum += expRow(s, work + SCORE_ROW_BYTES, keys, m, args.constants);
    if (entropy) dot += product(work, s, keys);
    s += SCORE_ROW_BYTES;
  }
  let l = args.sinks ? sum + exp64(<f64>sink - <f64>m) : sum;

  if (hasLse && l > 0) {
    const lse = <f64>row.lse;
    // Another order of the same sums may be off by this: a given lse as close is taken for l itself, and the row sums
    // to 1.
    const off = <f64>f32.EPSILON * (sqrt(<f64>dim) * <f64>row.magnitude + 4 * (1 + abs(lse)));
    const apart = lse - (<f64>m + log(l));
    if (!(abs(apart) <= off)) l = exp64(lse - <f64>m);
  }
  if (l > 0) {
    divideRow(seen, to - from, <f32>l);
    if (entropy) store<f32>(entropy, <f32>((log(l) * sum - dot) / l));
  } else {
    let sees = false;
    for (let key = from; key < to; key++) {
      const kept = keeps(tile, args, 0, key);
      if (kept) sees = true;
      store<f32>(w + ((<usize>key) << 2), kept ? NaN : 0);
    }
    if (entropy) store<f32>(entropy, sees ? NaN : 0);
  }
}

/** x ← exp(x − m) on [count] floats, and their sum. `scratch` is for [count] floats and a vector. */
function expRow(x: usize, scratch: usize, count: i32, m: f32, constants: usize): f64 {
  const top = f32x4.splat(m);
  const whole = count >> 2;
  let sum = sumLanes64(expColumn(x, scratch, 16, whole, whole, top, LOG2_E, constants));
  const rest = (<usize>(count & 3)) << 2;
  if (rest) {
    const tail = x + ((<usize>whole) << 4);
    v128.store(scratch, f32x4.splat(-Infinity));
    memory.copy(scratch, tail, rest);
    sum += sumLanes64(expColumn(scratch, scratch + 16, 16, 1, 1, top, LOG2_E, constants));
    memory.copy(tail, scratch, rest);
  }
  return sum;
}

/** to = max(x − m, −104) of [count] floats: below, exp is 0, and 0·distance is to be 0. */
function distances(to: usize, x: usize, count: i32, m: f32): void {
  for (const end = x + ((<usize>count) << 2); x != end; x += 4) {
    const distance = load<f32>(x) - m;
    store<f32>(to, distance < -104 ? -104 : distance);
    to += 4;
  }
}

/** Σ a·b of [count] floats. */
function product(a: usize, b: usize, count: i32): f64 {
  let sum: f64 = 0;
  for (const end = a + ((<usize>count) << 2); a != end; a += 4) {
    sum += <f64>load<f32>(a) * <f64>load<f32>(b);
    b += 4;
  }
  return sum;
}

/** (x₀ + x₁) + (x₂ + x₃) in f64. */
// @ts-ignore: decorator
@inline function sumLanes64(x: v128): f64 {
  return (
    <f64>f32x4.extract_lane(x, 0) +
    <f64>f32x4.extract_lane(x, 1) +
    (<f64>f32x4.extract_lane(x, 2) + <f64>f32x4.extract_lane(x, 3))
  );
}

/** row ← row / divisor on [count] floats. */
export function divideRow(row: usize, count: i32, divisor: f32): void {
  for (const end = row + ((<usize>(count & ~3)) << 2); row != end; row += 16) {
    v128.store(row, f32x4.div(v128.load(row), f32x4.splat(divisor)));
  }
  for (const end = row + ((<usize>(count & 3)) << 2); row != end; row += 4) store<f32>(row, load<f32>(row) / divisor);
}

/**
 * to[key] += Σ weights[key] of the chosen rows, for [length] keys; BLOCK_KEYS rows are summed up from zero. `low` is 0,
 * or [length] floats, to which what rounding takes from `to` is added.
 */
export function sumRows(to: usize, low: usize, rows: usize, count: i32, length: i32): void {
  const whole = (<usize>(length & ~3)) << 2;
  for (let first = 0; first < count; first += BLOCK_KEYS) {
    const end = min(first + BLOCK_KEYS, count);
    for (let offset: usize = 0; offset != whole; offset += 16) {
      let sum = f32x4.splat(0);
      for (let r = first; r < end; r++) sum = f32x4.add(sum, v128.load(rowAt(rows, r).weights + offset));
      const old = v128.load(to + offset);
      const raised = f32x4.add(old, sum);
      v128.store(to + offset, raised);
      if (low) {
        // What the addition has lost, exactly (Knuth's two-sum).
        const part = f32x4.sub(raised, old);
        const lost = f32x4.add(f32x4.sub(old, f32x4.sub(raised, part)), f32x4.sub(sum, part));
        v128.store(low + offset, f32x4.add(v128.load(low + offset), lost));
      }
    }
  }
  // The last keys one by one: what follows belongs to another row.
  for (let offset = whole; offset != (<usize>length) << 2; offset += 4) {
    let sum: f64 = load<f32>(to + offset);
    for (let r = 0; r < count; r++) sum += load<f32>(rowAt(rows, r).weights + offset);
    const rounded = <f32>sum;
    store<f32>(to + offset, rounded);
    if (low) store<f32>(low + offset, load<f32>(low + offset) + <f32>(sum - rounded));
  }
}
