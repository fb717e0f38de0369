// KvCache.attentionWeights against heed.attentionWeights, and against f64 over the rows as they are stored.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ULP, largest } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { Model } from "../support/kv-model.ts";
import { randomBias, randomMask } from "../support/problems.ts";
import { floats, integer, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";
import { expectWeights } from "../support/weights-model.ts";

const recipe = fc.record({
  seed: fc.integer(),
  batch: fc.integer({ min: 1, max: 2 }),
  numKvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  headDim: fc.oneof(fc.integer({ min: 1, max: 21 }), fc.constantFrom(8, 16, 64)),
  dtype: fc.constantFrom("f32" as const, "f16" as const, "int8" as const),
  tokens: fc.constantFrom(1, 3, 40, 127, 128, 129, 200),
  seqLenQ: fc.integer({ min: 1, max: 6 }),
  causal: fc.boolean(),
  softcap: fc.option(fc.constant(3), { nil: undefined }),
  sinks: fc.boolean(),
  masks: fc.boolean(),
  reduce: fc.constantFrom(undefined, "mean" as const, "keySum" as const),
});

forEachBuild((name, open) => {
  const heed = open();

  it("gives the weights over the stored rows, from any type, ragged or not", () => {
    const property = fc.property(
      recipe,
      ({ seed, batch, numKvHeads, group, headDim, dtype, tokens, seqLenQ, ...made }) => {
        const next = uniform(seed);
        const settings = { numKvHeads, headDim, batch, dtype, capacity: 500 };
        using cache = heed.createKvCache(settings);
        const model = new Model(settings);
        for (const newTokens of [tokens, 7]) {
          const [k, v] = [0, 1].map(() => floats(batch * newTokens * numKvHeads * headDim, next));
          const lengths = Int32Array.from({ length: batch }, () => integer(newTokens >> 1, newTokens, next));
          cache.append(k!, v!, { lengths });
          model.append(k!, v!, lengths);
        }
        const numHeads = numKvHeads * group;
        const q = floats(batch * seqLenQ * numHeads * headDim, next);
        const chosen = { rows: [seqLenQ - 1, 0], heads: [numHeads - 1, 0], reduce: made.reduce };
        const options = {
          numHeads,
          causal: made.causal,
          softcap: made.softcap,
          ...(made.sinks && { sinks: floats(numHeads, next) }),
          ...(made.masks && {
            keepMask: randomMask([batch, 1, 1, model.length], seed),
            bias: randomBias([model.length], 0.1),
          }),
        };
        const { lse } = cache.attention(q, { ...options, lse: true });
        const given = { ...options, ...chosen, entropy: true, ...(next() < 0.5 && { lse }) };
        const got = cache.attentionWeights(q, given);

        const plain = model.optionsOf(options);
        // The reference computes in f64 whatever it is given.
        const k = model.rows("k", undefined) as unknown as Float32Array<ArrayBuffer>;
        const v = model.rows("v", undefined) as unknown as Float32Array<ArrayBuffer>;
        // byte·scale of int8 is rounded before or after the sum, see expectRight.
        const score = dtype === "int8" ? largest(q) * largest(k) * Math.sqrt(headDim) : 0;
        expectWeights(got, { q, k, v, options: plain }, chosen, 0.5 * ULP * score);
        if (dtype !== "f32") return;
        const arrays = heed.attentionWeights(q, Float32Array.from(k), { ...plain, ...given });
        expect(got).toEqual(arrays);
      },
    );
    fc.assert(property, { seed: 20261124, numRuns: runs(name === "debug" ? 40 : 150) });
  });

  it("gives topK and stages from a cache", () => {
    using cache = heed.createKvCache({ numKvHeads: 1, headDim: 1, capacity: 8 });
    cache.append(Float32Array.of(1, 3, 2), Float32Array.of(0, 0, 0));
    const q = Float32Array.of(1);
    expect([...cache.attentionWeights(q, { numHeads: 1, topK: 2 }).indices]).toEqual([1, 2]);
    expect([...cache.attentionWeights(q, { numHeads: 1, stage: "scores" }).weights]).toEqual([1, 3, 2]);
  });

  describe("a cache with a window", () => {
    const settings = { numKvHeads: 1, headDim: 8, capacity: 1000, window: 100 };
    const next = uniform(3);
    const k = floats(400 * 8, next);
    const q = floats(2 * 8, next);
    const filled = () => {
      const cache = heed.createKvCache(settings);
      for (let at = 0; at < 400; at += 10) {
        const rows = k.subarray(at * 8, (at + 10) * 8);
        cache.append(rows, rows);
      }
      return cache;
    };

    it("gives what its window leaves, and −Infinity for the rest before the masks", () => {
      using cache = filled();
      const options = { numHeads: 1, causal: true };
      const { weights } = cache.attentionWeights(q, options);
      const whole = { ...options, headDim: 8, window: { left: 100 } };
      expect(weights).toEqual(heed.attentionWeights(q, k, whole).weights);
      const { weights: scores } = cache.attentionWeights(q, { ...options, stage: "scores" });
      expect(scores.findIndex((x) => x !== -Infinity)).toBe(398 - 100);
    });

    it("refuses rows that could see what is gone, and those alone", () => {
      using cache = filled();
      const early = { numHeads: 1, queryOffset: 300 - 1 };
      expect(() => cache.attentionWeights(q, early)).toThrow(RangeError);
      expect(() => cache.attentionWeights(q, early)).toThrow(
        /"queryOffset" expected at least \d+ \(keys further left are gone\)/,
      );
      const first = Number(/at least (\d+)/.exec(messageOf(() => cache.attentionWeights(q, early)))![1]);
      expect(() => cache.attentionWeights(q, { numHeads: 1, queryOffset: first - 1 })).toThrow(RangeError);
      expect(cache.attentionWeights(q, { numHeads: 1, queryOffset: first - 1, rows: [1] }).weights.length).toBe(400);
      expect(cache.attentionWeights(q, { numHeads: 1, queryOffset: first }).weights.length).toBe(800);
    });

    it("is refused once it is disposed", () => {
      const cache = filled();
      cache.dispose();
      expect(() => cache.attentionWeights(q, { numHeads: 1 })).toThrow(ReferenceError);
    });
  });
});

function messageOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return String(error);
  }
  return "";
}
