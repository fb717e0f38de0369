// Up to four query rows go through many keys split by split (bindings/attention/splits.ts). Here splits have 128 keys
// rather than 2048, so that problems of any combination of options have several; test/attention/long-keys.test.ts has
// those of their real size.
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { INSTANCE } from "../../bindings/engine/module.ts";
import { MAX_ITEMS } from "../../bindings/threads/control.ts";
import { bitsOf } from "../support/bits.ts";
import { expectWithinBudget, floorOf } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinationsOf } from "../support/combinations.ts";
import { asArrays, asTensors, expectSameParts, inCache, partOf, parts, sequencesOf, spoil } from "../support/cuts.ts";
import { problemOf } from "../support/problems.ts";
import { reference } from "../support/reference.ts";
import { shareOut } from "../support/shared-out.ts";
import { runs } from "../support/sweep.ts";

vi.mock("../../bindings/attention/on-threads.ts", async (original) => ({
  ...(await original<typeof import("../../bindings/attention/on-threads.ts")>()),
  SPLIT_KEYS: 128,
}));

const eights = fc.constantFrom(8, 16, 24, 40);
const few = combinationsOf({
  numKvHeads: fc.integer({ min: 1, max: 3 }),
  group: fc.constantFrom(1, 2),
  seqLenQ: fc.constantFrom(1, 2),
  seqLenKv: fc.integer({ min: 120, max: 700 }),
  offset: fc.integer({ min: -9, max: 700 }),
  headDim: eights,
  valueDim: eights,
  window: fc.option(
    fc.record({ left: fc.option(fc.nat(500), { nil: undefined }), right: fc.option(fc.nat(300), { nil: undefined }) }),
    { nil: undefined },
  ),
});

forEachBuild((name, open) => {
  const heed = open();
  const count = (numRuns: number) => ({ seed: 20261128, numRuns: runs(name === "debug" ? numRuns / 4 : numRuns) });

  it("has at most twice the error of plain f32, in any combination of options", () => {
    fc.assert(
      fc.property(few, (problem) => expectWithinBudget(heed, problem, floorOf)),
      count(400),
    );
  });

  it("has the bits of a row in any part of the call, of arrays, Tensors and a cache", () => {
    const property = fc.property(few, parts, (problem, drawn) => expectSameParts(heed, problem, drawn));
    fc.assert(property, count(400));
  });

  it("has them whatever of q, k and v is NaN or Infinity", () => {
    const property = fc.property(few, parts, fc.integer(), (problem, drawn, seed) => {
      spoil(problem, seed);
      expectSameParts(heed, problem, drawn);
    });
    fc.assert(property, count(400));
  });

  it("has them on threads, and in steps", async () => {
    const shared = open();
    const seen = shareOut(shared);
    const property = fc.asyncProperty(few, async (problem) => {
      const expected = bitsOf(asTensors(heed, problem));
      expect(bitsOf(asTensors(shared, problem))).toEqual(expected);
      const { q, k, v, options } = problem;
      for (const each of [heed, shared])
        expect(bitsOf(await each.attentionAsync(q, k, v, { ...options, lse: true }))).toEqual(expected);
      expect(shared.memory.used).toBe(heed.memory.used);
    });
    await fc.assert(property, count(200));
    expect(seen.attend).toBeGreaterThan(0);
    shared.dispose();
  });

  it.each(["f16", "int8"] as const)("has them on threads over a cache of %s", (dtype) => {
    const shared = open();
    shareOut(shared);
    const property = fc.property(few, (whole) => {
      const { seqLenQ } = sequencesOf(whole)[0]!;
      if (seqLenQ === 0) return;
      const { numKvHeads, numHeads } = whole.options;
      const cut = { sequence: 0, kvHeads: [0, numKvHeads ?? numHeads], queries: [0, seqLenQ] } as const;
      const { problem } = partOf(whole, cut);
      const expected = inCache(dtype)(heed, problem);
      expect(bitsOf(inCache(dtype)(shared, problem))).toEqual(bitsOf(expected));
    });
    fc.assert(property, count(100));
    shared.dispose();
  });

  it("shares out more parts than the table of a pool has places for", () => {
    const shared = open();
    const seen = shareOut(shared);
    const problem = problemOf({ batch: 1, numHeads: 1, seqLenQ: 1, seqLenKv: 128 * MAX_ITEMS + 1, headDim: 8 });
    expect(bitsOf(asTensors(shared, problem))).toEqual(bitsOf(asTensors(heed, problem)));
    expect(seen.attend).toBe(2);
    shared.dispose();
  });

  it("gives every thread something to do where there is one KV head", () => {
    const shared = open();
    shareOut(shared);
    const pool = shared[INSTANCE].pool!;
    const items: number[] = [];
    const run = pool.run.bind(pool);
    pool.run = (...call) => {
      items.push(call[2].length);
      return run(...call);
    };
    asTensors(shared, problemOf({ batch: 1, numHeads: 4, numKvHeads: 1, seqLenQ: 1, seqLenKv: 1000, headDim: 8 }));
    expect(items).toEqual([8]);
    shared.dispose();
  });

  describe("a row whose scores in a split are all −Infinity", () => {
    const problemWith = (lost: (key: number) => boolean, options = {}) => {
      const problem = problemOf({ batch: 1, numHeads: 1, seqLenQ: 1, seqLenKv: 400, headDim: 8 }, options);
      const { q, k } = problem;
      q.fill(0);
      q[0] = 1;
      for (let key = 0; key < 400; key++) if (lost(key)) k[key * 8] = -Infinity;
      return problem;
    };
    const answers = (problem: ReturnType<typeof problemWith>) => [asArrays(heed, problem), asTensors(heed, problem)];

    it.each([
      ["of three", {}],
      ["of three, with a sink", { sinks: Float32Array.of(0.3) }],
    ])("gives that split no weight: one %s", (_, options) => {
      const problem = problemWith((key) => key >= 128 && key < 256, options);
      const { out, lse } = reference(problem.q, problem.k, problem.v, problem.options);
      for (const got of answers(problem)) {
        got.out.forEach((x, i) => expect(x).toBeCloseTo(out[i]!, 5));
        expect(got.lse[0]).toBeCloseTo(lse[0]!, 5);
      }
    });

    it("is NaN where they are so in all of them", () => {
      for (const { out, lse } of answers(problemWith(() => true))) expect([...out, ...lse]).toEqual(Array(9).fill(NaN));
    });
  });
});
