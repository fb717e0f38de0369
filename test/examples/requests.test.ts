// The two services among the examples, before requests of anyone: no answer is a 5xx, a wrong value is named, what is
// answered is right, and the instance is afterwards as it was before.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import type * as Package from "heed";
import { describe, expect, it, vi } from "vitest";
import worker from "../../examples/cloudflare-worker/worker.ts";
import pool from "../../examples/vercel-edge/api/pool.ts";
import {
  type Sent,
  STATUSES,
  attentionService,
  kindOf,
  kinds,
  pathsOf,
  poolService,
  replaced,
  requestsTo,
  toJson,
} from "../support/requests.ts";
import { runs } from "../support/sweep.ts";

/** All instances that the services have loaded. */
const instances = vi.hoisted(() => [] as Package.Heed[]);
vi.mock("heed", async (original) => {
  const heed = await original<typeof Package>();
  const loadSync: typeof heed.loadSync = (options) => {
    instances.push(heed.loadSync(options));
    return instances.at(-1)!;
  };
  return { ...heed, loadSync };
});

type Handler = (request: Request) => Promise<Response>;

async function send(handler: Handler, { method, headers, body }: Sent) {
  const response = await handler(new Request("http://heed/", { method, headers, body: body ?? null }));
  const text = await response.text();
  return { status: response.status, headers: response.headers, text };
}

const post = async (handler: Handler, body: unknown) => {
  const { status, text } = await send(handler, { method: "POST", headers: {}, body: toJson(body) });
  return {
    status,
    ...(JSON.parse(text) as { error?: string; out?: number[][]; weights?: unknown; pooled?: number[] }),
  };
};

const attend: Handler = worker.fetch;

const services = [
  { name: "the Worker", handler: attend, service: attentionService },
  { name: "the Edge function", handler: pool, service: poolService },
];

it("reads requests with the same file in both projects", () => {
  const [one, other] = ["cloudflare-worker", "vercel-edge"].map((project) =>
    readFileSync(new URL(`../../examples/${project}/request.ts`, import.meta.url), "utf8"),
  );
  expect(one).toBe(other);
});

