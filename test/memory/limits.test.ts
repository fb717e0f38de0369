// Every call in memory of every size: it succeeds, or it is a RangeError after which nothing is left of it.
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { forEachBuild } from "../support/builds.ts";
import { projectionsOf } from "../support/layer.ts";
import { problemOf, randomBias, randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";

const PAGE = 65536;

/** Each argument takes a page of WebAssembly or two, so that memory runs out between any two of them. */
const { q, k, v, options } = problemOf(
  { batch: 1, numHeads: 4, seqLenQ: 64, seqLenKv: 128, headDim: 64 },
  { bias: randomBias([4, 64, 128]), keepMask: randomMask([4, 64, 128]), sinks: floats(4, uniform(1)) },
);
const long = floats(512 * 256, uniform(5));
const parts = [1, 2, 3].map((seed) => ({ out: floats(256 * 64, uniform(seed)), lse: floats(256, uniform(seed)) }));
const dims = {
  embedDim: 128,
  numHeads: 2,
  numKvHeads: 2,
  headDim: 64,
  valueDim: 64,
  kvDim: { k: 128, v: 128 },
  outDim: 128,
};
const weights = projectionsOf(dims, uniform(4));
const cells = { numHeads: 4, headDim: 64, rows: Array.from({ length: 64 }, (_, row) => row) };

/** Calls that reserve several times; what they make they dispose of. */
const calls: Record<string, (heed: Heed) => unknown> = {
  attention: (heed) => heed.attention(q, k, v, { ...options, lse: true }),
  "attention, K and V in pieces": (heed) => {
    const few = { numHeads: 4, headDim: 64, lse: true };
    return heed.attention(q.subarray(0, 512), long, long, few);
  },
  attentionWeights: (heed) => heed.attentionWeights(q, k, { ...cells, entropy: true }),
  "attentionWeights, topK of the mean": (heed) => heed.attentionWeights(q, k, { ...cells, reduce: "mean", topK: 99 }),
  merge: (heed) => heed.merge(parts, { numHeads: 4, headDim: 64, sinks: floats(4, uniform(1)) }),
  linear: (heed) => heed.linear(q, { data: long, shape: [512, 256] }, new Float32Array(512)),
  packLinear: (heed) => heed.packLinear({ data: k, shape: [128, 256] }, new Float32Array(128)).dispose(),
  rotary: (heed) => heed.rotary(long, { numHeads: 4, headDim: 64 }),
  "a layer": (heed) => {
    using layer = heed.createMultiHeadAttention({ ...dims, weights, rotary: true });
    return layer.forward(q, { causal: true, lse: true, weights: true });
  },
  "a layer with a cache": (heed) => {
    using layer = heed.createMultiHeadAttention({ ...dims, weights });
    using cache = layer.createCache({ capacity: 200, dtype: "f16" });
    return layer.forward(q, { causal: true, cache });
  },
  "a cache": (heed) => {
    using cache = heed.createKvCache({ numKvHeads: 2, headDim: 64, capacity: 300, batch: 2 });
    cache.append(k, v);
    cache.reorder(Int32Array.of(1, 1));
    using fork = cache.fork();
    fork.append(k, v);
    return [
      fork.attention(q, { numHeads: 4, causal: true }),
      fork.attentionWeights(q, { numHeads: 4, reduce: "keySum" }),
    ];
  },
  // The angles of a page of tokens take more than a page of WebAssembly.
  "a cache with rotary embedding": (heed) => {
    using cache = heed.createKvCache({ numKvHeads: 1, headDim: 256, capacity: 300, rotary: {} });
    cache.append(k, v);
    return cache.attention(q, { numHeads: 2, causal: true });
  },
};

forEachBuild((_, open) => {
  describe("in memory of any size", () => {
    it.each(Object.entries(calls))("%s", (_, call) => {
      let failures = 0;
      for (let pages = 2; ; pages++) {
        const heed = open(pages * PAGE);
        const { used } = heed.memory;
        let failed: unknown;
        try {
          call(heed);
        } catch (error) {
          failed = error;
        }
        expect(heed.memory.used).toBe(used);
        heed.dispose();
        if (failed === undefined) break;
        expect(failed).toBeInstanceOf(RangeError);
        expect((failed as RangeError).message).toMatch(/^"memory" expected to grow/);
        failures++;
      }
      // It has failed at several of its arguments.
      expect(failures).toBeGreaterThanOrEqual(3);
    });
  });
});
