// Instances side by side: each thread has an instance of its own and calls the same at the same time. They share nothing
// but the machine, so what they reach together is what it lets several threads reach.
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { ThreadCase } from "./shapes.ts";

/** Words that caller and workers share: how often they were called, how many have returned, and which way to call. */
export const EPOCH = 0;
export const DONE = 1;
export const WHICH = 2;

/** What a worker is given. */
export interface BesideTask {
  variant: string;
  one: ThreadCase;
  words: SharedArrayBuffer;
}

export interface Beside {
  /** Calls `own` here and way number `which` of `contendersOf` in every worker, and returns when all have returned. */
  run(which: number, own: () => unknown): void;
  end(): void;
}

/** Workers with an instance each; theirs is beside-worker.ts, bundled beside this file. */
export async function startBeside(variant: string, one: ThreadCase, workers: number): Promise<Beside> {
  const words = new Int32Array(new SharedArrayBuffer(12));
  const task: BesideTask = { variant, one, words: words.buffer };
  const all = Array.from(
    { length: workers },
    () => new Worker(join(import.meta.dirname, "beside-worker.js"), { workerData: task }),
  );
  await Promise.all(
    all.map(
      (worker) =>
        new Promise((resolve, reject) => {
          worker.once("message", resolve);
          worker.once("error", reject);
        }),
    ),
  );
  for (const worker of all) worker.unref();
  return {
    run(which, own) {
      Atomics.store(words, DONE, 0);
      Atomics.store(words, WHICH, which);
      Atomics.add(words, EPOCH, 1);
      Atomics.notify(words, EPOCH);
      own();
      for (let done = Atomics.load(words, DONE); done < workers; done = Atomics.load(words, DONE)) {
        Atomics.wait(words, DONE, done);
      }
    },
    end: () => all.forEach((worker) => void worker.terminate()),
  };
}
