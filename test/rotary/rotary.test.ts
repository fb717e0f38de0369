import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { frequenciesOf } from "../../bindings/rotary/trigonometry.ts";
import { maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { type PlainRotaryOptions, rotaryReference, tablesOf } from "../support/rotary.ts";

/**
 * Expects the largest error to be at most twice that of the plain f32 implementation on the same input or, where that
 * is exact by luck, what any implementation may round: a product and the sum, ½ ulp each of at most √2·max|x|.
 */
function expectWithinBudget(heed: Heed, x: Float32Array, options: PlainRotaryOptions): void {
  const exact = rotaryReference(x, options);
  const most = x.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) * (options.attentionScale ?? 1);
  const floor = 2 ** -23 * Math.SQRT2 * most;
  const budget = Math.max(2 * maxError(rotaryReference(x, options, Math.fround), exact), floor);
  expect(maxError(heed.rotary(x, options).out, exact)).toBeLessThanOrEqual(budget);
}

const SIZES = { batch: 2, numHeads: 3, headDim: 20 };
const SEQ_LEN = 5;
const LENGTH = 2 * SEQ_LEN * 3 * 20;
const x = floats(LENGTH, uniform(1));
const ints = (...numbers: number[]) => Int32Array.from(numbers);

const forms: [string, Partial<PlainRotaryOptions>][] = [
  ["rows at 0, 1, 2, …", {}],
  ["rows from 1000 on", { positions: 1000 }],
  ["rows from −7 on", { positions: -7 }],
  ["positions shared by the batch", { positions: ints(4, -4, 0, 4, 131071) }],
  ["positions of every row", { positions: ints(9, 8, 7, 6, 5, 0, 0, 1, 1, -2147483648) }],
  ["base 500000", { base: 500000, positions: 77 }],
  ["frequencies of f64", { frequencies: Float64Array.from({ length: 10 }, (_, j) => 7 / (j + 3)), positions: 1000 }],
  ["frequencies of f32", { frequencies: Float32Array.from({ length: 10 }, (_, j) => 3 / (j + 7)), positions: -9 }],
  [
    "frequencies that are large, small, negative and 0",
    { frequencies: Float64Array.of(2 ** 127, -3e30, 1e9 + 0.5, -17.25, -1, 0, -0, 1e-30, -5e-324, 2), positions: 2e9 },
  ],
  ["attentionScale", { attentionScale: 1.3465735902799727, positions: 33 }],
  [
    "attentionScale, frequencies",
    { attentionScale: 0.25, frequencies: new Float32Array(10).fill(0.125), positions: 3 },
  ],
  ["tables", { ...tablesOf(9, 10), positions: ints(0, 8, 3, 3, 1) }],
  ["tables, attentionScale", { ...tablesOf(9, 10), attentionScale: 1.19, positions: 3 }],
  ["tables, from row 4 on", { ...tablesOf(9, 10), positions: 4 }],
];

