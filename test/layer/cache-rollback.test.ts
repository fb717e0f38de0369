// What `forward` leaves of a cache when a step fails after the append: what was there before, to the last page.
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import type { KvCacheOptions } from "../../bindings/kv-cache/options.ts";
import { forEachBuild } from "../support/builds.ts";
import { REFUSED, failAllocation } from "../support/failing.ts";
import type { Cache } from "../support/kv-model.ts";
import { makeLayer } from "../support/layer.ts";
import { floats, uniform } from "../support/random.ts";

const rows = (length: number, seed = length) => floats(length, uniform(seed));

forEachBuild((name, open) => {
  const caches: [string, Partial<KvCacheOptions>][] = [
    ["without a window", {}],
    ["with a window that has slid", { window: 40 }],
    ["that rotates", { rotary: { base: 100 } }],
    ["that rotates, with a window", { window: 200, rotary: {}, dtype: "int8" }],
  ];

  /** A layer, and its cache after a prompt of 400 tokens and 100 more, so that the next append lets go of pages. */
  function prepare(heed: Heed, options: Partial<KvCacheOptions>) {
    const { layer, dims } = makeLayer(heed, { numKvHeads: 2 });
    const cache = layer.createCache({ capacity: 2000, batch: 2, ...options });
    for (const tokens of [400, 100]) layer.forward(rows(2 * tokens * dims.embedDim), { cache, causal: true });
    return { layer, cache, dims };
  }

  /** All that can be seen of a cache. The queries are those of the latest 100 tokens, which a window still shows. */
  function stateOf(heed: Heed, cache: Cache) {
    const { out } = cache.attention(rows(2 * 100 * 4 * 8), { numHeads: 4, causal: true });
    using fork = cache.fork();
    fork.truncate(cache.length - 100);
    return [out, cache.lengths, cache.bytes, heed.memory.used];
  }

  describe("any allocation that fails leaves the cache as it was, and writes nothing", () => {
    it.each(caches)("%s", (_, options) => {
      for (const tokens of [1, 130]) {
        const heed = open();
        const { layer, cache, dims } = prepare(heed, options);
        const twin = prepare(open(), options);
        const x = rows(2 * tokens * dims.embedDim);
        const makeResults = () => ({
          out: new Float32Array(2 * tokens * dims.outDim).fill(7),
          lse: new Float32Array(2 * 4 * tokens).fill(7),
        });
        const [results, untouched] = [makeResults(), makeResults()];
        const weights = new Float32Array(2 * 4 * (cache.length + tokens)).fill(7);
        const forward = () =>
          layer.forward(x, {
            cache,
            causal: true,
            lengths: Int32Array.of(tokens, Math.min(tokens, 9)),
            ...results,
            weights: { rows: Int32Array.of(0), weights },
          });
        const before = stateOf(heed, cache);
        let failed = 0;
        for (; ; failed++) {
          const error = failAllocation(heed, failed, forward);
          if (error === undefined) break;
          expect((error as Error).message).toMatch(REFUSED);
          expect(stateOf(heed, cache), `allocation ${failed}`).toEqual(before);
          expect([results, weights.every((x) => x === 7)]).toEqual([untouched, true]);
        }
        expect(failed).toBeGreaterThan(10);
        const got = { ...results, weights };
        const again = twin.layer.forward(x, {
          cache: twin.cache,
          causal: true,
          lengths: Int32Array.of(tokens, Math.min(tokens, 9)),
          lse: true,
          weights: { rows: Int32Array.of(0) },
        });
        expect(got).toEqual(again);
        expect([cache.lengths, cache.bytes]).toEqual([twin.cache.lengths, twin.cache.bytes]);
      }
    });
  });

  it.each(caches)("options that are refused after the append do so too: %s", (_, options) => {
    const heed = open();
    const { layer, cache, dims } = prepare(heed, options);
    const before = stateOf(heed, cache);
    for (const wrong of [
      { bias: { data: new Float32Array(3), shape: [3] } },
      { alibiSlopes: new Float32Array(3) },
      { weights: { rows: Int32Array.of(130) } },
      { sinks: new Float32Array(3) },
      { softcap: -1, weights: true },
      { weights: { weights: new Float32Array(3) } },
    ]) {
      expect(() => layer.forward(rows(2 * 130 * dims.embedDim), { cache, ...wrong })).toThrow(RangeError);
      expect(stateOf(heed, cache)).toEqual(before);
    }
  });

  it("the first tokens that a cache ever has are taken back too", () => {
    const heed = open();
    const { layer, dims } = makeLayer(heed);
    using cache = layer.createCache({ capacity: 300, rotary: {} });
    const { used } = heed.memory;
    const wrong = { alibiSlopes: new Float32Array(3) };
    expect(() => layer.forward(rows(200 * dims.embedDim), { cache, ...wrong })).toThrow(RangeError);
    expect([cache.length, cache.bytes, heed.memory.used], name).toEqual([0, 0, used]);
  });
});
