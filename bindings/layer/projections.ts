import { BLOCK_ROWS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { Share, Steps } from "../steps/steps.ts";
import type { PackedLinear } from "./linear.ts";
import { type LinearCall, linearInSteps, runLinear, scratchBytesOf } from "./run-linear.ts";

/** One projection: out = x·Wᵀ + bias. */
export interface Projection {
  linear: PackedLinear;
  /** Address of x, [rows, inFeatures]. */
  x: number;
  /** Address of out, [rows, outFeatures]. */
  out: number;
  rows: number;
}

/**
 * Runs projections side by side, BLOCK_ROWS rows at a time where there is one thread: those of the same x read these
 * rows while they are in the processor's cache. With a `share` they run in steps, one after the other.
 *
 * @param scratch address of {@link projectionBytes}
 * @throws ReferenceError where a weight is disposed
 */
export function* project(
  instance: Instance,
  projections: readonly Projection[],
  scratch: number,
  share?: Share,
): Steps<void> {
  if (share) {
    yield* linearInSteps(
      instance,
      projections.map((projection) => callOf(instance, projection)),
      scratch,
      share,
    );
    return;
  }
  const most = Math.max(...projections.map(({ rows }) => rows));
  const step = instance.pool ? most : BLOCK_ROWS;
  for (let start = 0; start < most; start += step) {
    for (const projection of projections) {
      const count = Math.min(step, projection.rows - start);
      if (count > 0) runLinear(instance, callOf(instance, projection, start, count), scratch);
    }
  }
}

/** Bytes of the scratch of projections. */
export function projectionBytes(instance: Instance, projections: readonly Projection[]): number {
  const bytes = projections.map((one) => scratchBytesOf(instance, callOf(instance, one), one.rows));
  return Math.max(...bytes);
}

/** The call for `rows` rows from `start` on. */
function callOf(
  { arena }: Instance,
  { linear, x, out, rows: all }: Projection,
  start: number = 0,
  rows: number = all,
): LinearCall {
  const { inFeatures, outFeatures } = linear;
  const { panels, bias, group, isInt4, panelBytes } = linear.addressesIn(arena, "weights");
  const [outPtr, xPtr] = [out + start * outFeatures * 4, x + start * inFeatures * 4];
  const biasPtr = bias?.ptr ?? 0;
  return { out: outPtr, x: xPtr, panels, bias: biasPtr, rows, inFeatures, outFeatures, group, isInt4, panelBytes };
}
