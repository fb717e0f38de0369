// What a KvCache that applies rotary embedding refuses.

import { describe, expect, it } from "vitest";
import type { RotaryForm } from "../../bindings/rotary/options.ts";
import { forEachBuild } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";
import { tablesOf } from "../support/rotary.ts";

const rows = (length: number, seed = length) => floats(length, uniform(seed));

forEachBuild((_, open) => {
  describe("refuses", () => {
    const heed = open();
    const { cos, sin } = tablesOf(9, 4);
    const dims = { numKvHeads: 1, headDim: 8, capacity: 9 };
    const create = (rotary: unknown) => heed.createKvCache({ ...dims, rotary: rotary as RotaryForm });

    it.each<[string, Refusal, unknown, string]>([
      ["no object", TypeError, true, "rotary"],
      ["null", TypeError, null, "rotary"],
      ["rotaryDim odd", RangeError, { rotaryDim: 3 }, "rotary.rotaryDim"],
      ["rotaryDim beyond headDim", RangeError, { rotaryDim: 10 }, "rotary.rotaryDim"],
      ["interleaved a number", TypeError, { interleaved: 1 }, "rotary.interleaved"],
      ["base 0", RangeError, { base: 0 }, "rotary.base"],
      ["base beside tables", RangeError, { base: 2, cos, sin }, "rotary.base"],
      ["cos alone", TypeError, { cos }, "rotary.sin"],
      ["sin of another length", RangeError, { cos, sin: sin.slice(4) }, "rotary.sin"],
      ["tables that end before the capacity", RangeError, { cos: cos.slice(4), sin: sin.slice(4) }, "rotary.cos"],
    ])("%s", (_, kind, rotary, named) => {
      const { used } = heed.memory;
      expectRefusal(kind, named, () => create(rotary));
      expect(heed.memory.used).toBe(used);
    });

    it("positions outside the tables, and stays as it was", () => {
      using cosines = heed.tensor(cos.length);
      using sines = heed.tensor(sin.length);
      cosines.data.set(cos);
      sines.data.set(sin);
      for (const rotary of [
        { cos, sin },
        { cos: cosines, sin: sines },
      ]) {
        using cache = heed.createKvCache({ ...dims, rotary });
        cache.append(rows(24), rows(24));
        const state = () => [cache.attention(rows(8), { numHeads: 1 }), cache.length, cache.bytes];
        const before = state();
        for (const [queryOffset, got] of [
          [-1, -1],
          [8, 9],
        ]) {
          expect(() => cache.attention(rows(16), { numHeads: 1, queryOffset })).toThrow(
            new RangeError(`"queryOffset" expected positions from 0 to 8 (rows of rotary.cos), got ${got!}`),
          );
        }
        expect(() => cache.append(rows(56), rows(56))).toThrow(RangeError);
        expect(state()).toEqual(before);
      }
    });

    it("what memory does not suffice for, and stays as it was", () => {
      const small = open(10 * 65536);
      using cache = small.createKvCache({ numKvHeads: 1, headDim: 64, capacity: 100_000, rotary: {} });
      cache.append(rows(64), rows(64));
      const state = () => [cache.attention(rows(64), { numHeads: 1 }), cache.length, cache.bytes];
      const before = state();
      expect(() => cache.append(rows(64 * 2000), rows(64 * 2000))).toThrow(RangeError);
      expect(() => cache.attention(rows(64 * 1000), { numHeads: 1 })).toThrow(RangeError);
      expect(state()).toEqual(before);
    });
  });
});
