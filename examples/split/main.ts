// Attention over a long context, with its keys split over worker threads and merged: `npm run split -- --help`.
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Worker, isMainThread } from "node:worker_threads";
import { load } from "heed";
import { type Problem, makeProblem, optionsFrom } from "./problem.ts";
import { type Message, type Share, work } from "./worker.ts";

const HELP = `Attention over a long context: first whole, then with its keys split over worker threads and merged.
Each thread has an instance of heed of its own: for keys beyond the memory of one. For speed load({ threads }) is better.

Usage: npm run split -- [options]

  --keys <n>      keys in all (default 32768)
  --queries <n>   the last of them that attend, each to all keys before it (default 16)
  --workers <n>   threads (default one a core: ${availableParallelism()})
  --help          this page
`;

const NUM_HEADS = 8;
const HEAD_DIM = 64;

type Answer = Exclude<Message, { ready: true }>;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      keys: { type: "string", default: "32768" },
      queries: { type: "string", default: "16" },
      workers: { type: "string", default: String(availableParallelism()) },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return void process.stdout.write(HELP);
  const [keys, queries, count] = [
    integer("--keys", values.keys, 1, 2 ** 20),
    integer("--queries", values.queries, 1, 4096),
    integer("--workers", values.workers, 1, 64),
  ];
  const problem = makeProblem({ numHeads: NUM_HEADS, headDim: HEAD_DIM, queries, keys });

  const heed = await load();
  const { q, k, v, sinks } = problem;
  const whole = await timed(() => heed.attention(q, k, v, { ...optionsFrom(problem, 0), sinks }));
  const workers = await startWorkers(count);
  const parts = await timed(() => splitOver(workers, problem));
  // The sinks come in once, here.
  const merged = await timed(() => heed.merge(parts.result, { numHeads: NUM_HEADS, headDim: HEAD_DIM, sinks }));
  await Promise.all(workers.map((worker) => worker.terminate()));
  heed.dispose();

  const perWorker = Math.ceil(keys / count);
  console.log(
    `${queries} queries, ${keys} keys, ${NUM_HEADS} heads of ${HEAD_DIM}, causal, with sinks; ${heed.variant}\n`,
  );
  console.log(`whole    ${show(whole.result)}   ${whole.ms.toFixed(1)} ms`);
  console.log(`merged   ${show(merged.result)}   ${parts.ms.toFixed(1)} + ${merged.ms.toFixed(1)} ms`);
  console.log(`\n${count} ${count === 1 ? "worker" : "workers"} of at most ${perWorker} keys`);
  const [out, lse] = (["out", "lse"] as const).map((name) => difference(whole.result[name], merged.result[name]));
  console.log(`largest difference: out ${out!.toExponential(1)}, lse ${lse!.toExponential(1)}`);
}

async function timed<Result>(run: () => Result | Promise<Result>): Promise<{ result: Result; ms: number }> {
  const start = performance.now();
  const result = await run();
  return { result, ms: performance.now() - start };
}

async function startWorkers(count: number): Promise<Worker[]> {
  const workers = Array.from({ length: count }, () => new Worker(new URL(import.meta.url)));
  await Promise.all(workers.map((worker) => once(worker, "message")));
  return workers;
}

/** Each worker's part, in no particular order of keys: merge takes any. */
function splitOver(workers: readonly Worker[], problem: Problem): Promise<Answer[]> {
  const { keys } = problem;
  return Promise.all(
    workers.map(async (worker, n) => {
      const [from, to] = [n, n + 1].map((at) => Math.round((at * keys) / workers.length)) as [number, number];
      worker.postMessage({ problem, from, to } satisfies Share);
      const [answer] = (await once(worker, "message")) as [Answer];
      return answer;
    }),
  );
}

function show({ out, lse }: Answer): string {
  const some = Array.from(out.subarray(0, 4), (x) => x.toFixed(6).padStart(9));
  return `out ${some.join(" ")} …   lse ${lse[0]!.toFixed(5)} …`;
}

function difference(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);
}

function integer(title: string, text: string, low: number, high: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high) {
    console.error(`${title} expected an integer from ${low} to ${high}, got ${text}`);
    process.exit(1);
  }
  return value;
}

await (isMainThread ? main() : work());
