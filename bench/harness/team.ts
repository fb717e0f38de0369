// One function of wasm on several threads at once: what the machine can do on all of them together, which need not be
// as many times what it can do on one.
import { join } from "node:path";
import { Worker } from "node:worker_threads";

/** Words that caller and workers share: how often the function was called, and how many workers have returned. */
export const EPOCH = 0;
export const DONE = 1;

/** What a worker is given. */
export interface Task {
  bytes: Uint8Array<ArrayBuffer>;
  /** The export that is called, with `args` at every call. It may have a "prepare" beside it, called once with the same. */
  name: string;
  args: readonly number[];
  words: SharedArrayBuffer;
}

export interface Team {
  /** Calls the function once on every thread, this one among them, and returns when all have returned. */
  run(): void;
  /** Ends the workers. */
  end(): void;
}

/** An instance of its own on every thread; this file's worker is team-worker.ts, bundled beside it. */
export async function startTeam(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  args: readonly number[],
  threads: number,
): Promise<Team> {
  const task: Task = { bytes, name, args, words: new SharedArrayBuffer(8) };
  const words = new Int32Array(task.words);
  const workers = Array.from(
    { length: threads - 1 },
    () => new Worker(join(import.meta.dirname, "team-worker.js"), { workerData: task }),
  );
  const call = await instantiate(task);
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once("message", resolve))));
  for (const worker of workers) worker.unref();
  return {
    run() {
      Atomics.store(words, DONE, 0);
      Atomics.add(words, EPOCH, 1);
      Atomics.notify(words, EPOCH);
      call();
      for (let done = Atomics.load(words, DONE); done < threads - 1; done = Atomics.load(words, DONE)) {
        Atomics.wait(words, DONE, done);
      }
    },
    end: () => workers.forEach((worker) => void worker.terminate()),
  };
}

/** Makes an instance, prepares it, and returns what calls the function. */
export async function instantiate({ bytes, name, args }: Task): Promise<() => unknown> {
  const { instance } = await WebAssembly.instantiate(bytes);
  const { prepare, [name]: main } = instance.exports as Record<string, (...args: number[]) => unknown>;
  prepare?.(...args);
  return () => main!(...args);
}
