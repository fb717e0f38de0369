// A KvCache, and a layer, with frequencies and attentionScale: when they are read, and who shares the angles.
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import type { RotaryForm } from "../../bindings/rotary/options.ts";
import { frequenciesOf } from "../../bindings/rotary/trigonometry.ts";
import { forEachBuild } from "../support/builds.ts";
import type { Cache } from "../support/kv-model.ts";
import { floats, uniform } from "../support/random.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";
import { tablesOf } from "../support/rotary.ts";

const rows = (length: number, seed = length) => floats(length, uniform(seed));
const [HEAD_DIM, HALF] = [8, 4];
const dims = { numKvHeads: 1, headDim: HEAD_DIM, capacity: 300 };
const frequencies = (seed: number) => Float64Array.from(rows(HALF, seed));

/** The scores of a query over 200 keys, which show the angles that the cache has. */
function weightsOf(cache: Cache): Float32Array {
  if (cache.length === 0) cache.append(rows(200 * HEAD_DIM), rows(200 * HEAD_DIM));
  return cache.attentionWeights(rows(HEAD_DIM), { numHeads: 1, stage: "scores" }).weights;
}

/** What `weightsOf` is by heed.rotary and a plain cache. */
function expected(heed: Heed, rotary: RotaryForm): Float32Array {
  using plain = heed.createKvCache(dims);
  const form = { numHeads: 1, headDim: HEAD_DIM, ...rotary };
  plain.append(heed.rotary(rows(200 * HEAD_DIM), form).out, rows(200 * HEAD_DIM));
  const q = heed.rotary(rows(HEAD_DIM), { ...form, positions: 199 }).out;
  return plain.attentionWeights(q, { numHeads: 1, stage: "scores" }).weights;
}

