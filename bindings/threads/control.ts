// A call on several threads is a list of kernel calls that do not depend on each other: the items. They stand in a
// table in the shared memory, each as the numbers of its arguments. Whoever is free takes the last one that is left,
// and so on until none is.
//
//     ┌ words [WORDS] ────────────┬ scratch, busy ────┬ results ─────┬ table, f64 ────────────────────────────┐
//     │ LEFT DONE EPOCH KERNEL …  │ 2 × [MAX_THREADS] │ [MAX_ITEMS]  │ [MAX_ITEMS][ITEM_NUMBERS] arguments    │
//     └───────────────────────────┴───────────────────┴──────────────┴────────────────────────────────────────┘
//
// LEFT alone says whether an item is to be had: who lowers it from n > 0 has item n − 1. So a worker that comes late
// finds nothing, or an item of the next call, which is complete by then.
//
// Beside it workers go through the lanes of an asynchronous call (engine/lanes.ts), step by step, as long as LANES has
// their address. The caller clears LANES, and then waits until no worker is busy: a worker says so before it looks.

import type { Kernels } from "../engine/abi.ts";
import { type ThreadKernel, callItem } from "../engine/items.ts";
import { lanesAt, stepLane } from "../engine/lanes.ts";

/** The kernels that take items, by their numbers in the table. */
export const KERNELS = [
  "attend",
  "linear",
  "linearFused",
  "gatherRows",
  "packPanels",
  "scoreRows",
  "normalizeRows",
  "topOfRow",
  "storeRows",
  "mergeRows",
] as const satisfies readonly ThreadKernel[];

/** The most threads of an instance. */
export const MAX_THREADS = 64;
/** The most items of a call. */
export const MAX_ITEMS = 256;
/** The most arguments of an item: those of packPanels and linearFused, one after the other. */
const ITEM_NUMBERS = 25;

/** Items that nobody has taken; 0 or less where there are none. */
export const LEFT = 0;
/** Items that are done. */
export const DONE = 1;
/** Calls so far: workers wait for a change. */
export const EPOCH = 2;
/** Workers that have seen the shared memory. */
export const READY = 3;
/** The kernel of the items, as in KERNELS, and how many arguments they have. */
const KERNEL = 4;
const COUNT = 5;
/** The kernel that is called after it, or −1, and which argument is its first one. */
const NEXT = 6;
const NEXT_AT = 7;
/** The lanes that workers go through when no call is on: their address, or 0. */
export const LANES = 8;
/** How often a worker has left lanes. */
export const LEAVES = 9;
const WORDS = 16;

/**
 * In `results`: what the kernel returned, plus this. Else 0: the item is not done, or the kernel threw. Then the caller
 * does it again.
 */
export const COMPUTED = 1;

const TABLE_AT = (WORDS + 2 * MAX_THREADS + MAX_ITEMS) * 4;
/** Bytes of a control block. */
export const CONTROL_BYTES = TABLE_AT + MAX_ITEMS * ITEM_NUMBERS * 8;

/** The control block at an address. Shared memory is never detached, so the views stay good. */
export class Control {
  readonly words: Int32Array;
  /** Address of the scratch of each thread. */
  readonly scratch: Uint32Array;
  /** 1 for each worker that may be in a step of a lane. */
  readonly busy: Int32Array;
  readonly results: Int32Array;
  readonly table: Float64Array;

  constructor(buffer: ArrayBufferLike, address: number) {
    this.words = new Int32Array(buffer, address, WORDS);
    this.scratch = new Uint32Array(buffer, address + WORDS * 4, MAX_THREADS);
    this.busy = new Int32Array(buffer, address + (WORDS + MAX_THREADS) * 4, MAX_THREADS);
    this.results = new Int32Array(buffer, address + (WORDS + 2 * MAX_THREADS) * 4, MAX_ITEMS);
    this.table = new Float64Array(buffer, address + TABLE_AT, MAX_ITEMS * ITEM_NUMBERS);
  }

  /** Writes the table of a call, as Threads.run is handed it. */
  fill(kernel: ThreadKernel, items: readonly (readonly number[])[], next?: ThreadKernel, nextAt = 0): void {
    const { words, results, table } = this;
    items.forEach((args, item) => {
      table.set(args, item * ITEM_NUMBERS);
      results[item] = 0;
    });
    words[KERNEL] = KERNELS.indexOf(kernel);
    words[COUNT] = items[0]!.length;
    words[NEXT] = next ? KERNELS.indexOf(next) : -1;
    words[NEXT_AT] = nextAt;
  }

  /** Does the items that are left, one after the other. */
  work(kernels: Kernels, thread: number): void {
    for (;;) {
      const item = Atomics.sub(this.words, LEFT, 1) - 1;
      if (item < 0) return;
      try {
        Atomics.store(this.results, item, this.compute(kernels, thread, item) + COMPUTED);
      } catch {
        // The caller computes it again, and gets the error.
      }
      Atomics.add(this.words, DONE, 1);
      Atomics.notify(this.words, DONE);
    }
  }

  /** Goes through the lanes in `memory` that LANES names, until it names them no more or none is left. */
  follow(kernels: Kernels, memory: { readonly buffer: ArrayBufferLike }, thread: number): void {
    const { words, busy } = this;
    if (Atomics.load(words, LANES) === 0) return;
    Atomics.store(busy, thread, 1);
    const address = Atomics.load(words, LANES);
    try {
      if (address !== 0) {
        const lanes = lanesAt(memory.buffer, address >>> 0);
        while (Atomics.load(words, LANES) === address && stepLane(lanes, kernels, thread));
      }
    } catch {
      // The caller does the lane again, and gets the error.
    }
    Atomics.store(busy, thread, 0);
    Atomics.add(words, LEAVES, 1);
    Atomics.notify(words, LEAVES);
  }

  /** What the kernels return for one item. */
  compute(kernels: Kernels, thread: number, item: number): number {
    const { words } = this;
    const at = item * ITEM_NUMBERS;
    const args = this.table.subarray(at, at + words[COUNT]!);
    return callItem(
      kernels,
      this.scratch[thread]!,
      args,
      KERNELS[words[KERNEL]!]!,
      KERNELS[words[NEXT]!],
      words[NEXT_AT],
    );
  }
}
