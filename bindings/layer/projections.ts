import { BLOCK_ROWS, F32 } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { NARROW_SLACK, asF32, narrow } from "../engine/widen.ts";
import type { CallScope } from "../memory/call-scope.ts";
import { widenedBytes } from "../memory/staged-rows.ts";
import { type Share, type Steps, fractionAt } from "../steps/steps.ts";
import { rowsOfPiece } from "./in-pieces.ts";
import type { PackedLinear } from "./packed-linear.ts";
import { type LinearCall, linearInSteps, runLinear, scratchBytesOf } from "./run-linear.ts";

/** One projection: out = x·Wᵀ + bias. */
export interface Projection {
  linear: PackedLinear;
  /** Address of x, [rows, inFeatures], and the number of its type. */
  x: number;
  xType: number;
  /** Address of out, [rows, outFeatures], and the number of its type. */
  out: number;
  outType: number;
  rows: number;
}

/** The memory that projections need besides. */
export interface ProjectionMemory {
  scratch: number;
  /** How many rows are taken at once: all, unless some floats have 16 bits. */
  rows: number;
  /** Room for as many rows of x, and of out, that have 16 bits, as f32. */
  x: number;
  out: number;
}

/** Reserves the memory of projections. */
export function reserveProjections(
  instance: Instance,
  scope: CallScope,
  projections: readonly Projection[],
): ProjectionMemory {
  let [scratch, xWidth, outWidth] = [0, 0, 0];
  for (const one of projections) {
    scratch = Math.max(scratch, scratchBytesOf(instance, callOf(instance, one, one.x, one.out, one.rows), one.rows));
    if (one.xType !== F32) xWidth = Math.max(xWidth, one.linear.inFeatures);
    if (one.outType !== F32) outWidth = Math.max(outWidth, one.linear.outFeatures);
  }
  const width = Math.max(xWidth, outWidth);
  const most = Math.max(...projections.map(({ rows }) => rows));
  const rows = width ? Math.min(most, rowsOfPiece(width)) : most;
  return {
    scratch: scope.reserve(scratch),
    rows,
    x: xWidth && scope.reserve(widenedBytes(rows * xWidth)),
    out: outWidth && scope.reserve(rows * outWidth * 4 + NARROW_SLACK),
  };
}

/**
 * Runs projections side by side, BLOCK_ROWS rows at a time where there is one thread: those of the same x read these
 * rows while they are in the processor's cache. With a `share` they run in steps, one after the other.
 *
 * @throws ReferenceError where a weight is disposed
 */
export function* project(
  instance: Instance,
  projections: readonly Projection[],
  memory: ProjectionMemory,
  share?: Share,
): Steps<void> {
  if (share && !memory.x && !memory.out) {
    const calls = projections.map((one) => callOf(instance, one, one.x, one.out, one.rows));
    yield* linearInSteps(instance, calls, memory.scratch, share);
    return;
  }
  const most = Math.max(...projections.map(({ rows }) => rows));
  const step = Math.min(memory.rows, instance.pool || share ? most : BLOCK_ROWS);
  const total = share ? workOf(projections) : 0;
  let done = 0;
  for (let start = 0; start < most; start += step) {
    for (const one of projections) {
      const { linear, outType } = one;
      const { inFeatures, outFeatures } = linear;
      const count = Math.min(step, one.rows - start);
      if (count <= 0) continue;
      const x = asF32(instance, one.x, start * inFeatures, count * inFeatures, one.xType, memory.x);
      const out = outType === F32 ? one.out + start * outFeatures * 4 : memory.out;
      const call = callOf(instance, one, x, out, count);
      if (share) {
        const from = fractionAt(share, done, total);
        done += workOf([{ linear, rows: count }]);
        yield* linearInSteps(instance, [call], memory.scratch, { from, to: fractionAt(share, done, total) });
      } else runLinear(instance, call, memory.scratch);
      if (outType !== F32) {
        narrow(instance, one.out + start * outFeatures * 2, out, count, outFeatures, outFeatures, outType);
      }
    }
  }
  if (share) yield share.to;
}

/** Multiply-adds of projections. */
export function workOf(projections: readonly Pick<Projection, "linear" | "rows">[]): number {
  return projections.reduce((sum, { linear, rows }) => sum + rows * linear.inFeatures * linear.outFeatures, 0);
}

/** The call for `rows` rows of f32 at x, to `out`. */
function callOf({ arena }: Instance, { linear }: Projection, x: number, out: number, rows: number): LinearCall {
  const { inFeatures, outFeatures } = linear;
  const { panels, bias, group, isInt4, panelBytes } = linear.addressesIn(arena, "weights");
  // Written out, as a spread takes V8 far longer.
  return {
    out,
    x,
    panels,
    bias: bias?.ptr ?? 0,
    rows,
    inFeatures,
    outFeatures,
    outStride: outFeatures * 4,
    group,
    isInt4,
    panelBytes,
  };
}
