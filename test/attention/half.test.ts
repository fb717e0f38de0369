// `precision: "half"`: products in integers of 13 bits.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bitsOf } from "../support/bits.ts";
import { largest, maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinationsOf } from "../support/combinations.ts";
import { asArrays, expectSameParts, inCache, parts, spoil } from "../support/cuts.ts";
import { type Problem, problemOf, randomBias, randomMask } from "../support/problems.ts";
import { normals, uniform } from "../support/random.ts";
import { reference } from "../support/reference.ts";
import { runs } from "../support/sweep.ts";

/** The nearest binary16. */
function toHalf(x: number): number {
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(x))));
  const unit = 2 ** (exponent - 10);
  return Number.isFinite(exponent) ? Math.round(x / unit) * unit : x;
}

const inHalf = ({ q, k, v, options }: Problem): Problem => ({
  q: q.map(toHalf),
  k: k.map(toHalf),
  v: v.map(toHalf),
  options,
});

/** A problem of one sequence, of normal values. */
function normalProblem(
  seqLenQ: number,
  seqLenKv: number,
  headDim: number,
  { peak = 1, more = {} }: { peak?: number; more?: Partial<Problem["options"]> } = {},
): Problem {
  const next = normals(seqLenKv + headDim);
  const draw = (length: number, factor = 1) => Float32Array.from({ length }, () => factor * next());
  return {
    q: draw(2 * seqLenQ * headDim, peak),
    k: draw(2 * seqLenKv * headDim),
    v: draw(2 * seqLenKv * headDim),
    options: { numHeads: 2, headDim, ...more },
  };
}

/** The same, with one channel that stands far out. */
function withOutlier(problem: Problem, rows: "k" | "v"): Problem {
  for (let n = 3; n < problem[rows].length; n += problem.options.headDim) problem[rows][n]! += 20;
  return problem;
}

const problems = combinationsOf({
  numKvHeads: fc.integer({ min: 1, max: 3 }),
  seqLenQ: fc.integer({ min: 1, max: 24 }),
  seqLenKv: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 60, max: 260 })),
  headDim: fc.constantFrom(8, 16, 40, 64, 136),
  valueDim: fc.constantFrom(8, 24, 64, 72),
  scale: fc.option(fc.constantFrom(-0.3, 0, 0.01, 0.1, 0.7, 1), { nil: undefined }),
});

