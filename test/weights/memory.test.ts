// attentionWeights takes little more memory than its answer, gives it back, and writes where it is told.
import { describe, expect, it } from "vitest";
import type { WeightsOptions } from "../../bindings/attention-weights/options.ts";
import { forEachBuild } from "../support/builds.ts";
import { problemOf, randomBias, randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { topOf } from "../support/weights-model.ts";

const f32 = (...numbers: number[]) => Float32Array.from(numbers);

forEachBuild((name, open) => {
  const heed = open();

  describe("memory", () => {
    const [rows, heads, keys] = name === "debug" ? [4, 8, 16384] : [32, 32, 16384];
    const answer = rows * heads * keys * 4;
    const options = { numHeads: heads, headDim: 64 };

    it("is the answer and 1 MiB, beside tensors", () => {
      const heed = open();
      using q = heed.tensor(rows * heads * 64);
      using k = heed.tensor(keys * heads * 64);
      q.data.set(floats(q.length, uniform(1)));
      for (let at = 0; at < k.length; at += 4099) k.data[at] = 1;
      const before = heed.memory.used;
      const { weights } = heed.attentionWeights(q, k, options);
      expect(heed.memory.peak - before).toBeLessThanOrEqual(answer + 2 ** 20);
      expect(Math.abs(weights.subarray(0, keys).reduce((a, b) => a + b, 0) - 1)).toBeLessThan(1e-5);
      expect(heed.memory.used).toBe(before);
      heed.dispose();
    });

    it.each<[string, Partial<WeightsOptions>, number]>([
      ["in full", {}, keys * 32],
      ["mean", { reduce: "mean" }, keys * 4],
      ["keySum", { reduce: "keySum" }, keys * 8],
      ["topK", { topK: 5 }, 2 * 5 * 32],
      ["topK of the mean", { topK: 5, reduce: "mean" }, 2 * 5 * 4],
      ["topK of keySum", { topK: 5, reduce: "keySum" }, 2 * 5 * 8],
    ])("is the answer and 1 MiB, beside arrays: %s", (_, more, length) => {
      const heed = open();
      const q = floats(1000 * 8 * 64, uniform(1));
      const k = new Float32Array(keys * 8 * 64);
      heed.attentionWeights(q, k, { numHeads: 8, headDim: 64, rows: [1, 500, 77, 999], ...more });
      expect(heed.memory.peak).toBeLessThanOrEqual(length * 4 + 2 ** 20);
      heed.dispose();
    });

    it("is given back, whatever is wrong", () => {
      const heed = open(40 * 65536);
      const { used } = heed.memory;
      const { q, k, options } = problemOf({});
      const { weights } = heed.attentionWeights(q, k, options);
      const long = new Float32Array(2 ** 20);
      const target = new Float32Array(2 ** 20).fill(7);
      expect(() => heed.attentionWeights(f32(1), long, { numHeads: 1, headDim: 1, weights: target })).toThrow(
        RangeError,
      );
      expect(target.every((x) => x === 7)).toBe(true);
      expect(heed.memory.used).toBe(used);
      expect(heed.attentionWeights(q, k, options).weights).toEqual(weights);
      heed.dispose();
    });
  });

  it("writes into weights, indices and entropy, arrays or tensors, and returns them", () => {
    const { q, k, options } = problemOf({}, { bias: randomBias([29], 0.2), keepMask: randomMask([13, 29]) });
    const plain = heed.attentionWeights(q, k, { ...options, entropy: true });
    using weights = heed.tensor(plain.weights.length);
    const entropy = new Float32Array(plain.entropy.length);
    const given = heed.attentionWeights(q, k, { ...options, weights, entropy });
    expect(given.weights).toBe(weights);
    expect(given.entropy).toBe(entropy);
    expect(weights.data).toEqual(plain.weights);
    expect(entropy).toEqual(plain.entropy);
    const indices = new Int32Array(2 * 4 * 13 * 2);
    const top = heed.attentionWeights(q, k, { ...options, topK: 2, indices });
    expect(top.indices).toBe(indices);
    expect(indices).toEqual(topOf(plain.weights, 29, 2).indices);
    expect(plain).not.toHaveProperty("indices");
    expect(heed.attentionWeights(q, k, options)).not.toHaveProperty("entropy");
  });
});