forEachBuild((_, open) => {
  const heed = open();

  describe("error ≤ 2× the error of plain f32", () => {
    for (const [name, options] of forms) {
      it.each([false, true])(`${name}, interleaved: %s`, (interleaved) => {
        for (const layout of ["blhd", "bhld"] as const) {
          expectWithinBudget(heed, x, { ...SIZES, ...options, interleaved, layout });
        }
      });
    }

    it("of any size, in both conventions and layouts", () => {
      const size = (max: number) => fc.integer({ min: 1, max });
      const problem = fc.record({
        batch: size(3),
        seqLen: fc.integer({ min: 0, max: 5 }),
        numHeads: size(4),
        headDim: fc.integer({ min: 2, max: 40 }),
        pairs: size(20),
        positions: fc.integer({ min: -100000, max: 100000 }),
        interleaved: fc.boolean(),
        layout: fc.constantFrom("blhd" as const, "bhld" as const),
        seed: fc.integer(),
      });
      fc.assert(
        fc.property(problem, ({ seqLen, pairs, seed, ...options }) => {
          const { batch, numHeads, headDim } = options;
          const rotaryDim = 2 * Math.min(pairs, Math.floor(headDim / 2));
          const rows = floats(batch * seqLen * numHeads * headDim, uniform(seed));
          expectWithinBudget(heed, rows, { ...options, rotaryDim });
        }),
        { numRuns: 200, seed: 1 },
      );
    });
  });

  it("turns by the angle of the pair, in both conventions", () => {
    const options = { numHeads: 1, headDim: 4, positions: 2, base: 4 };
    const [c0, s0, c1, s1] = [Math.cos(2), Math.sin(2), Math.cos(1), Math.sin(1)];
    const row = Float32Array.of(1, 10, 100, 1000);
    const halves = [c0 - 100 * s0, 10 * c1 - 1000 * s1, 100 * c0 + s0, 1000 * c1 + 10 * s1];
    const pairs = [c0 - 10 * s0, 10 * c0 + s0, 100 * c1 - 1000 * s1, 1000 * c1 + 100 * s1];
    expect(maxError(heed.rotary(row, options).out, halves)).toBeLessThan(1000 * 2 ** -22);
    expect(maxError(heed.rotary(row, { ...options, interleaved: true }).out, pairs)).toBeLessThan(1000 * 2 ** -22);
  });

  it.each([false, true])("leaves what follows rotaryDim as it is, NaN included, interleaved: %s", (interleaved) => {
    for (const rotaryDim of [2, 6, 8, 18]) {
      const rows = x.map((value, at) => (at % 20 < rotaryDim ? value : at % 2 ? NaN : value));
      const { out } = heed.rotary(rows, { ...SIZES, rotaryDim, interleaved });
      const kept = (data: Float32Array) => data.filter((_, at) => at % 20 >= rotaryDim);
      expect(kept(out)).toEqual(kept(rows));
      expect(out.filter((value, at) => at % 20 < rotaryDim && !Number.isFinite(value))).toHaveLength(0);
    }
  });

  it("gives q·k that depends on the distance alone", () => {
    const [q, k] = [floats(64, uniform(2)), floats(64, uniform(3))];
    const dot = (i: number, j: number) => {
      const a = heed.rotary(q, { numHeads: 1, headDim: 64, positions: i }).out;
      const b = heed.rotary(k, { numHeads: 1, headDim: 64, positions: j }).out;
      return a.reduce((sum, value, d) => sum + value * b[d]!, 0);
    };
    // 64 products of two results of which each is off by 1.5 ulp of at most √6.
    expect(Math.abs(dot(5, 2) - dot(1005, 1002))).toBeLessThan(2 * 64 * 2 * 1.5 * 6 * 2 ** -24);
  });

  it("is undone by tables with the sine of the other sign", () => {
    const { cos, sin } = tablesOf(SEQ_LEN, 10);
    const turned = heed.rotary(x, { ...SIZES, cos, sin }).out;
    const back = heed.rotary(turned, { ...SIZES, cos, sin: sin.map((value) => -value) }).out;
    expect(maxError(back, x)).toBeLessThan(2 * 3 * 3 * 2 ** -24);
  });

  describe("where results go", () => {
    const expected = heed.rotary(x, SIZES).out;

    it("a fresh array, and x stays", () => {
      const rows = x.slice();
      const { out } = heed.rotary(rows, SIZES);
      expect(rows).toEqual(x);
      expect(out.buffer).not.toBe(rows.buffer);
    });

    it("an array, x itself too", () => {
      const rows = x.slice();
      const given = new Float32Array(LENGTH);
      expect(heed.rotary(rows, { ...SIZES, out: given }).out).toBe(given);
      expect(given).toEqual(expected);
      expect(heed.rotary(rows, { ...SIZES, out: rows }).out).toBe(rows);
      expect(rows).toEqual(expected);
    });

    it.each([false, true])("a Tensor, with and without x in place, interleaved: %s", (interleaved) => {
      const options = { ...SIZES, interleaved, rotaryDim: 14 };
      const wanted = heed.rotary(x, options).out;
      using rows = heed.tensor(LENGTH);
      using out = heed.tensor(LENGTH);
      rows.data.set(x);
      expect(heed.rotary(rows, options).out).toEqual(wanted);
      expect(heed.rotary(rows, { ...options, out }).out).toBe(out);
      expect(out.data).toEqual(wanted);
      expect(heed.rotary(rows, { ...options, out: rows }).out).toBe(rows);
      expect(rows.data).toEqual(wanted);
      heed.rotary(x, { ...options, out: rows });
      expect(rows.data).toEqual(wanted);
    });

    it("reads tables where they are, and copies the rows that it needs of others", () => {
      const { cos, sin } = tablesOf(1000, 10);
      const own = open();
      using cosine = own.tensor(cos.length);
      using sine = own.tensor(sin.length);
      cosine.data.set(cos);
      sine.data.set(sin);
      using rows = own.tensor(LENGTH);
      rows.data.set(x);
      const before = own.memory.used;
      const options = { ...SIZES, positions: 995 };
      const { out } = own.rotary(rows, { ...options, cos: cosine, sin: sine });
      expect(own.rotary(rows, { ...options, cos, sin }).out).toEqual(out);
      expect(own.rotary(rows, { ...options, cos: cosine, sin }).out).toEqual(out);
      const scaled = own.rotary(rows, { ...options, cos, sin, attentionScale: 1.5 }).out;
      expect(own.rotary(rows, { ...options, cos: cosine, sin: sine, attentionScale: 1.5 }).out).toEqual(scaled);
      own.rotary(rows, { ...options, out: rows });
      expect(own.memory.used).toBe(before);
      expect(own.memory.peak - before).toBeLessThan(LENGTH * 4 + 3 * 256);
      own.dispose();
    });
  });

  it("computes with f64 frequencies what it computes with their base, bit for bit", () => {
    const frequencies = frequenciesOf(500000, 10).slice();
    const options = { ...SIZES, positions: ints(4, -4, 0, 131071, 2 ** 30) };
    expect(heed.rotary(x, { ...options, frequencies }).out).toEqual(heed.rotary(x, { ...options, base: 500000 }).out);
  });

  it("leaves pairs of frequency 0 where they are, times attentionScale", () => {
    const frequencies = new Float32Array(10);
    expect(heed.rotary(x, { ...SIZES, frequencies, positions: 77 }).out).toEqual(x);
    expect(heed.rotary(x, { ...SIZES, frequencies, attentionScale: 2 }).out).toEqual(x.map((value) => 2 * value));
  });

  it("takes undefined for every option that has a default", () => {
    const none = { batch: undefined, layout: undefined, positions: undefined, base: undefined, cos: undefined };
    const form = { frequencies: undefined, attentionScale: undefined, sections: undefined };
    const more = {
      ...form,
      sectionsInterleaved: undefined,
      sin: undefined,
      rotaryDim: undefined,
      interleaved: undefined,
      out: undefined,
    };
    const rows = x.slice(0, 40);
    expect(heed.rotary(rows, { numHeads: 1, headDim: 20, ...none, ...more }).out).toEqual(
      heed.rotary(rows, { numHeads: 1, headDim: 20 }).out,
    );
  });
});
