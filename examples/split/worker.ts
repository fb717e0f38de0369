import { parentPort } from "node:worker_threads";
import { load } from "heed";
import { type Problem, optionsFrom } from "./problem.ts";

/** The keys [from, to) of a problem. */
export interface Share {
  problem: Problem;
  from: number;
  to: number;
}

/** What a worker sends: that it is ready, then its part of each share. */
export type Message = { ready: true } | { ready?: undefined; out: Float32Array; lse: Float32Array };

/** A thread with an instance of its own. */
export async function work(): Promise<void> {
  const heed = await load();
  parentPort!.on("message", ({ problem, from, to }: Share) => {
    const row = problem.numHeads * problem.headDim;
    const [k, v] = [problem.k, problem.v].map((rows) => rows.subarray(from * row, to * row));
    const { out, lse } = heed.attention(problem.q, k!, v!, optionsFrom(problem, from));
    parentPort!.postMessage({ out, lse } satisfies Message, [out.buffer, lse.buffer]);
  });
  parentPort!.postMessage({ ready: true } satisfies Message);
}
