// examples/durable-memory in workerd: 64 000 tokens over 8 Durable Objects, more than one instance takes there; objects
// that are evicted in the middle of a conversation; and a restart of everything.
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import type { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { load } from "heed";
import { send } from "../../../examples/durable-memory/client.ts";
import { rows } from "../../../examples/shard-threads/compare.ts";
import { project } from "../project.ts";
import { bundleByWrangler, bundleWorker, gzippedBytes, serve } from "./workerd.ts";

/**
 * The example with objects that can be evicted at once, as Cloudflare may do at any time: POST /NAME/evict/PLACE, or
 * /NAME/evict for the coordinator.
 */
const EVICTING = `
  import worker, { Conversation as Coordinator, MemoryShard as Place } from "../examples/durable-memory/worker.ts";

  export class MemoryShard extends Place {
    evict() { this.ctx.abort("evicted"); }
  }
  export class Conversation extends Coordinator {
    evict() { this.ctx.abort("evicted"); }
  }
  export default {
    async fetch(request, env) {
      const [, name, action, place] = new URL(request.url).pathname.split("/");
      if (action !== "evict") return worker.fetch(request, env);
      const object = place ? env.SHARDS.getByName(name + "/" + place) : env.CONVERSATIONS.getByName(name);
      // The object that is evicted answers nothing any more.
      await object.evict().catch(() => undefined);
      return new Response("evicted");
    },
  };`;

const OBJECTS = {
  CONVERSATIONS: { className: "Conversation", useSQLite: true },
  SHARDS: { className: "MemoryShard", useSQLite: true },
};

const [kvHeads, dim] = [8, 64];
const width = kvHeads * dim;

interface Stand {
  length: number;
  memory: number;
  stored: number;
  largest: number;
}

describe("the example of a memory over Durable Objects", () => {
  const disk = mkdtempSync(join(tmpdir(), "heed-durable-"));
  let folder: string;
  let workerd: Miniflare;
  let base: string;

  const start = async () => {
    workerd = serve(folder, { durableObjects: OBJECTS, durableObjectsPersist: disk });
    base = (await workerd.ready).origin;
  };

  beforeAll(async () => {
    writeFileSync(join(project, "workerd/evicting.js"), EVICTING);
    folder = await bundleWorker("workerd/evicting.js");
    await start();
  });
  afterAll(async () => {
    await workerd.dispose();
    rmSync(disk, { recursive: true, force: true });
  });

  const append = (name: string, tokens: number, at: number) =>
    send(`${base}/${name}`, { op: "append", k: rows(tokens, width, at, 1), v: rows(tokens, width, at, 2) });
  const ask = (name: string, count = 1) =>
    send(`${base}/${name}`, { op: "attend", q: rows(count, 2 * width, 0, 3), numHeads: 2 * kvHeads, causal: true });
  const evict = async (path: string) =>
    expect(await (await fetch(`${base}/${path}`, { method: "POST" })).text()).toBe("evicted");
  const standOf = async (name: string) => (await (await fetch(`${base}/${name}`)).json()) as Stand[];

  /** What one cache gives, where there is room for it. */
  const whole = async (tokens: number, count = 1) => {
    const heed = await load();
    const cache = heed.createKvCache({ numKvHeads: kvHeads, headDim: dim, dtype: "f16", capacity: tokens });
    for (let at = 0; at < tokens; at += 2000) {
      const piece = Math.min(2000, tokens - at);
      cache.append(rows(piece, width, at, 1), rows(piece, width, at, 2));
    }
    const answer = cache.attention(rows(count, 2 * width, 0, 3), { numHeads: 2 * kvHeads, causal: true, lse: true });
    heed.dispose();
    // Connections that the server closed meanwhile are found to be so.
    await setTimeout(100);
    return answer;
  };
  /** Scores are below 20, values below 2; both answers are off by a few ulp of these, from whatever build. */
  const expectNear = (
    got: { out?: Float32Array; lse?: Float32Array },
    expected: { out: Float32Array; lse: Float32Array },
  ) => {
    for (const name of ["out", "lse"] as const) {
      expect(got[name]).toHaveLength(expected[name].length);
      const worst = expected[name].reduce((most, x, n) => Math.max(most, Math.abs(x - got[name]![n]!)), 0);
      expect(worst).toBeLessThanOrEqual(2e-5);
    }
  };

  it("holds 64 000 tokens, where one isolate refuses them, and answers from all after everything was restarted", async () => {
    const plain = serve(await bundleWorker("workerd/worker.js"));
    try {
      const alone = await plain.dispatchFetch("http://heed/cache/64000");
      expect(alone.status).toBe(413);
      expect(((await alone.json()) as { error: string }).error).toMatch(/^"memory" expected to grow/);
    } finally {
      await plain.dispose();
    }

    for (let at = 0; at < 64_000; at += 2000) {
      const { length } = await append("long", 2000, at);
      expect(length).toBe(at + 2000);
    }
    const expected = await whole(64_000, 2);
    const before = await ask("long", 2);
    expectNear(before, expected);
    const stand = await standOf("long");
    expect(stand.reduce((sum, { length }) => sum + length, 0)).toBe(64_000);
    for (const { memory, stored, largest } of stand) {
      expect(memory).toBeLessThan(2 ** 26);
      expect(stored).toBeGreaterThan(8000 * 2 * width * 2 - 2 ** 20);
      expect(largest).toBeLessThanOrEqual(2_000_000);
    }

    await workerd.dispose();
    await start();
    const after = await ask("long", 2);
    expect([after.out, after.lse]).toEqual([before.out, before.lse]);
    // A token costs a call for its page, and one of each object for attention.
    const [one, answer] = [await append("long", 1, 64_000), await ask("long")];
    expect([one.calls, answer.calls]).toEqual([1, 8]);
    expect(one.bytes).toBe(2 * width * 4);
    expect(answer.bytes).toBe(8 * (2 * width + 2 * width + 2 * kvHeads) * 4);
  });

  it("goes on after its objects were evicted, at any time", async () => {
    let length = 0;
    for (let turn = 0; turn < 12; turn++) {
      const tokens = turn % 3 === 0 ? 300 : 1;
      const appending = append("short", tokens, length);
      // Also while the tokens come.
      if (turn % 4 === 1) await evict(`short/evict/${turn % 8}`);
      await appending;
      length += tokens;
      if (turn % 4 === 2) await evict("short/evict");
      if (turn % 4 === 3) for (let place = 0; place < 8; place++) await evict(`short/evict/${place}`);
      expectNear(await ask("short"), await whole(length));
    }
    await send(`${base}/short`, { op: "truncate", length: 500 });
    for (let place = 0; place < 8; place++) await evict(`short/evict/${place}`);
    await evict("short/evict");
    expectNear(await ask("short"), await whole(500));
  });

  it("keeps conversations apart, and answers mistakes with what was expected", async () => {
    await append("one", 3, 0);
    await append("two", 200, 0);
    expectNear(await ask("one"), await whole(3));
    expectNear(await ask("two"), await whole(200));
    const wrong: [unknown, RegExp][] = [
      [{ op: "close" }, /^400: "op" expected/],
      [{ op: "append", k: rows(1, 5, 0, 1), v: rows(1, 5, 0, 1) }, /^400: "k" expected a length divisible by 512/],
      [{ op: "append", k: 5 }, /^400: "k" expected a Float32Array, got 5/],
      [{ op: "attend", q: rows(1, width, 0, 1), numHeads: 3 }, /^400: "numHeads" expected a multiple of 8/],
      [{ op: "attend", q: rows(1, width, 0, 1), numHeads: 8, bias: 1 }, /^400: "bias" is no option/],
      [{ op: "truncate", length: 9 }, /^400: "length" expected an integer from 0 to 3, got 9/],
    ];
    for (const [message, error] of wrong) await expect(send(`${base}/one`, message as object)).rejects.toThrow(error);
    const status = async (path: string, init: RequestInit) => (await fetch(`${base}${path}`, init)).status;
    expect(await status("/one", { method: "POST", body: "no message" })).toBe(400);
    expect(await status("/one", { method: "PUT" })).toBe(405);
    expect(await status("/one/two", { method: "POST" })).toBe(404);
    // Refused by what it says it has, before it comes.
    const large = request(`${base}/one`, { method: "POST", headers: { "content-length": 16_000_001 } });
    large.flushHeaders();
    const [response] = (await once(large, "response")) as [IncomingMessage];
    expect(response.statusCode).toBe(413);
    large.destroy();
    expectNear(await ask("one"), await whole(3));
  });

  it("runs as wrangler bundles it, and has at most 100 kB gzipped", async () => {
    const bundle = await bundleByWrangler("examples/durable-memory/worker.ts");
    expect(gzippedBytes(bundle)).toBeLessThanOrEqual(100_000);
    const alone = serve(bundle, { durableObjects: OBJECTS });
    try {
      const url = `${(await alone.ready).origin}/some`;
      const { length } = await send(url, { op: "append", k: rows(3, width, 0, 1), v: rows(3, width, 0, 2) });
      expect(length).toBe(3);
      expect(await (await fetch(url)).json()).toHaveLength(8);
    } finally {
      await alone.dispose();
    }
  });
});
