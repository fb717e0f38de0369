// The module that ships, in a real browser: it picks its build there, and any combination of options gives what f64
// gives.
import fc from "fast-check";
import { load } from "heed";
import { describe, expect, it } from "vitest";
import { expectWithinBudget, floorOf } from "../support/budget.ts";
import { combinations } from "../support/combinations.ts";

describe.each(["default", "simd"] as const)("load, variant %s", (variant) => {
  const open = () => load(variant === "simd" ? { variant } : {});

  it("picks the build", async () => {
    expect((await open()).variant).toBe(variant === "default" ? "relaxed" : "simd");
  });

  it("computes any combination of options", async () => {
    const heed = await open();
    fc.assert(
      fc.property(combinations, (problem) => expectWithinBudget(heed, problem, floorOf)),
      { seed: 5, numRuns: 200 },
    );
  });

  it("refuses, and works on", async () => {
    const heed = await open();
    const x = new Float32Array(64);
    expect(() => heed.attention(x, x, x, { numHeads: 1, headDim: 63 })).toThrow(
      new RangeError('"q" expected a length divisible by 63 (numHeads × headDim), got 64'),
    );
    expect(() => heed.tensor(2 ** 31)).toThrow(RangeError);
    expect(heed.attention(x, x, x, { numHeads: 1, headDim: 64 }).out).toEqual(x);
  });

  it("reads and writes tensors in place", async () => {
    const heed = await open();
    const x = Float32Array.from({ length: 256 }, (_, i) => Math.sin(i));
    const [q, out] = [heed.tensor(256), heed.tensor(256)];
    q.data.set(x);
    heed.attention(q, q, q, { numHeads: 2, headDim: 16, causal: true, out });
    expect(out.data).toEqual(heed.attention(x, x, x, { numHeads: 2, headDim: 16, causal: true }).out);
    heed.dispose();
  });
});
