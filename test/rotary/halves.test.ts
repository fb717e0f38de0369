// heed.rotary with x, tables and out in 16 bits: the bits of floats converted first, rounded once.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { bitsOfFloats, expectRounded, floatsOf, forms, halvesOf, inForm, tensorOf } from "../support/halves.ts";
import { floats, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

const problems = fc.record({
  batch: fc.integer({ min: 1, max: 3 }),
  numHeads: fc.integer({ min: 1, max: 5 }),
  // Long ones come in pieces of 16384 floats, of rows or of heads.
  seqLen: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constantFrom(300, 700)),
  headDim: fc.oneof(fc.integer({ min: 2, max: 40 }), fc.constantFrom(8, 64)),
  layout: fc.constantFrom("blhd", "bhld"),
  interleaved: fc.boolean(),
  attentionScale: fc.constantFrom(1, 1.3),
  angles: fc.constantFrom("base", "tables", "sections", "tables by sections"),
  positions: fc.constantFrom("number", "rows", "batch"),
  part: fc.constantFrom(1, 0.5),
  special: fc.boolean(),
  inPlace: fc.boolean(),
  seed: fc.integer({ min: 1, max: 999 }),
});
const operands = fc.record({ x: forms, cos: forms, sin: forms, out: forms });

forEachBuild((name, open) => {
  const heed = open();
  const { used } = heed.memory;

  it("has the bits of f32, whatever the form, rounded once", () => {
    const property = fc.property(problems, operands, (problem, drawn) => {
      const { batch, numHeads, seqLen, headDim, layout, interleaved, attentionScale, seed } = problem;
      const rotaryDim = Math.max(2, 2 * Math.floor((problem.part * headDim) / 2));
      const half = rotaryDim / 2;
      const next = uniform(seed);
      const x = floats(batch * seqLen * numHeads * headDim, next);
      if (problem.special) x.set([NaN, Infinity, -0, 1e-40, 3e38].slice(0, x.length));
      const axes = problem.angles.includes("sections") && half > 1 ? 2 : 1;
      const count = axes * seqLen * (problem.positions === "batch" ? batch : 1);
      const positions =
        problem.positions === "number" ? 7 : Int32Array.from({ length: count }, (_, n) => (n * 37) % 720);
      const options = { numHeads, headDim, batch, layout, interleaved, attentionScale, rotaryDim, positions };
      const sections = axes === 2 && { sections: [1, half - 1] };
      const ends: (() => void)[] = [];
      const take = (what: "x" | "cos" | "sin" | "out", given: Float32Array) => {
        const form = inForm(heed, given, drawn[what]);
        ends.push(form.end);
        return form;
      };
      const tables = problem.angles.startsWith("tables") && {
        cos: take("cos", floats(720 * half, next)),
        sin: take("sin", floats(720 * half, next)),
      };
      const plain = tables && { cos: tables.cos.floats, sin: tables.sin.floats };
      const given = tables && { cos: tables.cos.rows, sin: tables.sin.rows };
      const { rows, floats: xFloats } = take("x", x);
      const { out: expected } = heed.rotary(xFloats.slice(), { ...options, ...sections, ...plain });
      const out = problem.inPlace ? rows : take("out", new Float32Array(x.length)).rows;
      const got = heed.rotary(rows, { ...options, ...sections, ...given, out });
      expect(got.out).toBe(out);
      expectRounded(out, expected);
      for (const end of ends) end();
    });
    fc.assert(property, { seed: 20261401, numRuns: runs(name === "debug" ? 60 : 300) });
    expect(heed.memory.used).toBe(used);
  });

  it("expands nothing as a whole", () => {
    const length = 4000 * 512;
    const options = { numHeads: 8, headDim: 64, positions: 3 };
    using fresh = open();
    using x = fresh.tensor(length, "bf16");
    const before = fresh.memory.used;
    fresh.rotary(x, { ...options, out: x });
    // Angles of 4000 rows, cosines and sines of 32 pairs, and a piece.
    expect(fresh.memory.peak - before).toBeLessThan(4000 * 64 * 4 + 2 ** 17);
    const out = { data: new Uint16Array(length), dtype: "bf16" } as const;
    using other = open();
    other.rotary({ data: new Uint16Array(length), dtype: "f16" }, { ...options, out });
    expect(other.memory.peak).toBeLessThan(2 * length + 4000 * 64 * 4 + 2 ** 18);
  });

  it("a cache takes tables of 16 bits, with the bits of f32", () => {
    const [cos, sin] = [halvesOf(floats(20 * 4, uniform(1)), "f16"), halvesOf(floats(20 * 4, uniform(2)), "bf16")];
    const rows = floats(5 * 8, uniform(3));
    const attend = (rotary: object): Float32Array => {
      using cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 9, rotary });
      cache.append(rows, rows);
      return cache.attention(rows, { numHeads: 1, causal: true }).out;
    };
    const expected = attend({ cos: floatsOf(cos), sin: floatsOf(sin) });
    using tensor = tensorOf(heed, sin);
    expect(bitsOfFloats(attend({ cos, sin: tensor }))).toEqual(bitsOfFloats(expected));
  });

  describe("refuses, and changes nothing", () => {
    const x = { data: new Uint16Array(16).fill(0x3f80), dtype: "bf16" } as const;
    const options = { numHeads: 1, headDim: 8 };
    it.each<[string, unknown, object, typeof TypeError | typeof RangeError, string]>([
      ["a bare Uint16Array", x.data, {}, TypeError, '"x" expected a Float32Array or a Tensor, or 16 bits'],
      ["an unknown dtype", { ...x, dtype: "f8" }, {}, RangeError, '"x.dtype" expected "f16" or "bf16", got "f8"'],
      [
        "an out of another length",
        x,
        { out: { ...x, data: new Uint16Array(8) } },
        RangeError,
        '"out" expected a length',
      ],
      ["a table of wrong bits", x, { cos: x.data, sin: x }, TypeError, '"cos" expected a Float32Array or a Tensor, or'],
      [
        "a table of another length",
        x,
        { cos: x, sin: { ...x, data: new Uint16Array(4) } },
        RangeError,
        '"sin" expected',
      ],
      [
        "frequencies in 16 bits",
        x,
        { frequencies: x },
        TypeError,
        '"frequencies" expected a Float32Array or a Float64Array',
      ],
    ])("%s", (_, given, wrong, error, message) => {
      const { used: before } = heed.memory;
      const call = (): unknown => heed.rotary(given as never, { ...options, ...wrong });
      expect(call).toThrow(error);
      expect(call).toThrow(message);
      expect(heed.memory.used).toBe(before);
      expect(x.data.every((bits) => bits === 0x3f80)).toBe(true);
    });

    it("an out in the memory of x that has another type", () => {
      using tensor = heed.tensor(16, "bf16");
      const out = new Float32Array(tensor.data.buffer, tensor.data.byteOffset, 8);
      expect(() => heed.rotary(tensor, { ...options, out: out as never })).toThrow(RangeError);
    });
  });
});
