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
    const wrong: [unknown, string][] = [
      [{}, '"query" expected an array of numbers, got undefined'],
      [{ query: ["1"], vectors: [[1]] }, '"query[0]" expected a finite number, got "1"'],
      [{ query: [1, 2], vectors: [[1], [1, 2]] }, '"vectors" expected rows of 1 numbers, as the first, got 2'],
      [
        { query: [1, 2], vectors: [[1, 2]], temperature: 0 },
        '"temperature" expected a number from 0.001 to 1000, got 0',
      ],
    ];
    for (const [body, error] of wrong) expect(await post(body)).toEqual({ status: 400, body: { error } });
    expect((await post(" ".repeat(262_145))).status).toBe(413);
    expect(await post({ query: [1, 2], vectors: [] })).toEqual({ status: 200, body: { pooled: [0, 0], weights: [] } });
    const { status, headers } = await runtime.dispatchFetch("http://heed/api/pool");
    expect([status, headers.get("allow")]).toEqual([405, "POST, OPTIONS"]);
  });
});
