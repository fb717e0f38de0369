import { BLOCK_ROWS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { PackedLinear } from "./linear.ts";

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
 * Runs projections side by side, BLOCK_ROWS rows at a time: those of the same x read these rows while they are in the
 * processor's cache.
 *
 * @param scratch address of linearScratchBytes
 * @throws ReferenceError where a weight is disposed
 */
export function project(
  { arena, kernels, useTile6x2 }: Instance,
  projections: readonly Projection[],
  scratch: number,
): void {
  const most = Math.max(...projections.map(({ rows }) => rows));
  for (let start = 0; start < most; start += BLOCK_ROWS) {
    for (const { linear, x, out, rows } of projections) {
      const count = Math.min(BLOCK_ROWS, rows - start);
      if (count <= 0) continue;
      const { inFeatures, outFeatures } = linear;
      const { panels, bias } = linear.addressesIn(arena, "weights");
      const [outStride, xStride] = [outFeatures * 4, inFeatures * 4];
      const dims = [count, inFeatures, outFeatures, outStride, xStride] as const;
      const [outPtr, xPtr] = [out + start * outStride, x + start * xStride];
      kernels.linear(outPtr, xPtr, panels, bias?.ptr ?? 0, scratch, ...dims, useTile6x2);
    }
  }
}
