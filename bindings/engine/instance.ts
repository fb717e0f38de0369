import { Arena } from "../memory/arena.ts";
import type { Kernels } from "./abi.ts";
import { keepsTile6x2 } from "./features.ts";

/** Threads on the memory of an instance (threads/pool.ts). */
export interface Threads {
  readonly threads: number;
  itemsFor(work: number): number;
  run(
    kernel: "attend" | "linear",
    scratchAt: number,
    scratchBytes: number,
    items: readonly (readonly number[])[],
  ): number[] | undefined;
  dispose(): void;
}

/** The kernels, and the memory that they work on: what every function of one instance is handed. */
export class Instance {
  readonly kernels: Kernels;
  readonly arena: Arena;
  /** Where the table of constants stands, which every kernel reads. */
  readonly constants: number;
  /** Whether the engine keeps the 6 × 2 tile of assembly/simd/gemm.ts in registers. */
  readonly useTile6x2: boolean;

  /** Workers on the same memory, where there are any. */
  pool: Threads | undefined;
  /** Why there are none although they were asked for. */
  threadsReason: string | undefined;

  constructor(kernels: Kernels, memory: WebAssembly.Memory) {
    this.kernels = kernels;
    this.arena = new Arena(memory, kernels.heapBase());
    this.constants = this.arena.allocate(kernels.constantBytes());
    kernels.writeConstants(this.constants);
    this.useTile6x2 = keepsTile6x2();
  }
}
