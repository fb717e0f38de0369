import type { Kernels, LinearKernels } from "./abi.ts";

/** The kernels that may run on all threads. Done once more, each gives the same; normalizeRows after scoreRows alone. */
export type ThreadKernel =
  | "attend"
  | "linear"
  | "linearFused"
  | "gatherRows"
  | "packPanels"
  | "scoreRows"
  | "normalizeRows"
  | "topOfRow"
  | "storeRows"
  | "mergeRows";

/**
 * Calls a kernel with the arguments of an item, and then `next`, whose arguments are those from argument `at` on. Among
 * them −1 − n stands for the byte n of the scratch.
 *
 * @returns what the last of them returned; 0 where that is nothing
 */
export function callItem(
  kernels: Kernels | LinearKernels,
  scratch: number,
  item: ArrayLike<number>,
  kernel: ThreadKernel,
  next?: ThreadKernel,
  at?: number,
): number {
  const args: number[] = [];
  for (let n = 0; n < item.length; n++) args.push(item[n]! < 0 ? scratch + ~item[n]! : item[n]!);
  const call = kernels as unknown as Record<ThreadKernel, (...args: number[]) => number>;
  // A kernel takes as many as it has, and leaves the rest.
  const result = call[kernel](...args);
  return (next ? call[next](...args.slice(at)) : result) | 0;
}
