// examples/cloudflare-worker as its README says: `wrangler dev`, and requests. test/examples/ sends more of them.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { STATUSES, attentionService, requestsTo } from "../../support/requests.ts";
import { installed, project } from "../project.ts";
import { gzippedBytes, bundleByWrangler } from "./workerd.ts";

describe("the example of a Worker, under wrangler dev", () => {
  let wrangler: ChildProcess;
  let url: string;

  beforeAll(async () => {
    const args = [
      installed("wrangler/bin/wrangler.js"),
      "dev",
      "--ip",
      "127.0.0.1",
      "--port",
      "0",
      "--inspector-port",
      "0",
    ];
    wrangler = spawn(process.execPath, args, {
      cwd: join(project, "examples/cloudflare-worker"),
      env: { ...process.env, NODE_OPTIONS: "", WRANGLER_SEND_METRICS: "false", CI: "true" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    url = await new Promise<string>((resolve, reject) => {
      let log = "";
      const read = (chunk: Buffer) => {
        log += chunk.toString();
        const ready = /Ready on (http:\/\/\S+)/.exec(log);
        if (ready) resolve(ready[1]!);
      };
      wrangler.stdout!.on("data", read);
      wrangler.stderr!.on("data", read);
      wrangler.once("exit", () => reject(new Error(log)));
    });
  }, 60_000);

  afterAll(async () => {
    const ended = new Promise((resolve) => wrangler.once("exit", resolve));
    wrangler.kill("SIGINT");
    await ended;
  });

  const post = async (body: string) => {
    const response = await fetch(url, { method: "POST", body });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  it("says which tokens attend to which", async () => {
    const { status, body } = await post('{"tokens": ["to", "be", "or", "not", "to", "be"]}');
    expect(status).toBe(200);
    const weights = body.weights as number[][];
    expect(weights).toHaveLength(6);
    for (const row of weights) expect(row.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 6);
    // A word attends alike to itself and to its other place, and most to these two.
    expect(weights[1]![1]).toBe(weights[1]![5]);
    expect(weights[1]![1]! + weights[1]![5]!).toBeGreaterThan(0.5);
  });

  it("answers vectors with attention", async () => {
    const q = [[1, 0, 0, 1]];
    const k = [
      [1, 0, 0, 1],
      [0, 1, 1, 0],
    ];
    const request = { q, k, v: k, options: { numHeads: 2, scale: 0 } };
    expect(await post(JSON.stringify(request))).toEqual({ status: 200, body: { out: [[0.5, 0.5, 0.5, 0.5]] } });
  });

  it("answers mistakes with 400 and what was expected, and goes on", async () => {
    const wrong: [string, RegExp][] = [
      ["{", /JSON/],
      ["null", /^"body" expected an object/],
      ['{"tokens": 5}', /^"tokens" expected an array/],
      ['{"tokens": [5]}', /^"tokens\[0\]" expected a string, got 5/],
      ['{"q": [["1"]], "k": [[1]], "v": [[1]]}', /^"q\[0\]\[0\]" expected a finite number, got "1"/],
      ['{"q": [[1e999]], "k": [[1]], "v": [[1]]}', /^"q\[0\]\[0\]" expected a finite number, got Infinity/],
      ['{"q": [[1, 2]], "k": [[1], [1, 2]], "v": [[1, 2]]}', /^"k" expected rows of 1 numbers/],
      ['{"q": [[1, 2]], "k": [[1, 2]], "v": [[1, 2]], "options": {"causal": 1}}', /^"causal" expected a boolean/],
      ['{"q": [[1, 2]], "k": [[1, 2]], "v": [[1, 2]], "options": {"numHeads": 3}}', /^"headDim" expected/],
      ['{"q": [], "k": [], "v": [], "options": {"headDim": 1864113}}', /^"headDim" expected/],
    ];
    for (const [body, message] of wrong) {
      const answer = await post(body);
      expect(answer.status).toBe(400);
      expect(answer.body.error).toMatch(message);
    }
    expect((await post(" ".repeat(262_145))).status).toBe(413);
    expect((await post('{"tokens": []}')).body).toEqual({ weights: [] });
  });

  it("says what it takes where it is asked by another method", async () => {
    for (const method of ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]) {
      const { status, headers } = await fetch(url, { method });
      expect([status, headers.get("allow")]).toEqual([method === "OPTIONS" ? 204 : 405, "POST, OPTIONS"]);
    }
  });

  it("works on after requests of anyone", async () => {
    const ask = () => Promise.all(attentionService.honest.map((body) => post(JSON.stringify(body))));
    const before = await ask();
    for (const { method, headers, body } of fc.sample(requestsTo(attentionService), { seed: 20261202, numRuns: 500 })) {
      const { status } = await fetch(url, { method, headers, body: body ?? null });
      expect(STATUSES).toContain(status);
    }
    expect(await ask()).toEqual(before);
    expect(before.map(({ status }) => status)).toEqual([200, 200]);
  });

  it("has at most 92 kB gzipped", async () => {
    expect(gzippedBytes(await bundleByWrangler("examples/cloudflare-worker/worker.ts"))).toBeLessThanOrEqual(92_000);
  });
});