describe.each(services)("$name", ({ handler, service }) => {
  /** The answers to honest requests, and the memory that they leave. */
  async function state() {
    const answers = [];
    for (const body of service.honest) answers.push(await post(handler, body));
    return { answers, used: instances.at(-1)!.memory.used, loaded: instances.length };
  }

  it("works on after any request", async () => {
    const before = await state();
    for (const { status } of before.answers) expect(status).toBe(200);
    let sent = 0;
    const property = fc.asyncProperty(requestsTo(service), async (request) => {
      const { status, headers, text } = await send(handler, request);
      expect(STATUSES).toContain(status);
      expect(text.length).toBeLessThan(1e6);
      if (status === 200) expect(text).not.toContain("null");
      else if (status !== 204) {
        const { error } = JSON.parse(text) as { error: string };
        // One sentence, without a path or a stack.
        expect(error).toMatch(/expected/);
        expect(error.length).toBeLessThan(300);
        expect(error).not.toMatch(/\n|\.[jt]s\b/);
      }
      if (status === 405) expect(headers.get("allow")).toBe("POST, OPTIONS");
      if (++sent % 10 === 0) expect(await state()).toEqual(before);
    });
    await fc.assert(property, { seed: 20261201, numRuns: runs(10_000) });
    expect(await state()).toEqual(before);
  });

  it("names the field of every value of the wrong kind", async () => {
    for (const body of service.honest) {
      for (const path of pathsOf(body)) {
        const given = path.reduce<unknown>((inner, key) => (inner as Record<string, unknown>)[key], body);
        for (const value of kinds.filter((kind) => kindOf(kind) !== kindOf(given))) {
          const { status, error } = await post(handler, replaced(body, path, value));
          const label = `${path.join(".")}: ${toJson(value)}`;
          expect(status, label).toBe(400);
          const named = path.filter((key) => typeof key === "string").at(-1)!;
          expect(error, label).toMatch(new RegExp(`\\b${named}\\b`));
        }
      }
    }
  });

  it("refuses fields that it does not know", async () => {
    for (const body of service.honest) {
      for (const name of ["isCausal", "constructor", "__proto__", "length"]) {
        const more = Object.fromEntries([...Object.entries(body), [name, 1]]);
        expect(await post(handler, more)).toMatchObject({
          status: 400,
          error: expect.stringContaining(`"${name}"`) as string,
        });
      }
    }
  });

  it("answers other methods with what it takes", async () => {
    for (const method of ["GET", "HEAD", "PUT", "DELETE", "PATCH"]) {
      const { status, headers } = await send(handler, { method, headers: {}, body: undefined });
      expect([status, headers.get("allow")]).toEqual([405, "POST, OPTIONS"]);
    }
    const { status, headers, text } = await send(handler, { method: "OPTIONS", headers: {}, body: undefined });
    expect([status, headers.get("allow"), text]).toEqual([204, "POST, OPTIONS", ""]);
  });

  it("refuses types that are no JSON", async () => {
    const body = JSON.stringify(service.honest[0]);
    const statusOf = async (headers: Record<string, string>) =>
      (await send(handler, { method: "POST", headers, body })).status;
    expect(await statusOf({ "content-type": "application/json" })).toBe(200);
    expect(await statusOf({ "content-type": "application/x-www-form-urlencoded" })).toBe(200);
    expect(await statusOf({ "content-type": "application/octet-stream" })).toBe(415);
    expect(await statusOf({ "content-encoding": "br" })).toBe(415);
  });

  it("reads no more of a body than its limit, whatever its header says", async () => {
    for (const promised of [undefined, "1", "-1", "many"]) {
      let pulled = 0;
      let cancelled = false;
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          pulled++;
          controller.enqueue(new Uint8Array(2 ** 16).fill(32));
        },
        cancel: () => void (cancelled = true),
      });
      const headers: Record<string, string> = promised === undefined ? {} : { "content-length": promised };
      const init = { method: "POST", headers, body, duplex: "half" };
      const response = await handler(new Request("http://heed/", init));
      expect(response.status).toBe(413);
      expect(pulled).toBeLessThan(10);
      expect(cancelled).toBe(true);
    }
    const unread = new ReadableStream({ pull: () => Promise.reject(new Error("read")) }, { highWaterMark: 0 });
    const headers = { "content-length": "262145" };
    const init = { method: "POST", headers, body: unread, duplex: "half" };
    expect((await handler(new Request("http://heed/", init))).status).toBe(413);
  });

  it("answers a body that breaks off", async () => {
    let pulls = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (pulls++ === 0) controller.enqueue(Buffer.from("{"));
        else controller.error(new TypeError("terminated"));
      },
    });
    const init = { method: "POST", body, duplex: "half" };
    const response = await handler(new Request("http://heed/", init));
    expect([response.status, await response.json()]).toEqual([
      400,
      { error: '"body" expected text in UTF-8, up to its end' },
    ]);
  });

  it("answers what it did not foresee with 500 and no more, and the next request by a new instance", async () => {
    const before = await state();
    const attention = vi.spyOn(instances.at(-1)!, "attention");
    const weights = vi.spyOn(instances.at(-1)!, "attentionWeights");
    const trap = () => {
      throw new WebAssembly.RuntimeError("memory access out of bounds");
    };
    attention.mockImplementation(trap);
    weights.mockImplementation(trap);
    const logged = vi.spyOn(console, "error").mockImplementation(() => undefined);
    expect(await post(handler, service.honest[0])).toEqual({
      status: 500,
      error: "this request could not be answered",
    });
    expect(logged).toHaveBeenCalledTimes(1);
    vi.restoreAllMocks();
    expect(await state()).toEqual({ ...before, loaded: before.loaded + 1 });
  });
});

