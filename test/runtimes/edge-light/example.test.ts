// examples/vercel-edge, its function as the platform calls it.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { EdgeRuntime } from "edge-runtime";
import { beforeAll, describe, expect, it } from "vitest";
import { project } from "../project.ts";
import { openFunction } from "./edge-light.ts";

describe("the example of an Edge function", () => {
  let runtime: EdgeRuntime;
  beforeAll(async () => {
    const platform = `
      import pool from "../examples/vercel-edge/api/pool.ts";
      addEventListener("fetch", (event) => event.respondWith(pool(event.request)));`;
    writeFileSync(join(project, "edge-light/example.js"), platform);
    runtime = await openFunction("edge-light/example.js");
  });

  const post = async (body: unknown) => {
    const response = await runtime.dispatchFetch("http://heed/api/pool", {
      method: "POST",
      body: JSON.stringify(body),
    });
    return {
      status: response.status,
      body: (await response.json()) as { pooled?: number[]; weights?: number[]; error?: string },
    };
  };

  it("pools vectors by how well they match", async () => {
    const vectors = [
      [1, 0],
      [0, 1],
    ];
    const { status, body } = await post({ query: [1, 0], vectors, temperature: 0.5 });
    expect(status).toBe(200);
    const weight = 1 / (1 + Math.exp(-Math.SQRT2));
    [weight, 1 - weight].forEach((expected, i) => {
      expect(body.weights![i]).toBeCloseTo(expected, 6);
      expect(body.pooled![i]).toBeCloseTo(expected, 6);
    });
  });

  it("answers mistakes, and goes on", async () => {
    expect(await post({})).toEqual({ status: 400, body: { error: 'TypeError: "query" expected an array of numbers' } });
    expect((await post({ query: [1, 2], vectors: [[1], [1, 2]] })).body.error).toMatch(
      /^RangeError: "k" expected a length/,
    );
    expect((await post({ query: [1, 2], vectors: [[1, 2]], temperature: 0 })).body.error).toMatch(
      /^RangeError: "scale"/,
    );
    expect(await post({ query: [1, 2], vectors: [] })).toEqual({ status: 200, body: { pooled: [0, 0], weights: [] } });
    expect((await runtime.dispatchFetch("http://heed/api/pool")).status).toBe(405);
  });
});