forEachBuild((name, open) => {
  const heed = open();
  const count = (numRuns: number) => runs(name === "debug" ? numRuns / 5 : numRuns);
  const half = ({ q, k, v, options }: Problem) =>
    heed.attention(q, k, v, { ...options, precision: "half", reproducible: true, lse: true });
  const full = ({ q, k, v, options }: Problem) =>
    heed.attention(q, k, v, { ...options, reproducible: true, lse: true });

  describe("has at most 1.5 times the error of exact attention over binary16", () => {
    const cases: Record<string, () => Problem> = {
      "64 keys": () => normalProblem(64, 64, 64),
      "1 024 keys": () => normalProblem(16, 1024, 64),
      "4 096 keys": () => normalProblem(8, 4096, 64),
      "scores three times as far apart": () => normalProblem(16, 1024, 64, { peak: 3 }),
      "scores ten times as far apart": () => normalProblem(16, 1024, 64, { peak: 10 }),
      "flat scores": () => normalProblem(16, 1024, 64, { peak: 0.01 }),
      "an outlier in k": () => withOutlier(normalProblem(16, 1024, 64), "k"),
      "an outlier in v": () => withOutlier(normalProblem(16, 1024, 64), "v"),
      "128 dims": () => normalProblem(12, 1024, 128),
      "256 dims": () => normalProblem(12, 520, 256),
      "8 dims": () => normalProblem(100, 300, 8),
      causal: () => normalProblem(100, 300, 64, { more: { causal: true } }),
      "a window": () => normalProblem(100, 300, 64, { more: { window: { left: 9, right: 20 } } }),
      "softcap, ALiBi": () =>
        normalProblem(40, 500, 64, { more: { softcap: 3, alibiSlopes: Float32Array.of(0.1, 0.01) } }),
      "a bias and a mask": () =>
        normalProblem(40, 300, 64, { more: { bias: randomBias([40, 300], 0.2), keepMask: randomMask([2, 1, 300]) } }),
    };
    it.each(Object.entries(cases))("%s", (_, make) => {
      const problem = make();
      const exact = reference(problem.q, problem.k, problem.v, problem.options);
      const { q, k, v, options } = inHalf(problem);
      const rounded = reference(q, k, v, options);
      const { out, lse } = half(problem);
      expect(maxError(out, exact.out)).toBeLessThan(1.5 * maxError(rounded.out, exact.out));
      expect(maxError(lse, exact.lse)).toBeLessThan(1.5 * maxError(rounded.lse, exact.lse) + 1e-4);
      // It is not the other path.
      expect(maxError(out, exact.out)).toBeGreaterThan(8 * maxError(full(problem).out, exact.out));
    });

    it("one to five keys, within the rounding of one value", () => {
      for (let keys = 1; keys <= 5; keys++) {
        const problem = normalProblem(30, keys, 64);
        const exact = reference(problem.q, problem.k, problem.v, problem.options);
        const { q, k, v, options } = inHalf(problem);
        const error = maxError(reference(q, k, v, options).out, exact.out);
        expect(maxError(half(problem).out, exact.out)).toBeLessThan(1.5 * error);
      }
    });

    it.skipIf(name === "debug")("65 536 keys", () => {
      const problem = normalProblem(8, 65_536, 16);
      const exact = reference(problem.q, problem.k, problem.v, problem.options);
      const { q, k, v, options } = inHalf(problem);
      const error = maxError(reference(q, k, v, options).out, exact.out);
      expect(maxError(half(problem).out, exact.out)).toBeLessThan(1.5 * error);
    });

    // Of few values binary16 may be exact by luck. The floor is what 13 bits lose at least: of v half a unit, of a score
    // what the largest products of q and k lose.
    it("any combination of options", () => {
      const property = fc.property(problems, (problem) => {
        const { options } = problem;
        const exact = reference(problem.q, problem.k, problem.v, options);
        const { q, k, v } = inHalf(problem);
        const rounded = reference(q, k, v, options);
        const { out, lse } = half(problem);
        const scale = Math.abs(options.scale ?? 1 / Math.sqrt(options.headDim));
        const score = 2 ** -12 * scale * Math.sqrt(options.headDim) * largest(problem.q) * largest(problem.k);
        const most = largest(problem.v);
        expect(maxError(lse, exact.lse)).toBeLessThan(1.5 * maxError(rounded.lse, exact.lse) + score + 2e-4);
        expect(maxError(out, exact.out)).toBeLessThanOrEqual(
          1.5 * maxError(rounded.out, exact.out) + most * (score + 2 ** -12),
        );
      });
      fc.assert(property, { seed: 20261128, numRuns: count(200) });
    });
  });

  describe("the bits of a row", () => {
    it.each(["finite", "spoiled"])("are those of any part of the call: %s values", (values) => {
      const property = fc.property(problems, parts, fc.integer(), (problem, drawn, seed) => {
        if (values === "spoiled") spoil(problem, seed);
        const options = { ...problem.options, precision: "half", reproducible: true } as const;
        expectSameParts(heed, { ...problem, options }, drawn);
      });
      fc.assert(property, { seed: 20261129, numRuns: count(200) });
    });

    it("are those of the asynchronous call, and of K and V in pieces", async () => {
      const problem = normalProblem(60, 3000, 64, { more: { causal: true, precision: "half" } });
      const { q, k, v, options } = problem;
      const together = heed.attention(q, k, v, { ...options, lse: true });
      expect(bitsOf(await heed.attentionAsync(q, k, v, { ...options, lse: true }))).toEqual(bitsOf(together));
      const tensors = [q, k, v].map((rows) => {
        const tensor = heed.tensor(rows.length);
        tensor.data.set(rows);
        return tensor;
      });
      const whole = heed.attention(tensors[0]!, tensors[1]!, tensors[2]!, { ...options, lse: true });
      expect(bitsOf(whole)).toEqual(bitsOf(together));
      for (const tensor of tensors) tensor.dispose();
    });

    it.each(["f16", "int8"] as const)("are those of arrays that hold what a cache of %s stores", (dtype) => {
      const problem = problemOf(
        { batch: 1, numHeads: 4, numKvHeads: 2, seqLenQ: 20, seqLenKv: 150, headDim: 16 },
        { causal: true, precision: "half" },
      );
      using cache = heed.createKvCache({ numKvHeads: 2, headDim: 16, capacity: 200, dtype });
      cache.append(problem.k, problem.v);
      const { k, v } = cache.read(0, 0, 150);
      const stored = { ...problem, k: Float32Array.from(k), v: Float32Array.from(v) };
      expect(bitsOf(inCache(dtype)(heed, problem))).toEqual(bitsOf(asArrays(heed, stored)));
    });

    it("are those of full precision where half has no form for them", () => {
      for (const factor of [1e-20, 1e20]) {
        for (const rows of ["q", "k", "v"] as const) {
          const problem = normalProblem(20, 150, 16);
          problem[rows] = problem[rows].map((x) => x * factor);
          expect(bitsOf(half(problem))).toEqual(bitsOf(full(problem)));
        }
      }
      const odd = normalProblem(20, 150, 20);
      expect(bitsOf(half(odd))).toEqual(bitsOf(full(odd)));
      const few = normalProblem(2, 150, 16, { more: { precision: "half" } });
      const plain = { ...few, options: { ...few.options, precision: "full" as const } };
      expect(bitsOf(asArrays(heed, few))).toEqual(bitsOf(asArrays(heed, plain)));
    });
  });

  it("gives what IEEE arithmetic gives in the rows that see a value that is not finite, and no other row changes", () => {
    const property = fc.property(problems, fc.integer(), (problem, seed) => {
      const before = half(problem);
      spoil(problem, seed);
      const { out, lse } = full(problem);
      const got = half(problem);
      const { valueDim = 0 } = problem.options;
      for (let row = 0; row * valueDim < out.length; row++) {
        const rowOf = (all: Float32Array) => [...all.subarray(row * valueDim, (row + 1) * valueDim)];
        const [inFull, inHalfPrecision, unspoiled] = [rowOf(out), rowOf(got.out), rowOf(before.out)];
        // A row is in full precision, or as it was.
        if (!inHalfPrecision.every((x, n) => Object.is(x, inFull[n]))) {
          expect(inFull.every(Number.isFinite)).toBe(true);
          expect(largest(inHalfPrecision)).toBeLessThanOrEqual(1.01 * largest([...problem.v, ...unspoiled]));
        }
      }
      expect(lse.length).toBe(got.lse.length);
    });
    fc.assert(property, { seed: 20261130, numRuns: count(100) });
  });

  describe("no sum overflows", () => {
    it.each([8, 64, 128, 136, 400])("with every value at its largest, %i dims", (headDim) => {
      const [rows, keys] = [17, 193];
      for (const [a, b] of [
        [1, 1],
        [-1, 1],
        [3e5, -3e5],
      ] as const) {
        const q = new Float32Array(rows * headDim).fill(a);
        const k = new Float32Array(keys * headDim).fill(b);
        const v = new Float32Array(keys * 8).fill(a);
        const { out, lse } = half({ q, k, v, options: { numHeads: 1, headDim, valueDim: 8, scale: 1 / (a * b) } });
        expect(maxError(out, new Float32Array(out.length).fill(a))).toBeLessThan(2e-4 * Math.abs(a));
        expect(maxError(lse, new Float32Array(rows).fill(headDim + Math.log(keys)))).toBeLessThan(2e-4 * headDim);
      }
    });
  });

  it("leaves nothing out where one key of a block weighs far more than the others together", () => {
    // 63 keys at e⁻¹⁰ of one: each alone is below a unit of the integers.
    const problem = normalProblem(20, 64, 16);
    problem.q.fill(0);
    const bias = new Float32Array(64).fill(-7);
    bias[17] = 0;
    const biased = { ...problem, options: { ...problem.options, bias: { data: bias, shape: [64] } } };
    const exact = reference(biased.q, biased.k, biased.v, biased.options);
    expect(maxError(half(biased).out, exact.out)).toBeLessThan(2 ** -9);
  });

  it("a key whose value is zero counts in the denominator, and costs the others no precision", () => {
    const problem = normalProblem(40, 200, 64);
    problem.v.fill(0, 0, 2 * 64);
    for (let n = 0; n < problem.k.length; n++) if (n < 2 * 64) problem.k[n] = problem.q[n]!;
    const exact = reference(problem.q, problem.k, problem.v, problem.options);
    const { q, k, v, options } = inHalf(problem);
    const error = maxError(reference(q, k, v, options).out, exact.out);
    expect(maxError(half(problem).out, exact.out)).toBeLessThan(1.5 * error);
  });

  it("refuses any other word", () => {
    const { q, k, v, options } = normalProblem(5, 5, 8);
    expect(() => heed.attention(q, k, v, { ...options, precision: "f16" as "half" })).toThrow(
      new RangeError('"precision" expected "full" or "half", got "f16"'),
    );
  });

  it("belongs to a model: a layer takes it, and attentionWeights of the same options", () => {
    const { q, k, options } = normalProblem(6, 20, 16, { more: { precision: "half" } });
    expect(bitsOf(heed.attentionWeights(q, k, options))).toEqual(
      bitsOf(heed.attentionWeights(q, k, { ...options, precision: "full" })),
    );
    const next = uniform(3);
    const weight = () => ({ weight: { data: Float32Array.from({ length: 1024 }, () => next() / 8), shape: [32, 32] } });
    const weights = { q: weight(), k: weight(), v: weight(), out: weight() };
    using layer = heed.createMultiHeadAttention({ numHeads: 2, weights, precision: "half" });
    using plain = heed.createMultiHeadAttention({ numHeads: 2, weights });
    const x = Float32Array.from({ length: 40 * 32 }, () => next());
    expect(bitsOf(layer.forward(x))).toEqual(bitsOf(plain.forward(x, { precision: "half" })));
    expect(bitsOf(layer.forward(x))).not.toEqual(bitsOf(plain.forward(x)));
  });
});
