import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import type { Part } from "../../bindings/attention/merge.ts";
import { expectClose, floorOf, largest, maxError, ULP } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinationsOf } from "../support/combinations.ts";
import { naive } from "../support/naive.ts";
import { type Problem, problemOf } from "../support/problems.ts";
import { floats, integer, uniform } from "../support/random.ts";
import { reference } from "../support/reference.ts";
import { runs } from "../support/sweep.ts";
import { scoresShape } from "../support/weights-model.ts";

const f32 = (...numbers: number[]) => Float32Array.from(numbers);

/** Attention over the keys [from, to) of every batch entry, without sinks. */
function partOf(heed: Heed, problem: Problem, from: number, to: number): { out: Float32Array; lse: Float32Array } {
  const { q, k, v, options } = problem;
  const { numHeads, numKvHeads = numHeads, headDim, valueDim = headDim, batch = 1, layout } = options;
  const [, , seqLenQ, keys] = scoresShape(problem);
  const rowsOf = (all: Float32Array, dim: number) => {
    const outer = layout === "bhld" ? batch * numKvHeads : batch;
    const row = layout === "bhld" ? dim : dim * numKvHeads;
    const rows = Array.from({ length: outer }, (_, n) => all.subarray((n * keys + from) * row, (n * keys + to) * row));
    return Float32Array.from(rows.flatMap((part) => [...part]));
  };
  const lengths = Array.from({ length: batch }, (_, b) => options.kvLengths?.[b] ?? keys);
  const offsets = lengths.map((length, b) => {
    const { queryOffset } = options;
    return ((typeof queryOffset === "number" ? queryOffset : queryOffset?.[b]) ?? length - seqLenQ) - from;
  });
  const crop = (data: Uint8Array | Float32Array, shape: readonly number[]) => {
    if (shape.length === 0 || shape.at(-1) === 1) return { data, shape };
    return {
      data: data.filter((_, at) => at % keys >= from && at % keys < to),
      shape: [...shape.slice(0, -1), to - from],
    };
  };
  const { keepMask, bias } = options;
  return heed.attention(q, rowsOf(k, headDim), rowsOf(v, valueDim), {
    ...options,
    sinks: undefined,
    keepMask: keepMask && (crop(keepMask.data, keepMask.shape) as typeof keepMask),
    bias: bias && (crop(bias.data, bias.shape) as typeof bias),
    kvLengths: Int32Array.from(lengths, (length) => Math.min(Math.max(length - from, 0), to - from)),
    queryOffset: Int32Array.from(offsets),
    lse: true,
  });
}

/** 1 to 9 parts of the keys, empty ones among them, in any order. */
function partsOf(heed: Heed, problem: Problem, next: () => number): { out: Float32Array; lse: Float32Array }[] {
  const [, , , keys] = scoresShape(problem);
  const cuts = Array.from({ length: integer(0, 8, next) }, () => integer(0, keys, next)).sort((a, b) => a - b);
  const parts = [0, ...cuts].map((from, n) => partOf(heed, problem, from, cuts[n] ?? keys));
  return parts
    .map((part) => ({ part, rank: next() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ part }) => part);
}

const optionsOf = ({ options }: Problem) => {
  const { numHeads, headDim, valueDim, batch, layout, sinks } = options;
  return { numHeads, headDim, valueDim, batch, layout, sinks };
};

/** Expects a merged answer to be that of all keys, within twice the error of plain f32 on all of them. */
function expectWhole(got: { out: Float32Array; lse: Float32Array }, problem: Problem): void {
  const { q, k, v, options } = problem;
  const exact = reference(q, k, v, options);
  expectClose(got, exact, naive(q, k, v, options), floorOf(problem, exact));
}

const unpacked = combinationsOf({ packed: fc.constant(false) });

