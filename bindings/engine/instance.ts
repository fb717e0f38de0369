import { Arena } from "../memory/arena.ts";
import { withScope } from "../memory/call-scope.ts";
import { checkFloats, checkFloatsOf } from "../memory/data.ts";
import { Output, checkApart, optionalOutput } from "../memory/output.ts";
import type { Kernels, LinearKernels } from "./abi.ts";
import { keepsTile6x2 } from "./features.ts";
import type { ThreadKernel } from "./items.ts";

/** As how many multiply-adds a float counts that is converted, packed or weighed, rather than multiplied by many. */
export const WORK_OF_FLOAT = 8;

/** Threads on the memory of an instance (threads/pool.ts). */
export interface Threads {
  readonly threads: number;
  /** The numbers of the workers that are alive, each from 1 on. */
  readonly workers: readonly number[];
  /** Into how many items a call of that many multiply-adds is best cut; 0 where one thread is as good. */
  itemsFor(work: number): number;
  /**
   * Calls a kernel once for each item, on all threads, and returns when every item is done. An item whose worker died
   * is done again from its start.
   *
   * @param scratchBytes of the scratch, of which each thread has its own; 0 for none
   * @param items the arguments for each item, 1 to MAX_ITEMS, with the scratch as callItem says; the last ones are taken
   * first
   * @param next called after `kernel` for the same item; its arguments are those from argument `at` on
   * @returns what the last kernel returned for each item; undefined where there is no memory for the scratch: then
   * nothing has been done
   */
  run(
    kernel: ThreadKernel,
    scratchBytes: number,
    items: readonly (readonly number[])[],
    next?: ThreadKernel,
    at?: number,
  ): number[] | undefined;
  /** Lets the workers go through the lanes at `address` (lanes.ts), until the next call of `pause`, `run` or `follow`. */
  follow(address: number): void;
  /** Waits until no worker is in a step of a lane. */
  pause(): void;
  /** Whether a worker goes through lanes now. If so, sleeps until one leaves them, for a millisecond at most. */
  rest(): boolean;
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

  /** The kernels of the module of `linear`, from its first use on: see linearKernels of module.ts. */
  fused: LinearKernels | undefined;
  /** What that module is made from, a function where it is inside the package. */
  fusedSource: (() => WebAssembly.Module | Uint8Array) | undefined;

  /** For entries of the package that bring a module: this copy of the code alone knows the Tensors of the instance. */
  readonly own = { Output, checkApart, checkFloats, checkFloatsOf, optionalOutput, withScope };

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
