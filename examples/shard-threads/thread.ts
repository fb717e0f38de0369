// A place of the cache in a thread of its own, as its coordinator sees it: a call.
import { Worker } from "node:worker_threads";
import type { ShardAnswer, ShardRequest } from "heed/shard";
import type { Question, Reply, Start } from "./worker.ts";

export class Thread {
  readonly #start: Start;
  #worker: Worker | undefined;
  #asked = 0;
  readonly #waiting = new Map<number, { resolve: (answer: ShardAnswer) => void; reject: (error: Error) => void }>();
  /** How often the thread was started. */
  starts = 0;

  constructor(start: Start) {
    this.#start = start;
  }

  /** Brings a request to the thread, and starts it if there is none. */
  call = (request: ShardRequest): Promise<ShardAnswer> => {
    const worker = (this.#worker ??= this.#open());
    const id = this.#asked++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      worker.postMessage({ id, request } satisfies Question);
    });
  };

  /** Ends the thread, whatever it does. */
  async end(): Promise<void> {
    await this.#worker?.terminate();
  }

  #open(): Worker {
    this.starts++;
    const worker = new Worker(new URL(import.meta.url), { workerData: this.#start });
    worker.on("message", ({ id, answer }: Reply) => {
      this.#waiting.get(id)?.resolve(answer);
      this.#waiting.delete(id);
    });
    worker.on("error", () => undefined);
    worker.on("exit", () => {
      this.#worker = undefined;
      // The coordinator asks again, and so starts the next thread.
      for (const { reject } of this.#waiting.values()) reject(new Error("the thread has ended"));
      this.#waiting.clear();
    });
    return worker;
  }
}
