// append and attention of a cache with 16 bits: the bits of floats converted first, whatever the cache stores.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { bitsOfFloats, forms, fromBits, inForm } from "../support/halves.ts";
import { floats, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

const SIZES = { batch: 2, numKvHeads: 2, capacity: 400 } as const;

forEachBuild((name, open) => {
  const heed = open();

  it.each(["f32", "f16", "int8"] as const)("a cache of %s has the bits of f32", (dtype) => {
    const drawn = fc.record({
      k: forms,
      v: forms,
      q: forms,
      headDim: fc.integer({ min: 1, max: 12 }).map((n) => 2 * n),
      valueDim: fc.integer({ min: 1, max: 24 }),
      tokens: fc.integer({ min: 1, max: 200 }),
      queries: fc.integer({ min: 1, max: 7 }),
      layout: fc.constantFrom("blhd" as const, "bhld" as const),
      rotary: fc.boolean(),
      precision: fc.constantFrom("full" as const, "half" as const),
      seed: fc.integer(),
    });
    const property = fc.property(
      drawn,
      ({ headDim, valueDim, tokens, queries, layout, rotary, precision, seed, ...form }) => {
        const next = uniform(seed);
        const sizes = { ...SIZES, headDim, valueDim, dtype, ...(rotary ? { rotary: {} } : {}) };
        const rows = 2 * SIZES.batch * tokens;
        const k = inForm(heed, floats(rows * headDim, next), form.k);
        const v = inForm(heed, floats(rows * valueDim, next), form.v);
        const q = inForm(heed, floats(2 * SIZES.batch * queries * headDim, next), form.q);
        using cache = heed.createKvCache(sizes);
        using plain = heed.createKvCache(sizes);
        cache.append(k.rows, v.rows, { layout });
        plain.append(k.floats, v.floats, { layout });
        const options = { numHeads: 2, causal: true, queryOffset: 0, precision };
        const expected = plain.attention(q.floats, options).out;
        expect(bitsOfFloats(cache.attention(q.rows, options).out)).toEqual(bitsOfFloats(expected));
        for (const each of [k, v, q]) each.end();
      },
    );
    fc.assert(property, { seed: 20261310, numRuns: runs(name === "debug" ? 20 : 100) });
  });

  it.each(["f16", "bf16"] as const)("every value of %s comes back, −0 too", (dtype) => {
    const data = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
    using cache = heed.createKvCache({ numKvHeads: 64, headDim: 64, capacity: 16 });
    cache.append({ data, dtype }, { data, dtype });
    const { k, v } = cache.read(0, 0);
    const expected = bitsOfFloats(Float32Array.from(data, (bits) => fromBits(bits, dtype)));
    expect(bitsOfFloats(k)).toEqual(expected);
    expect(bitsOfFloats(v)).toEqual(expected);
  });

  describe("refuses, and changes nothing", () => {
    const rows = { numKvHeads: 1, headDim: 4, capacity: 8 };
    it.each([
      ["a Uint16Array alone", new Uint16Array(4), TypeError, '"k" expected a Float32Array or a Tensor, or 16 bits'],
      ["a wrong dtype", { data: new Uint16Array(4), dtype: "int8" }, RangeError, '"k.dtype" expected "f16" or "bf16"'],
      ["floats with a dtype", { data: new Float32Array(4), dtype: "f16" }, TypeError, '"k" expected'],
      [
        "a wrong length",
        { data: new Uint16Array(3), dtype: "f16" },
        RangeError,
        '"k" expected a length divisible by 4',
      ],
      ["a buffer that was transferred", transferred(), TypeError, '"k.data" expected'],
    ])("%s", (_, k, error, message) => {
      using cache = heed.createKvCache(rows);
      const { used } = heed.memory;
      const append = (): void => cache.append(k as unknown as Float32Array, new Float32Array(4));
      expect(append).toThrow(error);
      expect(append).toThrow(message);
      expect(cache.length).toBe(0);
      expect(heed.memory.used).toBe(used);
    });
  });
});

function transferred() {
  const data = new Uint16Array(4);
  structuredClone(data, { transfer: [data.buffer] });
  return { data, dtype: "f16" };
}
