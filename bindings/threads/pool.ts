import type { Kernels } from "../engine/abi.ts";
import type { Threads } from "../engine/instance.ts";
import {
  CONTROL_BYTES,
  COUNT,
  Control,
  DONE,
  EPOCH,
  FAILED,
  KERNEL,
  KERNELS,
  LEFT,
  PENDING,
  READY,
  SCRATCH_AT,
  TRUE,
} from "./control.ts";
import { type WorkerHandle, startWorker } from "./host.ts";
import type { Start } from "./worker.ts";

export { CONTROL_BYTES };

/** The body of a worker, which build.js writes here. */
declare const HEED_WORKER: string;

/** Within this many milliseconds every worker must have answered. */
const START_MS = 1000;
/** Looks at DONE before the caller sleeps: some microseconds. */
const SPINS = 2000;
/** A worker that finishes no item for so long, or for 20 times the caller's longest, is taken for dead. */
const PATIENCE_MS = 2000;

interface Worker extends WorkerHandle {
  isReady: boolean;
}

/** Workers on the memory of an instance, and what the caller does with them. */
export class Pool implements Threads {
  readonly #kernels: Kernels;
  readonly #control: Control;
  #workers: Worker[] = [];
  /** Whether this thread may sleep. */
  #sleeps = true;

  private constructor(kernels: Kernels, control: Control) {
    this.#kernels = kernels;
    this.#control = control;
  }

  /**
   * Starts `threads − 1` workers, and waits until each has answered and the caller sees what they have written.
   *
   * @param start the module, its memory, and where the control block stands
   * @param url the file of the worker, where the page wants one
   * @returns the pool, or why there is none
   */
  static async start(
    kernels: Kernels,
    start: Omit<Start, "thread">,
    threads: number,
    url: string | URL | undefined,
  ): Promise<Pool | string> {
    const control = new Control(start.memory.buffer, start.control);
    const pool = new Pool(kernels, control);
    const reason = await new Promise<string | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(`a worker gave no answer within ${START_MS} ms`), START_MS);
      let waiting = threads - 1;
      const settle = (reason?: string): void => {
        clearTimeout(timer);
        resolve(reason);
      };
      try {
        for (let thread = 1; thread < threads; thread++) {
          const worker: Worker = {
            isReady: false,
            ...startWorker(HEED_WORKER, url, {
              ready: () => {
                worker.isReady = true;
                if (--waiting === 0) settle();
              },
              ended: (reason) => {
                pool.#workers = pool.#workers.filter((other) => other !== worker);
                settle(reason);
              },
            }),
          };
          pool.#workers.push(worker);
          worker.send({ ...start, thread } satisfies Start);
        }
      } catch (error) {
        settle(String(error));
      }
    });
    // What a worker has written must be seen here: that is what shared memory is for, and not every host keeps to it.
    const seen = Atomics.load(control.words, READY);
    if (reason === undefined && seen === threads - 1) return pool;
    pool.dispose();
    return reason ?? "the host does not show what a worker has written";
  }

  /** The threads that take items, the caller among them. */
  get threads(): number {
    return this.#workers.length + 1;
  }

  /**
   * Calls a kernel once for each item, on all threads, and returns when every item is done.
   *
   * @param scratchAt which argument is the scratch, of which each thread has its own
   * @param scratch its address for each thread, the caller's first
   * @param items the arguments for each item, at most MAX_ITEMS; the last ones are taken first
   * @returns whether every call returned something else than 0
   */
  run(
    kernel: (typeof KERNELS)[number],
    scratchAt: number,
    scratch: readonly number[],
    items: readonly (readonly number[])[],
  ): boolean {
    const control = this.#control;
    const { words, results } = control;
    control.scratch.set(scratch);
    items.forEach((args, item) => control.write(item, args));
    words[KERNEL] = KERNELS.indexOf(kernel);
    words[COUNT] = items[0]!.length;
    words[SCRATCH_AT] = scratchAt;
    Atomics.store(words, DONE, 0);
    Atomics.store(words, LEFT, items.length);
    Atomics.add(words, EPOCH, 1);
    Atomics.notify(words, EPOCH, items.length - 1);
    const start = performance.now();
    control.work(this.#kernels, 0);
    this.#join(items.length, Math.max(PATIENCE_MS, 20 * (performance.now() - start)));
    let isTrue = true;
    for (let item = 0; item < items.length; item++) {
      const result = results[item]!;
      const again = result === PENDING || result === FAILED;
      if (!(again ? control.compute(this.#kernels, 0, item) : result === TRUE)) isTrue = false;
    }
    return isTrue;
  }

  /** Waits until `count` items are done. Where none is for `patience` milliseconds, the workers are ended. */
  #join(count: number, patience: number): void {
    const { words } = this.#control;
    for (let spin = 0; spin < SPINS; spin++) if (Atomics.load(words, DONE) >= count) return;
    let last = performance.now();
    for (let done = -1; ;) {
      const now = Atomics.load(words, DONE);
      if (now >= count) return;
      if (now !== done) last = performance.now();
      else if (performance.now() - last > patience) {
        this.dispose();
        return;
      }
      done = now;
      this.#sleep(done);
    }
  }

  /** Sleeps until DONE is no longer `done`, for 10 ms at most; where the host forbids it, returns at once. */
  #sleep(done: number): void {
    if (!this.#sleeps) return;
    try {
      Atomics.wait(this.#control.words, DONE, done, 10);
    } catch {
      this.#sleeps = false;
    }
  }

  /** Ends the workers. Calling it again does nothing; calls go on with one thread. */
  dispose(): void {
    for (const worker of this.#workers.splice(0)) worker.end();
  }
}
