// With `reproducible` a row has the same bits however few rows a call has.
import fc from "fast-check";
import { expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { problemOf, randomBias, randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { expectRefusal } from "../support/refusal.ts";

const recipe = fc.record({
  seed: fc.integer(),
  dtype: fc.constantFrom("f32" as const, "f16" as const, "int8" as const),
  numKvHeads: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 4 }),
  tokens: fc.integer({ min: 2, max: 300 }),
  headDim: fc.constantFrom(8, 12, 24, 64),
  valueDim: fc.constantFrom(8, 13, 40),
  rotary: fc.boolean(),
  softcap: fc.boolean(),
  alibi: fc.boolean(),
  sinks: fc.boolean(),
  window: fc.option(fc.integer({ min: 0, max: 150 }), { nil: undefined }),
  step: fc.integer({ min: 1, max: 3 }),
});

forEachBuild((name, open) => {
  const heed = open();

  it("a cache token by token gives the bits of the whole prompt", () => {
    fc.assert(
      fc.property(recipe, ({ seed, dtype, numKvHeads, group, tokens, headDim, valueDim, step, ...chosen }) => {
        const next = uniform(seed);
        const numHeads = numKvHeads * group;
        const [q, k, v] = [numHeads * headDim, numKvHeads * headDim, numKvHeads * valueDim].map((n) =>
          floats(tokens * n, next),
        ) as [Float32Array, Float32Array, Float32Array];
        const options = {
          numHeads,
          causal: true,
          reproducible: true,
          lse: true,
          ...(chosen.softcap && { softcap: 3 }),
          ...(chosen.alibi && { alibiSlopes: floats(numHeads, next) }),
          ...(chosen.sinks && { sinks: floats(numHeads, next) }),
          window: { left: chosen.window },
        } as const;
        const sizes = { numKvHeads, headDim, valueDim, capacity: tokens, dtype, ...(chosen.rotary && { rotary: {} }) };
        // Rotary takes pairs.
        if (headDim % 2) return;
        using whole = heed.createKvCache(sizes);
        whole.append(k, v);
        const expected = whole.attention(q, options);
        using cache = heed.createKvCache(sizes);
        for (let start = 0; start < tokens; start += step) {
          const count = Math.min(step, tokens - start);
          const part = (rows: Float32Array) =>
            rows.subarray((start * rows.length) / tokens, ((start + count) * rows.length) / tokens);
          cache.append(part(k), part(v));
          const { out, lse } = cache.attention(part(q), options);
          expect(out).toEqual(part(expected.out));
          for (let h = 0; h < numHeads; h++) {
            const from = h * tokens + start;
            expect(lse.subarray(h * count, (h + 1) * count)).toEqual(expected.lse.subarray(from, from + count));
          }
        }
      }),
      { numRuns: name === "debug" ? 10 : 60 },
    );
  });

  it.each([1, 2, 4])("%s rows of arrays, with a mask and a bias, have the bits that they have among many", (few) => {
    const [batch, numHeads, rows, keys] = [2, 4, 40, 290];
    const sizes = { batch, numHeads, numKvHeads: 4, seqLenQ: rows, seqLenKv: keys, headDim: 16 };
    const keepMask = randomMask([rows, keys]);
    const bias = randomBias([numHeads, 1, keys]);
    const { q, k, v, options } = problemOf(sizes, { keepMask, bias, layout: "bhld" });
    const { out } = heed.attention(q, k, v, { ...options, reproducible: true });
    const rowsOf = (array: Float32Array, start: number) =>
      Float32Array.from({ length: batch * numHeads * few * 16 }, (_, i) => {
        const head = Math.floor(i / (few * 16));
        return array[(head * rows + start) * 16 + (i % (few * 16))]!;
      });
    for (const start of [0, 7, rows - few]) {
      const data = keepMask.data.subarray(start * keys, (start + few) * keys);
      const some = { ...options, keepMask: { data, shape: [few, keys] }, queryOffset: keys - rows + start };
      const part = heed.attention(rowsOf(q, start), k, v, { ...some, reproducible: true });
      expect(part.out).toEqual(rowsOf(out, start));
    }
  });

  it("a layer with it as a default, token by token", () => {
    const next = uniform(9);
    const weight = () => ({ weight: floats(32 * 32, next) });
    const weights = { q: weight(), k: weight(), v: weight(), out: weight() };
    using layer = heed.createMultiHeadAttention({
      embedDim: 32,
      numHeads: 2,
      causal: true,
      reproducible: true,
      rotary: {},
      weights,
    });
    const x = floats(150 * 32, next);
    const { out } = layer.forward(x);
    using cache = layer.createCache({ capacity: 150 });
    for (let t = 0; t < 150; t++) {
      const row = [t * 32, (t + 1) * 32] as const;
      expect(layer.forward(x.subarray(...row), { cache }).out).toEqual(out.subarray(...row));
    }
  });

  it("is true or false", () => {
    const { q, k, v, options } = problemOf({});
    const wrong = { ...options, reproducible: 1 as unknown as boolean };
    expectRefusal(TypeError, "reproducible", () => heed.attention(q, k, v, wrong));
  });
});
