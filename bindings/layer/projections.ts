import { BLOCK_ROWS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { PackedLinear } from "./linear.ts";
import { runLinear } from "./run-linear.ts";

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
 * rows while they are in the processor's cache.
 *
 * @param scratch address of linearScratchBytes
 * @throws ReferenceError where a weight is disposed
 */
export function project(instance: Instance, projections: readonly Projection[], scratch: number): void {
  const most = Math.max(...projections.map(({ rows }) => rows));
  const step = instance.pool ? most : BLOCK_ROWS;
  for (let start = 0; start < most; start += step) {
    for (const { linear, x, out, rows } of projections) {
      const count = Math.min(step, rows - start);
      if (count <= 0) continue;
      const { inFeatures, outFeatures } = linear;
      const { panels, bias } = linear.addressesIn(instance.arena, "weights");
      const [outPtr, xPtr] = [out + start * outFeatures * 4, x + start * inFeatures * 4];
      const call = { out: outPtr, x: xPtr, panels, bias: bias?.ptr ?? 0, rows: count, inFeatures, outFeatures };
      runLinear(instance, call, scratch);
    }
  }
}
