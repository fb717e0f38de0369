import type { Instance } from "../engine/instance.ts";

/** Computes items: kernel calls that do not depend on each other, of which several threads may do some each. */
export class Items {
  /** How many are best computed at once: two for each thread, so that none waits long for the last one. */
  readonly width: number;
  readonly #instance: Instance;
  readonly #kernel: "attend" | "linear";
  readonly #scratchAt: number;
  readonly #scratchBytes: number;
  readonly #scratch: number;

  /** `scratchAt` is which argument is the scratch, `scratch` the address of that of this thread. */
  constructor(
    instance: Instance,
    kernel: "attend" | "linear",
    scratchAt: number,
    scratchBytes: number,
    scratch: number,
  ) {
    const { pool } = instance;
    this.width = pool && pool.threads > 1 ? 2 * pool.threads : 1;
    this.#instance = instance;
    this.#kernel = kernel;
    this.#scratchAt = scratchAt;
    this.#scratchBytes = scratchBytes;
    this.#scratch = scratch;
  }

  /**
   * Calls the kernel for each item: a list of arguments, of which that for the scratch is filled in.
   *
   * @returns what it returned for each
   */
  compute(items: readonly number[][]): unknown[] {
    const { pool, kernels } = this.#instance;
    if (pool && items.length > 1) {
      const returned = pool.run(this.#kernel, this.#scratchAt, this.#scratchBytes, items);
      if (returned) return returned;
    }
    const call = kernels as unknown as Record<"attend" | "linear", (...args: number[]) => unknown>;
    return items.map((item) => {
      item[this.#scratchAt] = this.#scratch;
      return call[this.#kernel](...item);
    });
  }
}
