import type { Kernels } from "../engine/abi.ts";
import type { Instance, Threads } from "../engine/instance.ts";
import type { ThreadKernel } from "../engine/items.ts";
import type { Arena } from "../memory/arena.ts";
import { COMPUTED, CONTROL_BYTES, Control, DONE, EPOCH, LANES, LEAVES, LEFT, MAX_ITEMS, READY } from "./control.ts";
import { type WorkerHandle, startWorker } from "./host.ts";
import type { Start } from "./worker.ts";

/** The body of a worker, which build.js writes here. */
declare const HEED_WORKER: string;

/** Within this many milliseconds every worker must have answered. */
const START_MS = 1000;
/** Looks at DONE before the caller sleeps: some microseconds. */
const SPINS = 2000;
/** A worker that finishes no item for so long, or for 20 times the caller's longest, is taken for dead. */
const PATIENCE_MS = 2000;

/** Multiply-adds of a call from which threads pay: about 0.3 ms on one. */
const LEAST_WORK = 2 ** 22;
/** Items for each thread, so that none waits long for the last one. */
const ITEMS_PER_THREAD = 4;

interface Worker extends WorkerHandle {
  /** Its number: 1 and up, since the caller is 0. */
  readonly thread: number;
}

/** Workers on the memory of an instance, and what the caller does with them. */
export class Pool implements Threads {
  readonly #arena: Arena;
  readonly #kernels: Kernels;
  readonly #control: Control;
  #workers: Worker[] = [];
  /** Whether this thread may sleep. */
  #sleeps = true;

  private constructor({ arena, kernels, fused }: Instance, control: Control) {
    this.#arena = arena;
    this.#kernels = { ...kernels, ...fused };
    this.#control = control;
  }

  /**
   * Starts `threads − 1` workers, and waits until each has answered and the caller sees what they have written.
   *
   * @param modules the build, and the module of `linear` where the instance has it
   * @param url the file of the worker, where the page wants one
   * @returns the pool, or why there is none
   */
  static async start(
    instance: Instance,
    modules: Start["modules"],
    threads: number,
    url: string | URL | undefined,
  ): Promise<Pool | string> {
    const { arena } = instance;
    const address = arena.allocate(CONTROL_BYTES);
    const { memory } = arena;
    const control = new Control(memory.buffer, address);
    const pool = new Pool(instance, control);
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
            thread,
            ...startWorker(HEED_WORKER, url, {
              ready: () => {
                if (--waiting === 0) settle();
              },
              ended: (reason) => {
                pool.#workers = pool.#workers.filter((other) => other !== worker);
                settle(reason);
              },
            }),
          };
          pool.#workers.push(worker);
          worker.send({ modules, memory, control: address, thread } satisfies Start);
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

  get workers(): readonly number[] {
    return this.#workers.map(({ thread }) => thread);
  }

  /** Into how many items a call of that many multiply-adds is best cut; 0 where one thread is as good. */
  itemsFor(work: number): number {
    return this.threads > 1 && work >= LEAST_WORK ? Math.min(MAX_ITEMS, this.threads * ITEMS_PER_THREAD) : 0;
  }

  /** Calls a kernel once for each item, on all threads, and returns when every item is done: see Threads. */
  run(
    kernel: ThreadKernel,
    scratchBytes: number,
    items: readonly (readonly number[])[],
    next?: ThreadKernel,
    at?: number,
  ): number[] | undefined {
    let scratch: number[];
    try {
      scratch = this.#arena.allocateMany(scratchBytes, scratchBytes && this.threads);
    } catch {
      return undefined;
    }
    const control = this.#control;
    const { words, results } = control;
    try {
      this.pause();
      // The numbers of workers that have died are no longer given.
      [0, ...this.workers].forEach((thread, i) => (control.scratch[thread] = scratch[i] ?? 0));
      control.fill(kernel, items, next, at);
      Atomics.store(words, DONE, 0);
      Atomics.store(words, LEFT, items.length);
      Atomics.add(words, EPOCH, 1);
      Atomics.notify(words, EPOCH, items.length - 1);
      const start = performance.now();
      control.work(this.#kernels, 0);
      this.#join(DONE, (done) => done >= items.length, Math.max(PATIENCE_MS, 20 * (performance.now() - start)));
      return items.map((_, item) =>
        results[item]! >= COMPUTED ? results[item]! - COMPUTED : control.compute(this.#kernels, 0, item),
      );
    } finally {
      for (const ptr of scratch) this.#arena.release(ptr);
    }
  }

  /** Lets the workers go through the lanes at an address: see Threads. */
  follow(address: number): void {
    const { words } = this.#control;
    if (Atomics.load(words, LANES) === address >> 0) return;
    this.pause();
    Atomics.store(words, LANES, address);
    Atomics.add(words, EPOCH, 1);
    Atomics.notify(words, EPOCH);
  }

  /** Waits until no worker is in a step of a lane. */
  pause(): void {
    const { words } = this.#control;
    if (Atomics.exchange(words, LANES, 0) !== 0) this.#join(LEAVES, () => !this.#follows(), PATIENCE_MS);
  }

  /** Whether a worker goes through lanes now: see Threads. */
  rest(): boolean {
    const leaves = Atomics.load(this.#control.words, LEAVES);
    if (!this.#follows()) return false;
    this.#sleep(LEAVES, leaves, 1);
    return true;
  }

  #follows(): boolean {
    return this.#workers.some(({ thread }) => Atomics.load(this.#control.busy, thread) !== 0);
  }

  /** Waits until a word of the control block is as `isDone` says. Where it stays for `patience` ms, ends the workers. */
  #join(word: number, isDone: (value: number) => boolean, patience: number): void {
    const { words } = this.#control;
    for (let spin = 0; spin < SPINS; spin++) if (isDone(Atomics.load(words, word))) return;
    let last = performance.now();
    for (let before = NaN; ;) {
      const now = Atomics.load(words, word);
      if (isDone(now)) return;
      if (now !== before) last = performance.now();
      else if (performance.now() - last > patience) {
        this.dispose();
        return;
      }
      before = now;
      this.#sleep(word, now, 10);
    }
  }

  /** Sleeps until a word is no longer `value`, for `ms` at most; where the host forbids it, returns at once. */
  #sleep(word: number, value: number, ms: number): void {
    if (!this.#sleeps) return;
    try {
      Atomics.wait(this.#control.words, word, value, ms);
    } catch {
      this.#sleeps = false;
    }
  }

  /** Ends the workers. Calling it again does nothing; calls go on with one thread. */
  dispose(): void {
    for (const worker of this.#workers.splice(0)) worker.end();
  }
}
