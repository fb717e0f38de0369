import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { expectWithinBudget, floorOf } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinations } from "../support/combinations.ts";
import { naive } from "../support/naive.ts";
import { type Problem, problemOf, randomMask } from "../support/problems.ts";
import { integer, uniform } from "../support/random.ts";
import type { PlainOptions } from "../support/reference.ts";
import { runs } from "../support/sweep.ts";

const f32 = (...numbers: number[]) => Float32Array.from(numbers);
const one = { numHeads: 1, headDim: 1, lse: true } as const;

/** The parts of out and lse that have the given kind. */
const patternOf = (numbers: ArrayLike<number>) =>
  Array.from(numbers, (x) => (Number.isNaN(x) ? "NaN" : Number.isFinite(x) ? "finite" : x > 0 ? "+" : "−")).join(" ");

function attend(heed: Heed, { q, k, v, options }: Problem) {
  return heed.attention(q, k, v, { ...options, lse: true });
}

forEachBuild((name, open) => {
  const heed = open();

  describe("nothing to see", () => {
    it("gives 0 and −Infinity to a query whose keys are all masked", () => {
      const keepMask = { data: Uint8Array.from({ length: 13 * 29 }, (_, at) => Number(at >= 29)), shape: [13, 29] };
      const { out, lse } = attend(heed, problemOf({}, { keepMask }));
      expect(out.subarray(0, 4 * 24)).toEqual(new Float32Array(4 * 24));
      expect(out[4 * 24]).not.toBe(0);
      expect([lse[0], lse[13]]).toEqual([-Infinity, -Infinity]);
      expectWithinBudget(heed, problemOf({}, { keepMask }));
    });

    it.each<[string, Partial<PlainOptions>]>([
      ["keepMask", { keepMask: { data: new Uint8Array(1), shape: [1] } }],
      ["bias", { bias: { data: f32(-Infinity), shape: [] } }],
      ["kvLengths", { kvLengths: new Int32Array(2) }],
      ["causal", { causal: true, queryOffset: -20 }],
      ["window", { window: { left: 3 }, queryOffset: 100 }],
    ])("gives 0 and −Infinity everywhere: %s", (_, options) => {
      const { out, lse } = attend(heed, problemOf({}, options));
      expect(out.every((x) => Object.is(x, 0))).toBe(true);
      expect(lse.every((x) => x === -Infinity)).toBe(true);
    });

    it("gives 0 and the sink where there is one", () => {
      const sinks = f32(0.5, -3e38, 3e38, -Infinity);
      const { out, lse } = attend(heed, problemOf({ seqLenKv: 0 }, { sinks }));
      expect(out.every((x) => x === 0)).toBe(true);
      expect(lse).toEqual(Float32Array.from({ length: 2 * 4 * 13 }, (_, at) => sinks[Math.floor(at / 13) % 4]!));
    });

    it("takes no keys, no queries, and neither", () => {
      const { out, lse } = attend(heed, problemOf({ seqLenKv: 0 }));
      expect(out).toEqual(new Float32Array(2 * 13 * 4 * 24));
      expect(lse).toEqual(new Float32Array(2 * 13 * 4).fill(-Infinity));
      for (const seqLenKv of [29, 0]) {
        const empty = attend(heed, problemOf({ seqLenQ: 0, seqLenKv }, { causal: true }));
        expect([empty.out.length, empty.lse.length]).toEqual([0, 0]);
      }
    });

    it("takes packed sequences that are empty", () => {
      const cuSeqlensQ = Int32Array.of(0, 0, 4, 4);
      const cuSeqlensKv = Int32Array.of(0, 3, 3, 6);
      const { out, lse } = attend(heed, problemOf({ batch: 1, seqLenQ: 4, seqLenKv: 6 }, { cuSeqlensQ, cuSeqlensKv }));
      expect(out.every((x) => x === 0)).toBe(true);
      expect(lse.every((x) => x === -Infinity)).toBe(true);
      const none = attend(heed, problemOf({ batch: 1, seqLenQ: 0, seqLenKv: 0 }, { cuSeqlensQ: Int32Array.of(0) }));
      expect(none.out.length).toBe(0);
    });
  });

  describe("masked keys are never read", () => {
    const spoiled = [NaN, Infinity, -Infinity];
    const last = { data: Uint8Array.from({ length: 29 }, (_, j) => Number(j < 20)), shape: [29] };
    const holes = randomMask([2, 1, 1, 29], 9);
    const cases: [string, Partial<PlainOptions>, (b: number, j: number) => boolean][] = [
      ["kvLengths", { kvLengths: Int32Array.of(11, 20) }, (b, j) => j < [11, 20][b]!],
      ["causal", { causal: true, queryOffset: 7 }, (_, j) => j <= 7 + 12],
      ["window", { window: { left: 2, right: 1 }, queryOffset: 5 }, (_, j) => j >= 3 && j <= 5 + 12 + 1],
      ["keepMask at the end", { keepMask: last }, (_, j) => j < 20],
      ["keepMask with holes", { keepMask: holes }, (b, j) => holes.data[b * 29 + j] !== 0],
      [
        "bias −Infinity",
        { bias: { data: Float32Array.from(holes.data, (kept) => (kept ? 0.5 : -Infinity)), shape: holes.shape } },
        (b, j) => holes.data[b * 29 + j] !== 0,
      ],
      [
        "bias −Infinity under softcap, ALiBi and a sink",
        {
          bias: { data: Float32Array.from(last.data, (kept) => (kept ? 0.5 : -Infinity)), shape: [29] },
          softcap: 3,
          alibiSlopes: f32(0.1, 0.2, 0.3, 0.4),
          sinks: f32(0, 1, 2, 3),
        },
        (_, j) => j < 20,
      ],
    ];
    it.each(cases)("%s", (_, options, seen) => {
      const problem = problemOf({}, options);
      const clean = attend(heed, problem);
      for (const rows of [problem.k, problem.v]) {
        rows.forEach((_, at) => {
          const j = Math.floor(at / (4 * 24)) % 29;
          if (!seen(Math.floor(at / (29 * 4 * 24)), j)) rows[at] = spoiled[at % 3]!;
        });
      }
      expect(Array.from(problem.k).some(Number.isNaN)).toBe(true);
      const { out, lse } = attend(heed, problem);
      // Up to rounding: a block that meets NaN is computed key by key.
      expect(patternOf(out)).toBe(patternOf(clean.out));
      expect(patternOf(lse)).toBe(patternOf(clean.lse));
      expectWithinBudget(heed, problem);
    });

    it("under any combination of options, whatever rows are NaN", () => {
      const property = fc.property(combinations, fc.integer(), (problem, seed) => {
        const next = uniform(seed);
        const { headDim, valueDim = headDim } = problem.options;
        const spoil = (rows: Float32Array, dim: number) => {
          for (let at = 0; at < rows.length; at += dim) if (next() < 0.2) rows[at + integer(0, dim - 1, next)] = NaN;
        };
        const floor = floorOf(problem);
        spoil(problem.k, headDim);
        spoil(problem.v, valueDim);
        expectWithinBudget(heed, problem, floor);
      });
      fc.assert(property, { seed: 20261128, numRuns: runs(name === "debug" ? 50 : 200) });
    });

    it("nor are the rows of other queries spoiled under causal", () => {
      const problem = problemOf({ seqLenQ: 29 }, { causal: true });
      const clean = attend(heed, problem);
      problem.v.fill(NaN, 15 * 4 * 24, 16 * 4 * 24); // key 15 of sequence 0
      problem.k.fill(Infinity, 22 * 4 * 24, 23 * 4 * 24); // key 22
      const { out } = attend(heed, problem);
      out.forEach((x, at) => {
        const spoilt = at < 29 * 4 * 24 && Math.floor(at / (4 * 24)) >= 15;
        if (spoilt !== Number.isNaN(x)) expect.fail(`out[${at}] is ${x}`);
        if (!spoilt) expect(Math.abs(x - clean.out[at]!)).toBeLessThan(1e-5);
      });
    });
  });

  describe("NaN and Infinity that are seen do what IEEE says, in the rows that see them", () => {
    it("in one place of q, k or v, under any combination of options", () => {
      const where = fc.record({
        of: fc.constantFrom("q", "k", "v"),
        at: fc.nat(),
        x: fc.constantFrom(NaN, Infinity, -Infinity),
      });
      const property = fc.property(combinations, where, (problem, { of, at, x }) => {
        const rows = problem[of];
        if (rows.length > 0) rows[at % rows.length] = x;
        const plain = naive(problem.q, problem.k, problem.v, problem.options);
        const { out, lse } = attend(heed, problem);
        expect(patternOf(out)).toBe(patternOf(plain.out));
        expect(patternOf(lse)).toBe(patternOf(plain.lse));
      });
      fc.assert(property, { seed: 20261125, numRuns: runs(100) });
    });

    it.each([1, 2, 3, 4, 5])(
      "is Infinity where a value is, whatever keys a step of %i query rows ends with",
      (seqLenQ) => {
        for (const seqLenKv of [1, 2, 3, 5, 6, 7, 9, 129, 131]) {
          for (let key = Math.max(0, seqLenKv - 4); key < seqLenKv; key++) {
            const v = new Float32Array(seqLenKv * 8).fill(1);
            v[key * 8 + 3] = Infinity;
            const q = new Float32Array(seqLenQ * 8);
            const { out } = heed.attention(q, new Float32Array(seqLenKv * 8), v, { numHeads: 1, headDim: 8 });
            out.forEach((x, n) => expect(x).toBeCloseTo(n % 8 === 3 ? Infinity : 1));
          }
        }
      },
    );

    it("adds NaN and Infinity of a bias", () => {
      const bias = { data: f32(0, NaN, 0, Infinity, 0, 0), shape: [3, 2] };
      const { out, lse } = heed.attention(f32(1, 1, 1), f32(1, 2), f32(3, 5), { ...one, bias });
      expect(patternOf(out)).toBe("NaN NaN finite");
      expect(patternOf(lse)).toBe("NaN NaN finite");
    });

    it("gives NaN where all scores that are seen are −Infinity without being masked", () => {
      const { out, lse } = heed.attention(f32(-3e38, 1), f32(3e38, 3e38), f32(3, 5), one);
      expect(patternOf(out)).toBe("NaN finite");
      expect(patternOf(lse)).toBe("NaN finite");
    });

    it("caps an infinite score like any other", () => {
      const { out, lse } = heed.attention(f32(1), f32(Infinity, -Infinity, 0), f32(1, 2, 3), { ...one, softcap: 2 });
      const weights = [2, -2, 0].map(Math.exp);
      const l = weights.reduce((sum, p) => sum + p);
      expect(out[0]).toBeCloseTo(weights.reduce((sum, p, j) => sum + p * (j + 1), 0) / l, 6);
      expect(lse[0]).toBeCloseTo(Math.log(l), 6);
    });
  });

  describe("large and small numbers", () => {
    it.each([1e4, -1e4])("logits around %f", (size) => {
      const problem = problemOf({}, { scale: 1 });
      // One element carries the size, so that the scores differ by what the others give.
      for (let row = 0; row < problem.q.length; row += 24) problem.q[row] = size;
      for (let row = 0; row < problem.k.length; row += 24) problem.k[row] = 1;
      expectWithinBudget(heed, problem);
    });

    it("logits of 3e38, of either sign", () => {
      const q = f32(3e38, -3e38);
      const { out, lse } = heed.attention(q, f32(1, 0.5, -1), f32(3, 5, 7), { ...one, scale: 1 });
      expect(out).toEqual(f32(3, 7));
      expect(lse).toEqual(f32(3e38, 3e38));
      const low = heed.attention(q.subarray(1), f32(1, 1), f32(3, 5), { ...one, scale: 1 });
      expect(low.out).toEqual(f32(4));
      expect(low.lse).toEqual(f32(-3e38));
    });

    it("logits of 3e38 by bias, beside masked keys", () => {
      const bias = { data: f32(-Infinity, 3e38, -3e38, -Infinity, -3e38, -3e38), shape: [2, 3] };
      const { out, lse } = heed.attention(f32(0, 0), f32(1, 1, 1), f32(3, 5, 7), { ...one, bias });
      expect(out).toEqual(f32(5, 6));
      expect(lse).toEqual(f32(3e38, -3e38));
    });

    it.each([1e-46, -1e-46, 1e-60, 5e-324, 1e-40, -0])("scale %f", (scale) => {
      const { out, lse } = heed.attention(f32(1, 1), f32(1, 2), f32(3, 5), { ...one, scale, causal: true });
      expect(out).toEqual(f32(3, 4));
      expect(lse[1]).toBeCloseTo(Math.LN2, 6);
    });

    it.each([300, -300, 3e38, -3e38, -Infinity])("a sink of %f", (sink) => {
      const options = { sinks: f32(sink, sink, sink, 0) };
      const problem = problemOf({}, options);
      expectWithinBudget(heed, problem);
      const { lse } = attend(heed, problem);
      if (sink > 100) expect(lse[0]).toBe(Math.fround(sink));
      else expect(lse[0]).toBeGreaterThan(-10);
    });

    it("gives NaN for a sink that is NaN or Infinity", () => {
      for (const sink of [NaN, Infinity]) {
        const { out, lse } = heed.attention(f32(1), f32(1, 2), f32(3, 5), { ...one, sinks: f32(sink) });
        expect(patternOf(out) + patternOf(lse)).toBe("NaNNaN");
      }
    });

    it("windows and offsets as far as they go", () => {
      const plain = attend(heed, problemOf({}));
      for (const far of [2 ** 30, 2 ** 31, 2 ** 40, Number.MAX_SAFE_INTEGER, Infinity]) {
        const { out } = attend(heed, problemOf({}, { window: { left: far, right: far } }));
        expect(out).toEqual(plain.out);
      }
      const right = attend(heed, problemOf({}, { causal: true, queryOffset: 2 ** 30 }));
      expect(right.out).toEqual(plain.out);
      const left = attend(heed, problemOf({}, { window: { right: 2 ** 30 }, queryOffset: -(2 ** 30) }));
      expectWithinBudget(heed, problemOf({}, { window: { right: 2 ** 30 }, queryOffset: -(2 ** 30) }));
      expect(left.out.some((x) => x !== 0)).toBe(true);
      const none = attend(heed, problemOf({}, { causal: true, queryOffset: -(2 ** 30) }));
      expect(none.out.every((x) => x === 0)).toBe(true);
    });

    it("a query that sees nothing beside queries that do, in one block", () => {
      expectWithinBudget(heed, problemOf({ seqLenQ: 9, seqLenKv: 4 }, { causal: true, queryOffset: -5 }));
    });
  });
});
