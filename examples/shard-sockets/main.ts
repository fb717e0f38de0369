// A KV cache cut over processes, one of which is ended in the middle and started again:
//   npm start                                        starts three places on this machine
//   npm start -- ws://host:7001 ws://host:7002 …     uses places that run already
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { load } from "heed";
import { ShardedCache } from "heed/shard";
import { compare, keysAndValues } from "../shard-threads/compare.ts";
import { Remote } from "./remote.ts";

const HEADS = { numHeads: 16, numKvHeads: 4, headDim: 64 };
const [PROMPT, TOKENS] = [4096, 32];
const { numKvHeads, headDim } = HEADS;
const SIZES = { numKvHeads, headDim, dtype: "f16", capacity: PROMPT + TOKENS } as const;

/** A process of this machine that has a place; it can be ended, and started again on the same port. */
class LocalPlace {
  readonly #folder: string;
  #process: ChildProcess | undefined;
  url = "";

  constructor(folder: string) {
    this.#folder = folder;
  }

  async start(port = "0"): Promise<void> {
    const program = fileURLToPath(new URL("place.js", import.meta.url));
    const args = [program, "--port", port, "--folder", this.#folder];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#process = child;
    this.url = await new Promise<string>((resolve, reject) => {
      child.stdout.on("data", (text: Buffer) => resolve(/ws:\S+/.exec(text.toString())![0]));
      child.once("exit", () => reject(new Error("a place did not start")));
    });
  }

  async end(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  async restart(): Promise<void> {
    await this.end();
    await this.start(new URL(this.url).port);
  }
}

const folder = mkdtempSync(join(tmpdir(), "heed-shards-"));
const urls = process.argv.slice(2);
const local = urls.length > 0 ? [] : [0, 1, 2].map((n) => new LocalPlace(join(folder, String(n))));
const heed = await load();
const remotes: Remote[] = [];
try {
  await Promise.all(local.map((place) => place.start()));
  for (const url of urls.length > 0 ? urls : local.map((place) => place.url)) remotes.push(new Remote(url));
  const calls = remotes.map(({ call }) => call);
  const cache = await ShardedCache.open(heed, calls, { ...SIZES, retries: 8 });
  // What an earlier run left.
  await cache.truncate(0);
  const whole = heed.createKvCache(SIZES);
  const [k, v] = keysAndValues(PROMPT, HEADS, 0);
  whole.append(k, v);
  await cache.append(k, v);
  console.log(`${PROMPT} tokens over ${remotes.length} processes; ${heed.variant}`);

  for (const { traffic } of remotes) Object.assign(traffic, { calls: 0, bytes: 0 });
  const { ms, differences } = await compare(cache, whole, HEADS, TOKENS, (done) => {
    if (local.length === 0) return;
    // Not waited for: the coordinator asks until it is there again.
    void local[1]!.restart();
    console.log(`place 1 was ended after ${done} more tokens`);
  });
  const [sent, bytes] = (["calls", "bytes"] as const).map((name) =>
    remotes.reduce((sum, r) => sum + r.traffic[name], 0),
  );
  const each = `${(sent! / TOKENS).toFixed(1)} calls, ${(bytes! / TOKENS / 1000).toFixed(1)} kB`;
  console.log(`${TOKENS} tokens, each ${ms.toFixed(1)} ms, ${each}`);
  console.log(differences);
} finally {
  for (const remote of remotes) remote.close();
  await Promise.all(local.map((place) => place.end()));
  rmSync(folder, { recursive: true, force: true });
  heed.dispose();
}
