import { readFileSync } from "node:fs";
import type { Miniflare } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Report } from "../cases.ts";
import { describeHost } from "../host.ts";
import { installed } from "../project.ts";
import { bundleByWrangler, bundleWorker, gzippedBytes, serve } from "./workerd.ts";

const versionOf = (name: string) =>
  (JSON.parse(readFileSync(installed(`${name}/package.json`), "utf8")) as { version: string }).version;
const version = versionOf("workerd").split(".").slice(0, 2).join(".");

for (const [how, bundle] of [
  ["esbuild and miniflare", bundleWorker],
  [`wrangler ${versionOf("wrangler")}`, bundleByWrangler],
] as const) {
  describeHost({ name: "Cloudflare workerd", how, version }, async () => {
    const workerd = serve(await bundle("workerd/worker.js"));
    try {
      return (await (await workerd.dispatchFetch("http://heed/cases")).json()) as Report;
    } finally {
      await workerd.dispose();
    }
  });

  it(`a Worker, bundled by ${how}, has at most 90 kB gzipped`, async () => {
    const bytes = gzippedBytes(await bundle("workerd/attend.js"));
    expect(bytes).toBeGreaterThan(10_000);
    expect(bytes).toBeLessThanOrEqual(90_000);
  });
}

describe("a Worker of 128 MB", () => {
  let workerd: Miniflare;
  beforeAll(async () => {
    workerd = serve(await bundleWorker("workerd/worker.js"));
  });
  afterAll(() => workerd.dispose());

  const ask = async (route: "keys" | "tokens", count: number) => {
    const response = await workerd.dispatchFetch(`http://heed/${route}/${count}`);
    return { status: response.status, body: (await response.json()) as { first?: number; error?: string } };
  };

  it("answers what fits, refuses what does not by a RangeError, and answers the next", async () => {
    for (let round = 0; round < 5; round++) {
      expect(await ask("tokens", 128)).toEqual({ status: 200, body: { first: 0.5 } });
      const refused = await ask("tokens", 14_000);
      expect(refused.status).toBe(413);
      expect(refused.body.error).toMatch(/^"memory" expected to grow/);
    }
    expect(await ask("tokens", 1024)).toEqual({ status: 200, body: { first: 0.5 } });
    // The keys and values of one query come in pieces, and need not fit.
    expect(await ask("keys", 14_000)).toEqual({ status: 200, body: { first: 0.5 } });
  });
});
