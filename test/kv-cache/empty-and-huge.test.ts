// Caches of large batches and pages: work and memory are those of the tokens that were given, not of the sizes.
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { makeLayer } from "../support/layer.ts";
import { expectRefusal } from "../support/refusal.ts";

const empty = new Float32Array(0);
const rows = (length: number, seed = length) => floats(length, uniform(seed));

forEachBuild((_, open) => {
  it("a cache of many sequences costs nothing until tokens come", () => {
    const heed = open();
    for (const batch of [2 ** 24, 2 ** 30]) {
      const cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 100, batch, rotary: {} });
      expect([cache.length, cache.bytes]).toEqual([0, 0]);
      cache.append(empty, empty);
      cache.truncate(0);
      expectRefusal(RangeError, "length", () => cache.truncate(1));
      cache.reset();
      const fork = cache.fork();
      expect([fork.batch, fork.length]).toEqual([batch, 0]);
      expect(fork.attention(empty, { numHeads: 2 }).out).toHaveLength(0);
      expect(fork.attentionWeights(empty, { numHeads: 2 }).weights).toHaveLength(0);
      fork.dispose();
      cache.dispose();
    }
  });

  it("answers that have an element for each sequence are made where they are asked for", () => {
    const heed = open();
    const batch = 2 ** 20;
    const cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 100, batch });
    expect(cache.lengths).toEqual(new Int32Array(batch));
    cache.truncate(new Int32Array(batch));
    cache.reorder(new Int32Array(batch).fill(batch - 1));
    expectRefusal(RangeError, "length[7]", () => cache.truncate(new Int32Array(batch).fill(1, 7)));
    expectRefusal(RangeError, "indices[9]", () => cache.reorder(new Int32Array(batch).fill(batch, 9)));
    expect([cache.length, cache.bytes]).toEqual([0, 0]);
  });

  it("more sequences than a call may have arguments", () => {
    const heed = open();
    const batch = 2 ** 17;
    const cache = heed.createKvCache({ numKvHeads: 1, headDim: 1, capacity: 4, batch, dtype: "int8" });
    const lengths = new Int32Array(batch);
    [lengths[5], lengths[batch - 1]] = [2, 1];
    cache.append(rows(2 * batch), rows(2 * batch), { lengths });
    expect([cache.length, cache.lengths, cache.bytes]).toEqual([2, lengths, 2 * 128 * (16 + 8)]);
    expectRefusal(RangeError, "length", () => cache.truncate(1));
    lengths[5] = 1;
    cache.truncate(lengths);
    expect(cache.length).toBe(1);
    cache.truncate(0);
    expect([cache.length, cache.bytes]).toEqual([0, 0]);
    const { layer } = makeLayer(heed, { numHeads: 1, embedDim: 1, headDim: 1 });
    layer.forward(rows(batch), { cache, lengths });
    expect(cache.length).toBe(1);
  });

  it("a layer asks no more of a large cache", () => {
    const heed = open();
    const { layer } = makeLayer(heed, {}, { rotary: true });
    const cache = layer.createCache({ capacity: 9, batch: 2 ** 30 });
    expect(layer.forward(empty, { cache }).out).toHaveLength(0);
    expect(layer.forward(empty, { cache, append: false, causal: true }).out).toHaveLength(0);
    expect(layer.forward(empty, { cache, context: empty, weights: true }).weights).toHaveLength(0);
  });

  describe("a page that no memory holds", () => {
    it.each([
      [{ numKvHeads: 2 ** 20, headDim: 2 ** 20 }, 4],
      [{ numKvHeads: 5, headDim: 2 ** 20 }, 4],
      [{ numKvHeads: 17, headDim: 2 ** 20, dtype: "int8" as const }, 15],
      [{ numKvHeads: 2 ** 20, headDim: 8 }, 2 ** 19],
    ])("is refused when the cache is made: %o", (sizes, most) => {
      const heed = open();
      const { used } = heed.memory;
      expect(() => heed.createKvCache({ ...sizes, capacity: 1, rotary: {} })).toThrow(
        new RangeError(
          `"numKvHeads" expected at most ${most} (a page of 128 tokens in 4 GiB), got ${String(sizes.numKvHeads)}`,
        ),
      );
      expect(heed.memory.used).toBe(used);
      expect(heed.createKvCache({ ...sizes, numKvHeads: most, capacity: 1 }).bytes).toBe(0);
    });
  });
});
