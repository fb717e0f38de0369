// What heed.rotary refuses.
import { describe, expect, it } from "vitest";
import type { RotaryOptions } from "../../bindings/rotary/options.ts";
import { type Open, forEachBuild } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";
import { tablesOf } from "../support/rotary.ts";

const SIZES = { batch: 2, numHeads: 3, headDim: 20 };
const LENGTH = 2 * 5 * 3 * 20;
const x = floats(LENGTH, uniform(1));
const ints = (...numbers: number[]) => Int32Array.from(numbers);

forEachBuild((_, open) => refusals(open));

/** Wrong arguments; `named` is what the message must name. */
function refusals(open: Open): void {
  const { cos, sin } = tablesOf(9, 10);
  const disposed = open();
  const cases: [string, Refusal, Record<string, unknown>, string][] = [
    ["numHeads missing", TypeError, { numHeads: undefined }, "numHeads"],
    ["numHeads 0", RangeError, { numHeads: 0 }, "numHeads"],
    ["headDim a string", TypeError, { headDim: "20" }, "headDim"],
    ["headDim 1.5", RangeError, { headDim: 1.5 }, "headDim"],
    ["batch null", TypeError, { batch: null }, "batch"],
    ["batch that does not divide x", RangeError, { batch: 3 }, "x"],
    ["layout unknown", RangeError, { layout: "lbhd" }, "layout"],
    ["rotaryDim odd", RangeError, { rotaryDim: 3 }, "rotaryDim"],
    ["rotaryDim 0", RangeError, { rotaryDim: 0 }, "rotaryDim"],
    ["rotaryDim beyond headDim", RangeError, { rotaryDim: 22 }, "rotaryDim"],
    ["rotaryDim a string", TypeError, { rotaryDim: "4" }, "rotaryDim"],
    ["headDim odd, rotaryDim missing", RangeError, { headDim: 15, numHeads: 4 }, "rotaryDim"],
    ["interleaved a number", TypeError, { interleaved: 1 }, "interleaved"],
    ["positions an array", TypeError, { positions: [0, 1, 2, 3, 4] }, "positions"],
    ["positions of 64 bits", TypeError, { positions: new BigInt64Array(5) }, "positions"],
    ["positions too few", RangeError, { positions: new Int32Array(4) }, "positions"],
    ["positions no integer", RangeError, { positions: 0.5 }, "positions"],
    ["positions beyond 32 bits", RangeError, { positions: 2 ** 31 }, "positions"],
    ["base 0", RangeError, { base: 0 }, "base"],
    ["base infinite", RangeError, { base: Infinity }, "base"],
    ["base a string", TypeError, { base: "10000" }, "base"],
    ["base beside tables", RangeError, { base: 10000, cos, sin }, "base"],
    ["frequencies an array", TypeError, { frequencies: Array(10).fill(1) }, "frequencies"],
    ["frequencies of integers", TypeError, { frequencies: new Int32Array(10) }, "frequencies"],
    ["frequencies too few", RangeError, { frequencies: new Float64Array(9) }, "frequencies"],
    [
      "frequencies for less than rotaryDim",
      RangeError,
      { frequencies: new Float32Array(10), rotaryDim: 18 },
      "frequencies",
    ],
    ["a frequency that is NaN", RangeError, { frequencies: new Float32Array(10).fill(NaN, 3) }, "frequencies[3]"],
    [
      "a frequency that is infinite",
      RangeError,
      { frequencies: new Float64Array(10).fill(-1 / 0, 9) },
      "frequencies[9]",
    ],
    ["a frequency beyond f32", RangeError, { frequencies: new Float64Array(10).fill(2 ** 128, 1) }, "frequencies[1]"],
    ["frequencies beside tables", RangeError, { frequencies: new Float64Array(10), cos, sin }, "frequencies"],
    ["base beside frequencies", RangeError, { base: 10000, frequencies: new Float64Array(10) }, "base"],
    ["attentionScale 0", RangeError, { attentionScale: 0 }, "attentionScale"],
    ["attentionScale negative", RangeError, { attentionScale: -1 }, "attentionScale"],
    ["attentionScale infinite", RangeError, { attentionScale: Infinity }, "attentionScale"],
    ["attentionScale a string", TypeError, { attentionScale: "1" }, "attentionScale"],
    ["attentionScale null", TypeError, { attentionScale: null }, "attentionScale"],
    ["sections a number", TypeError, { sections: 10 }, "sections"],
    ["sections a typed array", TypeError, { sections: ints(4, 3, 3) }, "sections"],
    ["sections empty", RangeError, { sections: [] }, "sections.length"],
    ["sections of 17 axes", RangeError, { sections: Array(17).fill(1) }, "sections.length"],
    ["a section of text", TypeError, { sections: [4, "3", 3] }, "sections[1]"],
    ["a section below 0", RangeError, { sections: [4, 7, -1] }, "sections[2]"],
    ["sections of too many pairs", RangeError, { sections: [4, 3, 4] }, "sections"],
    [
      "a section with more pairs than its places",
      RangeError,
      { sections: [2, 3, 5], sectionsInterleaved: true },
      "sections[2]",
    ],
    ["sectionsInterleaved a number", TypeError, { sections: [4, 3, 3], sectionsInterleaved: 1 }, "sectionsInterleaved"],
    ["sectionsInterleaved without sections", TypeError, { sectionsInterleaved: true }, "sections"],
    [
      "positions of one axis for three",
      RangeError,
      { sections: [4, 3, 3], positions: ints(0, 1, 2, 3, 4) },
      "positions",
    ],
    ["positions of three axes for one", RangeError, { positions: new Int32Array(15) }, "positions"],
    [
      "a position of an axis beyond the tables",
      RangeError,
      { cos, sin, sections: [4, 3, 3], positions: new Int32Array(15).fill(9, 11, 12) },
      "positions[11]",
    ],
    ["cos alone", TypeError, { cos }, "sin"],
    ["sin alone", TypeError, { sin }, "cos"],
    ["cos doubles", TypeError, { cos: new Float64Array(90), sin }, "cos"],
    ["cos of broken rows", RangeError, { cos: cos.slice(1), sin: sin.slice(1) }, "cos"],
    ["sin shorter than cos", RangeError, { cos, sin: sin.slice(10) }, "sin"],
    ["too few rows of tables", RangeError, { cos: cos.slice(60), sin: sin.slice(60) }, "positions"],
    ["rows beyond the tables", RangeError, { cos, sin, positions: 5 }, "positions"],
    ["rows before the tables", RangeError, { cos, sin, positions: -1 }, "positions"],
    ["a position beyond the tables", RangeError, { cos, sin, positions: ints(0, 1, 9, 3, 4) }, "positions[2]"],
    ["a negative position with tables", RangeError, { cos, sin, positions: ints(0, -1, 2, 3, 4) }, "positions[1]"],
    ["out true", TypeError, { out: true }, "out"],
    ["out doubles", TypeError, { out: new Float64Array(LENGTH) }, "out"],
    ["out too short", RangeError, { out: new Float32Array(LENGTH - 1) }, "out"],
    ["out a tensor of another instance", TypeError, { out: disposed.tensor(LENGTH) }, "out"],
  ];
  disposed.dispose();

  describe("refuses", () => {
    const heed = open();
    it.each(cases)("%s", (_, kind, options, named) => {
      const before = heed.memory.used;
      const given = x.slice();
      expectRefusal(kind, named, () => heed.rotary(given, { ...SIZES, out: given, ...options }));
      expect(given).toEqual(x);
      expect(heed.memory.used).toBe(before);
    });

    it.each([
      ["an array", [1, 2]],
      ["doubles", new Float64Array(LENGTH)],
      ["nothing", undefined],
    ])("x %s", (_, wrong) => {
      expect(() => heed.rotary(wrong as unknown as Float32Array, SIZES)).toThrow(TypeError);
    });

    it.each([[undefined], [null], [20]])("options %s", (options) => {
      expect(() => heed.rotary(x, options as unknown as RotaryOptions)).toThrow(TypeError);
    });

    it("disposed Tensors, and memory that overlaps without being x", () => {
      const rows = heed.tensor(LENGTH);
      using next = heed.tensor(60);
      const { buffer, byteOffset } = rows.data;
      const view = (floats: number) => new Float32Array(buffer, byteOffset + floats * 4, LENGTH);
      expect(() => heed.rotary(view(next.length), { ...SIZES, out: rows })).toThrow(
        new RangeError('"out" expected memory apart from "x", got "memory that overlaps it"'),
      );
      expect(heed.rotary(view(0), { ...SIZES, out: rows }).out).toBe(rows);
      const before = rows.data.slice();
      expect(() => heed.rotary(x, { ...SIZES, cos: rows, sin: rows, out: rows })).toThrow(
        new RangeError('"out" expected memory apart from "cos", got "memory that overlaps it"'),
      );
      const sin = heed.tensor(LENGTH);
      expect(() => heed.rotary(rows, { ...SIZES, cos: x, sin, out: sin })).toThrow(
        new RangeError('"out" expected memory apart from "sin", got "memory that overlaps it"'),
      );
      expect([rows.data, sin.data]).toEqual([before, new Float32Array(LENGTH)]);
      rows.dispose();
      expect(() => heed.rotary(rows, SIZES)).toThrow(ReferenceError);
      expect(() => heed.rotary(x, { ...SIZES, out: rows })).toThrow(ReferenceError);
    });

    it("what does not fit into memory, and works on", () => {
      const small = open(2 ** 17);
      const before = small.memory.used;
      expect(() => small.rotary(new Float32Array(2 ** 16), { numHeads: 1, headDim: 64 })).toThrow(RangeError);
      expect(small.memory.used).toBe(before);
      expect(small.rotary(x, SIZES).out).toHaveLength(LENGTH);
      small.dispose();
    });
  });
}
