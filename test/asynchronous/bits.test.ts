// Asynchronous calls give the bits of synchronous ones, wherever their steps begin and end.
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { bitsOf } from "../support/bits.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinationsOf } from "../support/combinations.ts";
import type { Cache } from "../support/kv-model.ts";
import { makeLayer } from "../support/layer.ts";
import { problemOf, randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";

// So little work that small problems have many steps, and the keys of each end with their page.
vi.mock("../../bindings/steps/steps.ts", async (original) => ({
  ...(await original<typeof import("../../bindings/steps/steps.ts")>()),
  STEP_WORK: 1000,
}));

const seqLenKv = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 115, max: 600 }));
const runs = { numRuns: 60 };

forEachBuild((_, open) => {
  const heed = open();

  /** Expects what `call` gives to have the bits of what it gives `expected` synchronously, after several slices. */
  async function expectSame(
    expected: object,
    call: (options: { onProgress: (fraction: number) => void; budgetMs: number }) => Promise<object>,
    leastSlices = 1,
  ): Promise<void> {
    const { used } = heed.memory;
    const fractions: number[] = [];
    const result = await call({ onProgress: (fraction) => fractions.push(fraction), budgetMs: 1e-6 });
    expect(bitsOf(result)).toEqual(bitsOf(expected));
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
    expect(fractions.at(-1)).toBe(1);
    expect(fractions.length).toBeGreaterThanOrEqual(leastSlices);
    expect(heed.memory.used).toBe(used);
  }

  describe("attentionAsync", () => {
    it("of any combination of options", async () => {
      const problems = combinationsOf({ seqLenKv, seqLenQ: fc.integer({ min: 1, max: 90 }) });
      await fc.assert(
        fc.asyncProperty(problems, async ({ q, k, v, options }) => {
          const all = { ...options, lse: true };
          await expectSame(heed.attention(q, k, v, all), (more) => heed.attentionAsync(q, k, v, { ...all, ...more }));
        }),
        runs,
      );
    });

    it("of more query rows than a pass has, over several pages", async () => {
      const { q, k, v, options } = problemOf({ batch: 1, numHeads: 2, seqLenQ: 800, seqLenKv: 300, headDim: 16 });
      const all = { ...options, causal: true, lse: true };
      await expectSame(heed.attention(q, k, v, all), (more) => heed.attentionAsync(q, k, v, { ...all, ...more }), 8);
    });

    it("of a group of more heads than a pass has rows", async () => {
      const sizes = { batch: 1, numHeads: 142, numKvHeads: 2, seqLenQ: 7, seqLenKv: 300, headDim: 1500 };
      const { q, k, v, options } = problemOf(sizes);
      await expectSame(heed.attention(q, k, v, options), (more) =>
        heed.attentionAsync(q, k, v, { ...options, ...more }),
      );
    });

    it.each([1, 3, 5, 40])("of masked values that are not finite, %s queries", async (seqLenQ) => {
      const { q, k, v, options } = problemOf({ seqLenQ, seqLenKv: 400 });
      for (const at of [5, 7_000, 60_000]) v[at] = [NaN, Infinity, -Infinity][at % 3]!;
      k[50_000] = NaN;
      const all = { ...options, keepMask: randomMask([2, 1, seqLenQ, 400]), lse: true };
      await expectSame(heed.attention(q, k, v, all), (more) => heed.attentionAsync(q, k, v, { ...all, ...more }));
    });
  });

  describe.each(["f32", "f16", "int8"] as const)("a cache of %s", (dtype) => {
    it.each([1, 2, 4, 5, 70])("%s new queries", async (rows) => {
      const next = uniform(rows);
      const sizes = { numKvHeads: 2, headDim: 16, capacity: 700, batch: 2, dtype } as const;
      for (const more of [{}, { rotary: {} }, { window: 150 }]) {
        using cache = heed.createKvCache({ ...sizes, ...more });
        const lengths = Int32Array.of(600, 390);
        cache.append(floats(2 * 600 * 32, next), floats(2 * 600 * 32, next), { lengths });
        const q = floats(2 * rows * 64, next);
        const options = { numHeads: 4, causal: true, lse: true } as const;
        await expectSame(cache.attention(q, options), (how) => cache.attentionAsync(q, { ...options, ...how }), 2);
      }
    });

    it("numbers that the integers of int8 do not take", async () => {
      const next = uniform(7);
      using cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 600, dtype });
      cache.append(floats(600 * 8, next), floats(600 * 8, next));
      // One row of them alone, and beside one that they take.
      for (const rows of [1, 2]) {
        const q = floats(rows * 8, next).map((x, at) => (at < 8 ? x * 1e30 : x));
        const options = { numHeads: 1, scale: 1e-30 };
        await expectSame(cache.attention(q, options), (more) => cache.attentionAsync(q, { ...options, ...more }));
      }
    });
  });

  describe("a layer", () => {
    it.each([
      ["alone", {}, {}],
      ["with softcap and lse", { causal: true, softcap: 9, lse: true as const }, {}],
      ["with rotary", {}, { rotary: {}, causal: true }],
      ["with weights", { weights: { topK: 3, entropy: true } as const }, {}],
      ["with a dropMask", { dropMask: { data: new Uint8Array(200).fill(1, 190), shape: [1, 1, 1, 200] } }, {}],
    ])("%s", async (_, options, defaults) => {
      const { layer, dims } = makeLayer(heed, { numKvHeads: 2 }, defaults);
      const x = floats(2 * 200 * dims.embedDim, uniform(3));
      const all = { ...options, batch: 2 };
      await expectSame(layer.forward(x, all), (more) => layer.forwardAsync(x, { ...all, ...more }), 4);
      layer.dispose();
    });

    it("with a cache", async () => {
      const { layer, dims } = makeLayer(heed, { numKvHeads: 2 });
      const rows = (tokens: number) => floats(2 * tokens * dims.embedDim, uniform(tokens));
      const [one, other] = [0, 1].map(() => layer.createCache({ capacity: 900, batch: 2 })) as [Cache, Cache];
      for (const tokens of [300, 1, 60]) {
        const lengths = Int32Array.of(tokens, 1);
        const all = { causal: true, lengths } as const;
        const expected = layer.forward(rows(tokens), { ...all, cache: one });
        const result = await layer.forwardAsync(rows(tokens), { ...all, cache: other });
        expect(bitsOf(result)).toEqual(bitsOf(expected));
        expect(other.lengths).toEqual(one.lengths);
      }
      for (const own of [layer, one, other]) own.dispose();
    });
  });
});
