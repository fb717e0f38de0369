import type { Instance } from "../engine/instance.ts";
import { linearKernels } from "../engine/module.ts";
import { type ThreadKernel, callItem } from "../engine/items.ts";

/** How many items are best computed at once: four for each thread, so that none waits long for the last one. */
export function itemsAtOnce({ pool }: Instance): number {
  return pool && pool.threads > 1 ? 4 * pool.threads : 1;
}

/**
 * Calls a kernel for each item, on all threads where there are several.
 *
 * @param items as for Threads.run; −1 stands for the scratch
 * @param scratch the address of that of this thread
 * @returns what the kernel returned for each
 */
export function computeItems(
  instance: Instance,
  kernel: ThreadKernel,
  scratch: number,
  scratchBytes: number,
  items: readonly number[][],
): number[] {
  const { pool } = instance;
  const returned = pool && items.length > 1 ? pool.run(kernel, scratchBytes, items) : undefined;
  const kernels = kernel === "linearFused" ? linearKernels(instance) : instance.kernels;
  return returned ?? items.map((item) => callItem(kernels, scratch, item, kernel));
}
