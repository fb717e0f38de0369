// With `reproducible: true` calls of few query rows have the bits of calls of many: decoding equals prefill.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bitsOf } from "../support/bits.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinationsOf } from "../support/combinations.ts";
import { asArrays, bitsOfRows, expectSameParts, parts, sequencesOf, spoil } from "../support/cuts.ts";
import { makeLayer } from "../support/layer.ts";
import { problemOf } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

const problems = combinationsOf({
  numKvHeads: fc.integer({ min: 1, max: 3 }),
  seqLenKv: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 60, max: 700 })),
  headDim: fc.oneof(fc.constantFrom(8, 16, 40, 64), fc.integer({ min: 1, max: 40 })),
  valueDim: fc.oneof(fc.constantFrom(8, 16, 40, 64), fc.integer({ min: 1, max: 40 })),
  window: fc.option(fc.record({ left: fc.option(fc.nat(400), { nil: undefined }), right: fc.nat(40) }), {
    nil: undefined,
  }),
});

forEachBuild((name, open) => {
  const heed = open();
  const count = (numRuns: number) => runs(name === "debug" ? numRuns / 5 : numRuns);

  it.each(["finite", "spoiled"])("any part of a call has the bits of the whole: %s values", (values) => {
    const property = fc.property(problems, parts, fc.integer(), (problem, drawn, seed) => {
      if (values === "spoiled") spoil(problem, seed);
      expectSameParts(heed, { ...problem, options: { ...problem.options, reproducible: true } }, drawn);
    });
    fc.assert(property, { seed: 20261203, numRuns: count(500) });
  });

  it("a call of more than four rows a KV head has the bits that it has without", () => {
    const property = fc.property(problems, (problem) => {
      const { numHeads, numKvHeads = numHeads } = problem.options;
      fc.pre(sequencesOf(problem).every(({ seqLenQ }) => (seqLenQ * numHeads) / numKvHeads > 4));
      const { q, k, v, options } = problem;
      const all = { ...options, reproducible: true, lse: true };
      expect(bitsOf(heed.attention(q, k, v, all))).toEqual(bitsOf(asArrays(heed, problem)));
    });
    fc.assert(property, { seed: 20261204, numRuns: count(100) });
  });

  it("asynchronously too", async () => {
    const { q, k, v, options } = problemOf({ seqLenQ: 2, seqLenKv: 300 }, { causal: true, reproducible: true });
    const all = { ...options, lse: true };
    const [together, apart] = [heed.attention(q, k, v, all), await heed.attentionAsync(q, k, v, all)];
    expect(bitsOf(apart)).toEqual(bitsOf(together));
    expect(bitsOf(heed.attention(q, k, v, { ...all, reproducible: false }))).not.toEqual(bitsOf(together));
  });

  it("attentionWeights takes the option, and gives the same", () => {
    const { q, k, options } = problemOf({ seqLenQ: 2 });
    const plain = heed.attentionWeights(q, k, options);
    expect(bitsOf(heed.attentionWeights(q, k, { ...options, reproducible: true }))).toEqual(bitsOf(plain));
  });

  describe.each(["f32", "f16", "int8"] as const)("a cache of %s, filled token by token", (dtype) => {
    it.each([
      ["alone", {}, {}],
      ["with rotary", { rotary: {} }, {}],
      ["with a window", { window: 70 }, {}],
      ["with softcap, ALiBi, sinks", {}, "all"],
    ])("has the bits of one prefill %s", (_, store, more) => {
      const [numHeads, numKvHeads, headDim, valueDim, tokens] = [4, 2, 24, 40, 150];
      const shape = { numKvHeads, headDim, valueDim, capacity: 200, batch: 2, dtype, ...store };
      const next = uniform(7);
      const rowsOf = (dim: number) => Array.from({ length: tokens }, () => floats(2 * dim, next));
      const [q, k, v] = [rowsOf(numHeads * headDim), rowsOf(numKvHeads * headDim), rowsOf(numKvHeads * valueDim)];
      /** [2, tokens, dim] out of [2, dim] of each token. */
      const join = (rows: readonly Float32Array[]): Float32Array => {
        const dim = rows[0]!.length / 2;
        const all = new Float32Array(2 * rows.length * dim);
        rows.forEach((row, t) => {
          for (const b of [0, 1]) all.set(row.subarray(b * dim, (b + 1) * dim), (b * rows.length + t) * dim);
        });
        return all;
      };
      const chosen = more === "all" && {
        softcap: 9,
        alibiSlopes: Float32Array.of(0.5, 0.25, 0.125, 0.0625),
        sinks: floats(numHeads, next),
      };
      const options = { numHeads, causal: true, lse: true, reproducible: true, ...chosen } as const;

      using whole = heed.createKvCache(shape);
      whole.append(join(k), join(v));
      const prefill = whole.attention(join(q), options);
      using grown = heed.createKvCache(shape);
      let plain = 0;
      for (let t = 0; t < tokens; t++) {
        grown.append(k[t]!, v[t]!);
        const token = grown.attention(q[t]!, options);
        const places = (length: number, at: number) =>
          [0, 1].flatMap((b) =>
            Array.from({ length: numHeads }, (_, h) => ({
              out: (b * length + at) * numHeads + h,
              lse: (b * numHeads + h) * length + at,
            })),
          );
        const expected = bitsOfRows(prefill, valueDim, places(tokens, t));
        expect(bitsOfRows(token, valueDim, places(1, 0))).toEqual(expected);
        const without = grown.attention(q[t]!, { ...options, reproducible: false });
        if (JSON.stringify(bitsOfRows(without, valueDim, places(1, 0))) === JSON.stringify(expected)) plain++;
      }
      // The option is what makes it so.
      expect(plain).toBeLessThan(tokens / 2);
    });
  });

  it.each(["of the call", "of the layer"])("a layer decodes what it prefills, by the option %s", (whose) => {
    const own = { reproducible: true };
    const { layer, dims } = makeLayer(heed, { numKvHeads: 2 }, { causal: true, ...(whose === "of the layer" && own) });
    const call = whose === "of the call" ? own : {};
    const tokens = 140;
    const x = floats(tokens * dims.embedDim, uniform(3));
    using cache = layer.createCache({ capacity: tokens });
    const all = layer.forward(x, { ...call, cache }).out;
    cache.truncate(0);
    for (let t = 0; t < tokens; t++) {
      const { out } = layer.forward(x.subarray(t * dims.embedDim, (t + 1) * dims.embedDim), { ...call, cache });
      expect(out).toEqual(all.subarray(t * dims.outDim, (t + 1) * dims.outDim));
    }
    layer.dispose();
  });
});
