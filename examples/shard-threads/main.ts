// A KV cache cut over worker threads, one of which is ended in the middle: `npm run shard-threads -- --help`.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { isMainThread } from "node:worker_threads";
import { load } from "heed";
import { type Call, ShardedCache } from "heed/shard";
import { compare, keysAndValues } from "./compare.ts";
import { Thread } from "./thread.ts";
import { work } from "./worker.ts";

const HELP = `A KV cache cut over worker threads, each with an instance of heed and a folder of its own. After a prompt, tokens are
appended one by one and attend to all; in the middle one thread is ended, and goes on from its folder.

Usage: npm run shard-threads -- [options]

  --prompt <n>    tokens of the prompt (default 8192)
  --tokens <n>    tokens after it (default 32)
  --workers <n>   threads (default 4)
  --dtype <type>  f32, f16 or int8 (default f16)
  --help          this page
`;

const HEADS = { numHeads: 16, numKvHeads: 4, headDim: 64 };
/** Tokens of the prompt that are appended together. */
const PIECE = 2048;
const DTYPES = ["f32", "f16", "int8"] as const;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      prompt: { type: "string", default: "8192" },
      tokens: { type: "string", default: "32" },
      workers: { type: "string", default: "4" },
      dtype: { type: "string", default: "f16" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return void process.stdout.write(HELP);
  const [prompt, tokens, count] = [
    integer("--prompt", values.prompt, 0, 2 ** 20),
    integer("--tokens", values.tokens, 1, 4096),
    integer("--workers", values.workers, 1, 64),
  ];
  const dtype = DTYPES.find((type) => type === values.dtype);
  if (!dtype) fail("--dtype", DTYPES.join(", "), values.dtype);

  const heed = await load();
  const folder = mkdtempSync(join(tmpdir(), "heed-shards-"));
  const threads = Array.from({ length: count }, (_, n) => new Thread({ folder: join(folder, String(n)) }));
  const { numKvHeads, headDim } = HEADS;
  const sizes = { numKvHeads, headDim, dtype, capacity: prompt + tokens };
  const whole = heed.createKvCache(sizes);
  const traffic = { calls: 0, bytes: 0 };
  const calls = threads.map(({ call }): Call => async (request) => {
    const answer = await call(request);
    traffic.calls++;
    traffic.bytes += bytesOf(request) + bytesOf(answer);
    return answer;
  });
  try {
    const cache = await ShardedCache.open(heed, calls, sizes);
    for (let at = 0; at < prompt; at += PIECE) {
      const [k, v] = keysAndValues(Math.min(PIECE, prompt - at), HEADS, at);
      whole.append(k, v);
      await cache.append(k, v);
    }
    console.log(`${prompt} tokens as ${dtype} over ${count} ${count === 1 ? "thread" : "threads"}; ${heed.variant}`);

    Object.assign(traffic, { calls: 0, bytes: 0 });
    const { ms, differences } = await compare(cache, whole, HEADS, tokens, async (done) => {
      await threads[0]!.end();
      console.log(`thread 0 was ended after ${done} more tokens`);
    });
    const each = { calls: traffic.calls / tokens, kB: traffic.bytes / tokens / 1000 };
    console.log(`${tokens} tokens, each ${ms.toFixed(1)} ms, ${each.calls.toFixed(1)} calls, ${each.kB.toFixed(1)} kB`);
    console.log(`threads were started ${threads.map(({ starts }) => starts).join(", ")} times`);
    console.log(differences);
  } finally {
    await Promise.all(threads.map((thread) => thread.end()));
    rmSync(folder, { recursive: true, force: true });
    heed.dispose();
  }
}

/** Bytes of the arrays of a message. */
function bytesOf(message: object): number {
  return Object.values(message).reduce<number>(
    (sum, value) => sum + (ArrayBuffer.isView(value) ? value.byteLength : 0),
    0,
  );
}

function integer(title: string, text: string, low: number, high: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high) fail(title, `an integer from ${low} to ${high}`, text);
  return value;
}

function fail(title: string, expected: string, got: string): never {
  console.error(`${title} expected ${expected}, got ${got}`);
  process.exit(1);
}

await (isMainThread ? main() : work());
