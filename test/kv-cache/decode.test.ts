// Few query rows over a cache, whose kernels count in whole numbers (assembly/decode/int8.ts) or leave exponents to the
// end (assembly/decode/qk.ts): numbers of any size, any number of keys, rows of any length.
import { describe, expect, it } from "vitest";
import { type Dtype, type Cache, Model, expectRight } from "../support/kv-model.ts";
import { forEachBuild } from "../support/builds.ts";
import type { Heed } from "../../bindings/heed.ts";
import { floats, uniform } from "../support/random.ts";
import { thinned } from "../support/sweep.ts";

interface Sizes {
  keys: number;
  headDim: number;
  valueDim?: number;
  numHeads?: number;
  numKvHeads?: number;
  ofK?: number;
  ofV?: number;
}

/** A cache and what it holds, its k and v as large as asked for. */
function filled(heed: Heed, dtype: Dtype, sizes: Sizes): { cache: Cache; model: Model } {
  const { keys, headDim, valueDim = headDim, numKvHeads = 1, ofK = 1, ofV = 1 } = sizes;
  const options = { numKvHeads, headDim, valueDim, capacity: keys, dtype };
  const cache = heed.createKvCache(options);
  const model = new Model(options);
  const next = uniform(keys);
  const k = floats(keys * numKvHeads * headDim, next).map((x) => x * ofK);
  const v = floats(keys * numKvHeads * valueDim, next).map((x) => x * ofV);
  cache.append(k, v);
  model.append(k, v);
  return { cache, model };
}

const queries = (rows: number, dim: number, size: number) => floats(rows * dim, uniform(rows)).map((x) => x * size);

forEachBuild((_, open) => {
  const heed = open();

  describe.each<Dtype>(["f32", "f16", "int8"])("%s", (dtype) => {
    describe.each([1, 2, 3, 4])("%i rows of q", (rows) => {
      const sizes = [0, 1e-42, 1e-35, 1e-30, 1e-20, 1e-5, 1e5, 1e20, 1e30, 1e35];
      // One row alone with every size, several rows with the smallest and the largest.
      it.each(thinned(sizes, (size) => rows === 1 || size <= 1e-42 || size === 1e35))("as large as %s", (size) => {
        const { cache, model } = filled(heed, dtype, { keys: 133, headDim: 24 });
        const scale = Math.min(1 / size, 1e38);
        expectRight(cache, model, queries(rows, 24, size), { numHeads: 1, scale });
        cache.dispose();
      });

      it.each(dtype === "f16" ? [1e-6, 1e-3, 1e4] : [1e-42, 1e-35, 1e-20, 1e20, 1e35])(
        "over k and v as large as %s",
        (size) => {
          const { cache, model } = filled(heed, dtype, { keys: 133, headDim: 24, ofK: size, ofV: size });
          expectRight(cache, model, queries(rows, 24, 1), { numHeads: 1, scale: Math.min(1 / size, 1e38) });
          cache.dispose();
        },
      );

      it("over any number of keys", () => {
        for (const keys of [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 126, 127, 128, 129, 130, 131, 257, 383]) {
          const { cache, model } = filled(heed, dtype, { keys, headDim: 16, valueDim: 40, numKvHeads: 2, numHeads: 2 });
          expectRight(cache, model, queries(2 * rows, 16, 1), { numHeads: 2, causal: true });
          cache.dispose();
        }
      });

      it("whose weights vanish", () => {
        const { cache, model } = filled(heed, dtype, { keys: 1000, headDim: 64 });
        for (const scale of thinned([1, 4, 16], (scale) => scale !== 4))
          expectRight(cache, model, queries(rows, 64, 1), { numHeads: 1, scale });
        cache.dispose();
      });

      it("longer than whole numbers are added up", () => {
        const { cache, model } = filled(heed, dtype, { keys: 9, headDim: 4104, valueDim: 4104 });
        expectRight(cache, model, queries(rows, 4104, 1), { numHeads: 1, scale: 1 / 64 });
        cache.dispose();
      });

      // The sums of whole numbers are the largest they can be: 4096 values are the most that stay below 2³¹.
      it.each([4088, 4096, 4104, 8192])("of %i values that are all as large as can be", (headDim) => {
        using cache = heed.createKvCache({ numKvHeads: 1, headDim, valueDim: 8, capacity: 2, dtype });
        cache.append(new Float32Array(headDim).fill(1), new Float32Array(8).fill(1));
        cache.append(new Float32Array(headDim).fill(-1), new Float32Array(8));
        const q = new Float32Array(rows * headDim).fill(1.9999999);
        const { out } = cache.attention(q, { numHeads: 1, scale: 1 / (2 * headDim) });
        for (const x of out) expect(x).toBeCloseTo(1 / (1 + Math.exp(-2)), 5); // scores of 1 and −1
      });

      it("of which the last has NaN, or Infinity", () => {
        const { cache } = filled(heed, dtype, { keys: 150, headDim: 32 });
        const q = queries(rows, 32, 1);
        const clean = cache.attention(q, { numHeads: 1 }).out;
        for (const bad of [NaN, Infinity]) {
          q[q.length - 5] = bad;
          const { out } = cache.attention(q, { numHeads: 1 });
          const spoiled = out.length - 32;
          for (let at = 0; at < spoiled; at++) expect(Math.abs(out[at]! - clean[at]!)).toBeLessThan(1e-5);
          expect(out.subarray(spoiled).every(Number.isNaN)).toBe(true);
        }
        cache.dispose();
      });
    });
  });
});