describe("the Worker", () => {
  const rows = (count: number, dim: number) => Array.from({ length: count }, () => Array<number>(dim).fill(1));
  const one = { q: [[1]], k: [[1]], v: [[1]] };

  it.each([
    [
      "headDim",
      { ...one, options: { headDim: 1864113 } },
      /^"headDim" expected an integer from 1 to 4096, got 1864113$/,
    ],
    ["headDim without rows", { q: [], k: [], v: [], options: { headDim: 1864113 } }, /^"headDim" expected/],
    ["heads", { ...one, options: { numHeads: 33 } }, /^"numHeads" expected an integer from 1 to 32, got 33$/],
    ["batch", { ...one, options: { batch: 2 ** 22 } }, /^"batch" expected an integer from 1 to 256, got 4194304$/],
    ["rows", { ...one, q: rows(257, 1) }, /^"q" expected at most 256 rows, got 257$/],
    ["numbers in a row", { ...one, q: rows(1, 4097) }, /^"q\[0\]" expected at most 4096 numbers, got 4097$/],
    ["tokens", { tokens: Array(129).fill("a") }, /^"tokens" expected at most 128 strings, got 129$/],
    ["letters", { tokens: ["a".repeat(65)] }, /^"tokens\[0\]" expected at most 64 characters, got 65$/],
    ["rows of other lengths", { ...one, k: [[1], [1, 2]] }, /^"k" expected rows of 1 numbers, as the first, got 2$/],
    [
      "rows of another headDim",
      { ...one, k: [[1, 1]] },
      /^"k" expected rows of 1 numbers \(numKvHeads × headDim\), got 2$/,
    ],
    ["numbers whose products overflow", { q: [[3e38]], k: [[3e38]], v: [[1]] }, /^the result is not finite/],
  ])("has a limit for %s", async (_, body, message) => {
    expect(await post(attend, body)).toEqual({ status: 400, error: expect.stringMatching(message) as string });
  });

  it("has a limit for the answer, before it computes one", async () => {
    const body = { q: rows(256, 32), k: rows(1, 1), v: rows(1, 128), options: { numHeads: 32, numKvHeads: 1 } };
    expect(await post(attend, body)).toEqual({
      status: 413,
      error: "the answer expected has at most 32768 numbers, and would have 1048576",
    });
  });

  it("computes what it is asked for, up to its limits", async () => {
    const { out } = await post(attend, {
      q: rows(256, 32),
      k: rows(256, 32),
      v: rows(256, 32),
      options: { numHeads: 32, window: { left: 3 }, queryOffset: -1, softcap: 2 },
    });
    expect(out!.map((row) => row.length)).toEqual(Array(256).fill(32));
    // Weights that sum to 1, to some roundings.
    for (const x of out!.flat()) expect(x).toBeCloseTo(1, 5);
    expect((await post(attend, { ...one, k: [], v: [] })).out).toEqual([[0]]);
    expect((await post(attend, { tokens: [] })).weights).toEqual([]);
  });
});

describe("the Edge function", () => {
  it.each([
    ["no query", { query: [], vectors: [] }, '"query" expected at least one number, got none'],
    [
      "another length",
      { query: [1], vectors: [[1, 2]] },
      '"vectors" expected rows of 1 numbers (as many as query), got 2',
    ],
    [
      "temperature 0",
      { query: [1], vectors: [[1]], temperature: 0 },
      '"temperature" expected a number from 0.001 to 1000, got 0',
    ],
    ["too much", { query: [1], vectors: Array(4097).fill([1]) }, '"vectors" expected at most 4096 rows, got 4097'],
  ])("refuses %s", async (_, body, error) => {
    expect(await post(pool, body)).toEqual({ status: 400, error });
  });

  it("pools nothing to zeros", async () => {
    expect(await post(pool, { query: [1, 2], vectors: [] })).toEqual({ status: 200, pooled: [0, 0], weights: [] });
  });
});
