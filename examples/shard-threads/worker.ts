// A thread that has one place of the cache: it answers requests by number.
import { parentPort, workerData } from "node:worker_threads";
import { load } from "heed";
import { Shard, type ShardAnswer, type ShardRequest } from "heed/shard";
import { FileStore } from "./file-store.ts";

/** What the thread is started with. */
export interface Start {
  /** Where it keeps its tokens. */
  folder: string;
}

/** What comes. */
export interface Question {
  id: number;
  request: ShardRequest;
}

/** What goes back. */
export interface Reply {
  id: number;
  answer: ShardAnswer;
}

export async function work(): Promise<void> {
  const { folder } = workerData as Start;
  const port = parentPort!;
  // Requests wait in the port until the thread is ready.
  const shard = new Shard(await load(), { store: new FileStore(folder) });
  port.on("message", ({ id, request }: Question) => {
    void shard.handle(request).then((answer) => port.postMessage({ id, answer } satisfies Reply));
  });
}
