// What a layer looks at: the weights of forward, of all rows and heads or of chosen ones, without a cache and with one.
import { describe, expect, it } from "vitest";
import { maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Dims, type PlainForward, layerReference, projectionsOf } from "../support/layer.ts";
import { randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { expectRefusal } from "../support/refusal.ts";

const dims: Dims = {
  embedDim: 24,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 8,
  valueDim: 5,
  kvDim: { k: 24, v: 24 },
  outDim: 13,
};
const weights = projectionsOf(dims, uniform(1));
const [batch, length] = [2, 11];
const x = floats(batch * length * 24, uniform(2));
const cells = batch * 4 * length;

forEachBuild((_, open) => {
  const heed = open();
  const layer = heed.createMultiHeadAttention({ ...dims, weights, rotary: true });
  const keepMask = randomMask([batch, 1, 1, length]);
  const plain: PlainForward = { batch, rotary: {}, attention: { causal: true, queryOffset: 0, keepMask } };
  const exact = layerReference(x, weights, dims, plain);
  const budget = 2 * maxError(layerReference(x, weights, dims, plain, Math.fround).weights, exact.weights);
  const options = { batch, causal: true, keepMask };

  describe("weights", () => {
    it("are those of attention, and change nothing of the other results", () => {
      const got = layer.forward(x, { ...options, weights: true, lse: true });
      const { out, lse } = layer.forward(x, { ...options, lse: true });
      expect([got.out, got.lse]).toEqual([out, lse]);
      expect(maxError(got.weights, exact.weights)).toBeLessThanOrEqual(budget);
      exact.weights.forEach((weight, at) => {
        if (weight === 0) expect(got.weights[at]).toBe(0);
      });
      const without = layer.forward(x, { ...options, weights: true });
      expect("lse" in without).toBe(false);
      expect(without.weights).toEqual(got.weights);
      expect("weights" in layer.forward(x, { ...options, weights: false })).toBe(false);
    });

    it("of chosen rows and heads, reduced, the largest of them, with their entropy", () => {
      const all = layer.forward(x, { ...options, weights: true }).weights;
      const row = (b: number, head: number, i: number) =>
        Array.from(all.subarray(((b * 4 + head) * length + i) * length).subarray(0, length));
      const some = layer.forward(x, { ...options, weights: { rows: [10, 3], heads: [2], entropy: true } });
      expect(Array.from(some.weights)).toEqual([0, 1].flatMap((b) => [10, 3].flatMap((i) => row(b, 2, i))));
      expect(some.entropy).toHaveLength(batch * 2);
      const keys = layer.forward(x, { ...options, weights: { reduce: "keySum" } }).weights;
      expect(keys).toHaveLength(batch * 4 * length);
      const top = layer.forward(x, { ...options, weights: { topK: 3, rows: [5] } });
      expect(top.indices).toHaveLength(batch * 4 * 3);
      expect(top.weights[0]).toBe(Math.max(...row(0, 0, 5)));
      const scores = layer.forward(x, { ...options, weights: { stage: "masked" } }).weights;
      scores.forEach((score, at) => expect(score === -Infinity).toBe(exact.scores[at] === -Infinity));
    });

    it("of the tokens of a cache", () => {
      const cache = layer.createCache({ capacity: length, batch });
      const split = 7;
      const part = (from: number, to: number) =>
        Float32Array.from({ length: batch * (to - from) * 24 }, (_, at) => {
          const rows = Math.floor(at / 24);
          const [b, i] = [Math.floor(rows / (to - from)), from + (rows % (to - from))];
          return x[(b * length + i) * 24 + (at % 24)]!;
        });
      layer.forward(part(0, split), { cache, causal: true });
      const got = layer.forward(part(split, length), { cache, causal: true, keepMask, weights: true }).weights;
      const last = exact.weights.filter((_, at) => Math.floor(at / length) % length >= split);
      expect(maxError(got, last)).toBeLessThanOrEqual(budget);
      cache.dispose();
    });

    it("go where they are told, and not over another result", () => {
      const place = heed.tensor(cells * length);
      const got = layer.forward(x, { ...options, weights: { weights: place } });
      expect(got.weights).toBe(place);
      expect(place.data).toEqual(layer.forward(x, { ...options, weights: true }).weights);
      place.dispose();
      const shared = heed.tensor(batch * length * 13);
      const over = { ...options, out: shared, weights: { weights: shared } };
      expect(() => layer.forward(x, over)).toThrow(/^"out" expected memory apart from "weights", got /);
      const lse = heed.tensor(cells);
      const overLse = { ...options, lse, weights: { entropy: lse } };
      expect(() => layer.forward(x, overLse)).toThrow(/^"lse" expected memory apart from "entropy", got /);
      shared.dispose();
      lse.dispose();
    });

    it.each([
      ["weights", TypeError, 3],
      ["rows", TypeError, { rows: 3 }],
      ["rows[1]", RangeError, { rows: [0, 11] }],
      ["heads[0]", RangeError, { heads: [4] }],
      ["reduce", RangeError, { reduce: "sum" }],
      ["topK", RangeError, { topK: 0 }],
      ["weights", RangeError, { weights: new Float32Array(3) }],
      ["entropy", TypeError, { entropy: 1 }],
      ["stage", RangeError, { stage: "softmax2" }],
    ] as const)("that are wrong, %s: nothing is written, and the cache is as it was", (named, kind, wrong) => {
      const cache = layer.createCache({ capacity: 100, batch });
      layer.forward(x, { ...options, cache });
      const out = new Float32Array(batch * length * 13).fill(7);
      const lse = heed.tensor(cells);
      const { used } = heed.memory;
      const call = (more: object) => () => layer.forward(x, { batch, ...more, out, lse, weights: wrong as never });
      for (const more of [{ cache }, {}]) {
        expectRefusal(kind, named, call(more));
      }
      expect(cache.length).toBe(length);
      expect([...out, ...lse.data].every((value, at) => value === (at < out.length ? 7 : 0))).toBe(true);
      expect(heed.memory.used).toBe(used);
      cache.dispose();
      lse.dispose();
    });
  });
});