forEachBuild((_, open) => {
  it.each<[string, RotaryForm]>([
    ["frequencies", { frequencies: frequencies(1) }],
    ["frequencies of f32, of a part of the row", { frequencies: Float32Array.of(3, -1, 0), rotaryDim: 6 }],
    ["attentionScale", { attentionScale: 1.25, base: 500 }],
    ["both", { frequencies: frequencies(2), attentionScale: 0.8, interleaved: true }],
    ["a 0 with a sign, and sections", { frequencies: Float64Array.of(1, -0, 0, 2), sections: [1, 3] }],
    ["tables and attentionScale", { ...tablesOf(300, HALF), attentionScale: 1.4 }],
  ])("is heed.rotary before a plain cache, bit for bit: %s", (_, rotary) => {
    const heed = open();
    using cache = heed.createKvCache({ ...dims, rotary });
    const weights = weightsOf(cache);
    expect(weights).toEqual(expected(heed, rotary));
    expect(cache.rotary).toEqual(rotary);

    const saved = cache.save();
    using restored = heed.restoreKvCache(saved);
    expect(weightsOf(restored)).toEqual(weights);
    restored.append(rows(HEAD_DIM, 3), rows(HEAD_DIM, 4));
    cache.append(rows(HEAD_DIM, 3), rows(HEAD_DIM, 4));
    expect(weightsOf(restored)).toEqual(weightsOf(cache));
    expect(restored.save()).toEqual(cache.save());
  });

  it.each([Float64Array, Float32Array])(
    "frequencies are read when the cache is made, and again after reset()",
    (Kind) => {
      const heed = open();
      const { used } = heed.memory;
      const given = new Kind(frequencies(1));
      const [a, b] = [expected(heed, { frequencies: frequencies(1) }), expected(heed, { frequencies: frequencies(2) })];
      expect(a).not.toEqual(b);
      const cache = heed.createKvCache({ ...dims, rotary: { frequencies: given } });
      const early = heed.createKvCache({ ...dims, rotary: { frequencies: given } });
      expect(weightsOf(early)).toEqual(a);
      given.set(frequencies(2));
      expect(weightsOf(cache)).toEqual(a);
      const fork = cache.fork();
      cache.truncate(0);
      expect(weightsOf(cache)).toEqual(a);
      const late = heed.createKvCache({ ...dims, rotary: { frequencies: given } });
      expect(weightsOf(late)).toEqual(b);
      cache.reset();
      expect(weightsOf(cache)).toEqual(b);
      expect(weightsOf(fork)).toEqual(a);
      fork.truncate(0);
      expect(weightsOf(fork)).toEqual(a);
      structuredClone(given, { transfer: [given.buffer] });
      expect(weightsOf(late)).toEqual(b);
      const before = [fork.length, fork.bytes, heed.memory.used];
      expect(() => {
        fork.reset();
      }).toThrow(/^"rotary.frequencies" expected .*transferred/);
      expect([fork.length, fork.bytes, heed.memory.used]).toEqual(before);
      expect(weightsOf(fork)).toEqual(a);
      for (const one of [cache, early, late, fork]) one.dispose();
      expect(heed.memory.used).toBe(used);
    },
  );

  it("angles are shared by caches whose forms agree bit for bit, and by no others", () => {
    const zero = (sign: number) => ({ frequencies: Float64Array.of(1, 0.5, sign * 0, 3) });
    const forms: RotaryForm[] = [
      {},
      { attentionScale: 1.5 },
      { frequencies: frequenciesOf(10000, HALF).slice() },
      { frequencies: frequencies(1) },
      { frequencies: frequencies(1), attentionScale: 1.5 },
      { frequencies: frequencies(1), attentionScale: 1.5000000000000002 },
      zero(1),
      zero(-1),
      tablesOf(300, HALF),
      { ...tablesOf(300, HALF), attentionScale: 1.5 },
    ];
    const heed = open();
    const caches: Cache[] = [];
    /** Bytes that a cache takes. */
    const make = (rotary: RotaryForm | undefined): number => {
      const { used } = heed.memory;
      const cache = heed.createKvCache({ ...dims, rotary });
      weightsOf(cache);
      if (rotary) caches.push(cache);
      return heed.memory.used - used;
    };
    const tokens = make(undefined);
    for (const rotary of forms) {
      expect(make(rotary)).toBeGreaterThan(tokens);
      const copy: RotaryForm = { ...rotary, sections: [2, 2] };
      if (rotary.frequencies) copy.frequencies = rotary.frequencies.slice();
      expect(make(copy)).toBe(tokens);
    }
    caches.forEach((cache, n) => expect(weightsOf(cache)).toEqual(expected(heed, forms[n >> 1]!)));
  });

  it("a layer reads frequencies when it is made", () => {
    const heed = open();
    const square = (seed: number) => ({ weight: { data: rows(16 * 16, seed), shape: [16, 16] } });
    const weights = { q: square(1), k: square(2), v: square(3), out: square(4) };
    const x = rows(5 * 16);
    const given = frequencies(1);
    const layerOf = (rotary: RotaryForm) =>
      heed.createMultiHeadAttention({ numHeads: 2, embedDim: 16, weights, causal: true, rotary });
    using layer = layerOf({ frequencies: given, attentionScale: 1.2 });
    using plain = layerOf({});
    const before = layer.forward(x).out;
    expect(plain.forward(x).out).not.toEqual(before);
    given.fill(9);
    expect(layer.forward(x).out).toEqual(before);
    using other = heed.createMultiHeadAttention({ numHeads: 2, embedDim: 16, weights, causal: true });
    using cache = other.createCache({ capacity: 9, rotary: { frequencies: frequencies(1), attentionScale: 1.2 } });
    expect(other.forward(x, { cache }).out).toEqual(layer.forward(x).out);
    expectRefusal(RangeError, "frequencies", () => layerOf({ frequencies: new Float32Array(3) }));
  });

  it.each<[string, Refusal, RotaryForm, string]>([
    ["frequencies too few", RangeError, { frequencies: new Float64Array(3) }, "rotary.frequencies"],
    ["frequencies an array", TypeError, { frequencies: [1, 2, 3, 4] as never }, "rotary.frequencies"],
    ["NaN", RangeError, { frequencies: Float64Array.of(1, NaN, 1, 1) }, "rotary.frequencies[1]"],
    ["attentionScale 0", RangeError, { attentionScale: 0 }, "rotary.attentionScale"],
    ["base beside frequencies", RangeError, { base: 1, frequencies: frequencies(1) }, "rotary.base"],
    ["sections of other sizes", RangeError, { sections: [1, 2] }, "rotary.sections"],
  ])("refuses %s", (_, kind, rotary, named) => {
    const heed = open();
    const { used } = heed.memory;
    expectRefusal(kind, named, () => heed.createKvCache({ ...dims, rotary }));
    expect(heed.memory.used).toBe(used);
  });

  describe("sections", () => {
    it("are read once, and are no matter to reset and fork", () => {
      const heed = open();
      const sections = [2, 2];
      using cache = heed.createKvCache({ ...dims, rotary: { sections } });
      sections.push(5);
      expect(cache.rotary).toEqual({ sections: [2, 2] });
      cache.reset();
      using fork = cache.fork();
      expect(weightsOf(fork)).toEqual(expected(heed, {}));
    });
  });
});