forEachBuild((name, open) => {
  const heed = open();
  const numRuns = runs(name === "debug" ? 40 : 200);

  describe("any split of the keys", () => {
    it("into 1 to 9 parts, in any order, under any combination of options, is the whole", () => {
      const property = fc.property(unpacked, fc.integer(), (problem, seed) => {
        expectWhole(heed.merge(partsOf(heed, problem, uniform(seed)), optionsOf(problem)), problem);
      });
      fc.assert(property, { seed: 20261124, numRuns });
    });

    it("may be merged in groups, the sink given to the last merge", () => {
      const property = fc.property(unpacked, fc.integer(), (problem, seed) => {
        const next = uniform(seed);
        let parts = partsOf(heed, problem, next);
        const options = optionsOf(problem);
        while (parts.length > 1) {
          const some = parts.splice(0, integer(2, parts.length, next));
          parts = [...parts, heed.merge(some, { ...options, sinks: undefined })];
        }
        expectWhole(heed.merge(parts, options), problem);
      });
      fc.assert(property, { seed: 20261125, numRuns });
    });

    it("of packed sequences is the batch 1 case", () => {
      const cuSeqlensQ = Int32Array.of(0, 3, 3, 8);
      const whole = { cuSeqlensQ, cuSeqlensKv: Int32Array.of(0, 10, 14, 30) };
      const problem = problemOf({ batch: 1, numHeads: 3, seqLenQ: 8, seqLenKv: 30, valueDim: 7 }, whole);
      const { q, k, v, options } = problem;
      // Even keys, odd keys.
      const parts = [0, 1].map((odd) => {
        const rows = (all: Float32Array, dim: number) => all.filter((_, at) => Math.floor(at / (3 * dim)) % 2 === odd);
        const cuSeqlensKv = Int32Array.of(0, 5, 7, 15);
        return heed.attention(q, rows(k, 24), rows(v, 7), { ...options, cuSeqlensKv, lse: true });
      });
      expectWhole(heed.merge(parts, { numHeads: 3, valueDim: 7 }), problem);
    });

    it("gives the same bits in any order, but for a last place", () => {
      const problem = problemOf({ seqLenKv: 90 });
      const parts = [0, 30, 60].map((from) => partOf(heed, problem, from, from + 30));
      const options = optionsOf(problem);
      const one = heed.merge(parts, options);
      const other = heed.merge([parts[2]!, parts[0]!, parts[1]!], options);
      expect(maxError(one.out, other.out)).toBeLessThanOrEqual(ULP * largest(one.out));
      expect(maxError(one.lse, other.lse)).toBeLessThanOrEqual(ULP * largest(one.lse));
      expect(heed.merge([parts[0]!], options)).toEqual(parts[0]);
    });
  });

  describe("edges", () => {
    const options = { numHeads: 1, headDim: 2 };
    const dead = { out: f32(0, 0), lse: f32(-Infinity) };
    const spoiled = { out: f32(NaN, Infinity), lse: f32(-Infinity) };
    const live = { out: f32(3, 5), lse: f32(-7) };

    it("a part that saw no key changes nothing, and is not read", () => {
      expect(heed.merge([dead, live, spoiled], options)).toEqual(live);
    });

    it("of parts that all saw none comes 0 and −Infinity, or the sink", () => {
      expect(heed.merge([dead, spoiled], options)).toEqual(dead);
      const { out, lse } = heed.merge([spoiled, dead], { ...options, sinks: f32(2.5) });
      expect([...out, ...lse]).toEqual([0, 0, 2.5]);
      const none = heed.merge([dead], { ...options, sinks: f32(-Infinity) });
      expect([...none.out, ...none.lse]).toEqual([0, 0, -Infinity]);
    });

    it("counts a sink once", () => {
      const { out, lse } = heed.merge([live, live, live], { ...options, sinks: f32(-7) });
      expect(maxError(out, [9 / 4, 15 / 4])).toBeLessThanOrEqual(4 * ULP);
      expect(lse[0]).toBeCloseTo(-7 + Math.log(4), 6);
    });

    it("takes logarithms of any size", () => {
      const at = (lse: number, x: number) => ({ out: f32(x, x), lse: f32(lse) });
      expect([...heed.merge([at(3e38, 1), at(-3e38, 2), at(1000, 3)], options).out]).toEqual([1, 1]);
      expect([...heed.merge([at(-3e38, 1), at(-3e38, 3)], options).out]).toEqual([2, 2]);
      expect([...heed.merge([at(1e4, 1), at(1e4, 3)], options).out]).toEqual([2, 2]);
    });

    it("NaN and Infinity of a part that weighs do what IEEE says, in their row", () => {
      const two = { numHeads: 1, headDim: 1 };
      const parts = (x: number, lse: number) => [
        { out: f32(1, 2), lse: f32(0, 0) },
        { out: f32(x, 4), lse: f32(lse, 0) },
      ];
      expect([...heed.merge(parts(Infinity, 0), two).out]).toEqual([Infinity, 3]);
      expect([...heed.merge(parts(NaN, 0), two).out]).toEqual([NaN, 3]);
      // However little a part weighs, 0 · NaN is NaN; only one that saw no key is not read.
      for (const lse of [-1000, -3e38]) expect([...heed.merge(parts(NaN, lse), two).out]).toEqual([NaN, 3]);
      for (const lse of [NaN, Infinity]) {
        const merged = heed.merge(parts(1, lse), two);
        expect([...merged.out]).toEqual([NaN, 3]);
        expect(merged.lse[0]).toBeNaN();
      }
    });

    it("takes no rows", () => {
      const empty = { out: f32(), lse: f32() };
      expect(heed.merge([empty, empty], options)).toEqual(empty);
    });
  });

  describe("where parts stand and results go", () => {
    const problem = problemOf({ seqLenKv: 40, valueDim: 7 });
    const options = optionsOf(problem);
    const parts = [0, 20].map((from) => partOf(heed, problem, from, from + 20));
    const merged = heed.merge(parts, options);
    const tensorOf = (data: Float32Array) => {
      const tensor = heed.tensor(data.length);
      tensor.data.set(data);
      return tensor;
    };

    it("tensors and arrays, in any mixture", () => {
      const [a, b] = parts as [(typeof parts)[0], (typeof parts)[0]];
      const tensors = [a.out, b.out, b.lse, merged.out, merged.lse].map(tensorOf);
      const [aOut, bOut, bLse, out, lse] = tensors as [(typeof tensors)[0], ...typeof tensors];
      const result = heed.merge(
        [
          { out: aOut, lse: a.lse },
          { out: bOut!, lse: bLse! },
        ] as Part[],
        { ...options, out: out!, lse: lse! },
      );
      expect(result.out).toBe(out);
      expect(out!.data).toEqual(merged.out);
      expect(lse!.data).toEqual(merged.lse);
      expect(heed.merge([{ out: aOut, lse: a.lse }, b], options)).toEqual(merged);
      tensors.forEach((tensor) => tensor.dispose());
    });

    it("may be written over the first part", () => {
      const [out, lse] = [tensorOf(parts[0]!.out), tensorOf(parts[0]!.lse)];
      heed.merge([{ out, lse }, parts[1]!], { ...options, out, lse });
      expect(out.data).toEqual(merged.out);
      expect(lse.data).toEqual(merged.lse);
      const copies = { out: parts[0]!.out.slice(), lse: parts[0]!.lse.slice() };
      heed.merge([copies, parts[1]!], { ...options, ...copies });
      expect(copies).toEqual(merged);
      [out, lse].forEach((tensor) => tensor.dispose());
    });

    it("takes lse: true, and headDim or valueDim", () => {
      expect(heed.merge(parts, { ...options, lse: true })).toEqual(merged);
      expect(heed.merge(parts, { ...options, headDim: undefined })).toEqual(merged);
      expect(heed.merge(parts, { ...options, headDim: 7, valueDim: undefined })).toEqual(merged);
    });

    it("needs little beyond out, however long the arrays", () => {
      const heed = open();
      const rows = 20_000;
      const part = { out: floats(rows * 64, uniform(1)), lse: new Float32Array(rows) };
      const { out } = heed.merge([part, part, part], { numHeads: 1, headDim: 64 });
      expect(maxError(out, part.out)).toBeLessThanOrEqual(2 * ULP);
      expect(heed.memory.peak).toBeLessThanOrEqual(rows * 64 * 4 + 4 * rows * 4 + 1.1 * 2 ** 20);
      heed.dispose();
    });
  });

  describe("is refused", () => {
    const part = { out: new Float32Array(8), lse: new Float32Array(2) };
    const one = { numHeads: 2, headDim: 4 };
    const gone = heed.tensor(8);
    gone.dispose();
    it.each<[string, unknown, object, typeof TypeError | typeof RangeError | typeof ReferenceError, string]>([
      ["no array", { 0: part }, {}, TypeError, '"parts" expected an array of { out, lse }, got a value of type Object'],
      ["no part", [], {}, RangeError, '"parts" expected at least one part, got 0'],
      ["a part that is none", [part, null], {}, TypeError, '"parts[1]" expected an object, got null'],
      ["a part without lse", [part, { out: part.out }], {}, TypeError, '"parts[1].lse" expected a Float32Array'],
      ["an out of doubles", [{ ...part, out: new Float64Array(8) }], {}, TypeError, '"parts[0].out"'],
      [
        "parts of several lengths",
        [part, { out: new Float32Array(16), lse: new Float32Array(4) }],
        {},
        RangeError,
        '"parts[1].out" expected a length of 8',
      ],
      [
        "an lse that is too short",
        [{ ...part, lse: new Float32Array(1) }],
        {},
        RangeError,
        '"parts[0].lse" expected a length of 2',
      ],
      [
        "an out that does not divide",
        [{ ...part, out: new Float32Array(9) }],
        {},
        RangeError,
        '"parts[0].out" expected a length divisible by 8 (numHeads × headDim), got 9',
      ],
      ["neither dim", [part], { headDim: undefined }, TypeError, '"headDim"'],
      ["a wrong valueDim", [part], { valueDim: 0 }, RangeError, '"valueDim"'],
      ["a wrong layout", [part], { layout: "lbhd" }, RangeError, '"layout"'],
      ["sinks of one head", [part], { sinks: new Float32Array(1) }, RangeError, '"sinks"'],
      ["a short target", [part], { out: new Float32Array(7) }, RangeError, '"out" expected a length of 8'],
      ["lse false", [part], { lse: false }, TypeError, '"lse"'],
      ["a disposed part", [{ ...part, out: gone }], {}, ReferenceError, '"parts[0].out" expected a live Tensor'],
    ])("%s", (_, parts, options, kind, message) => {
      const { used } = heed.memory;
      const into = { out: new Float32Array(8).fill(7), lse: new Float32Array(2).fill(7) };
      const call = () => heed.merge(parts as Part[], { ...one, ...into, ...options });
      expect(call).toThrow(kind);
      expect(call).toThrow(message);
      expect(into).toEqual({ out: new Float32Array(8).fill(7), lse: new Float32Array(2).fill(7) });
      expect(heed.memory.used).toBe(used);
      expect(heed.merge([part], one)).toEqual(part);
    });

    it("a target that lies over what is still read", () => {
      using live = heed.tensor(8);
      const { data } = live;
      const over = { out: part.out, lse: data.subarray(3, 5) };
      expect(() => heed.merge([part, over], { ...one, out: live })).toThrow(
        new RangeError('"out" expected memory apart from "parts[1].lse", got "memory that overlaps it"'),
      );
      expect(() => heed.merge([{ ...part, out: live }], { ...one, lse: over.lse as never })).toThrow(/"lse"/);
      expect(() => heed.merge([part], { ...one, out: live, sinks: data.subarray(0, 2) })).toThrow(/"sinks"/);
    });
  });
});
