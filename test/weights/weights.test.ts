// attentionWeights against the f64 reference: rows and heads, what they reduce to, lse, topK, stages, and edges.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Stage } from "../../bindings/attention-weights/options.ts";
import { ULP, floorOf, largest, maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinations, combinationsOf } from "../support/combinations.ts";
import { naive } from "../support/naive.ts";
import { type Problem, problemOf } from "../support/problems.ts";
import { floats, integer, uniform } from "../support/random.ts";
import { reference } from "../support/reference.ts";
import { runs } from "../support/sweep.ts";
import {
  choose,
  expectRows,
  expectWeights,
  lseOf,
  scoresShape,
  someOf,
  topOf,
  weigh,
} from "../support/weights-model.ts";

const f32 = (...numbers: number[]) => Float32Array.from(numbers);

forEachBuild((name, open) => {
  const heed = open();
  const numRuns = runs(name === "debug" ? 40 : 250);

  describe("weights of chosen rows and heads", () => {
    it("are right under any combination of options, sum to 1, with lse and without", () => {
      const property = fc.property(combinations, fc.integer(), fc.boolean(), (problem, seed, withLse) => {
        const chosen = someOf(problem, uniform(seed));
        const lse = withLse ? lseOf(heed, problem) : undefined;
        const got = weigh(heed, problem, { ...chosen, lse, entropy: true });
        expectWeights(got, problem, chosen);
        expectRows(got.weights, problem, chosen);
      });
      fc.assert(property, { seed: 20261124, numRuns });
    });

    it("are right in whole eights, where rows of k are read as vectors", () => {
      const eights = combinationsOf({ headDim: fc.constantFrom(8, 16, 24, 64, 136) });
      const property = fc.property(eights, fc.integer(), (problem, seed) => {
        const chosen = someOf(problem, uniform(seed));
        const got = weigh(heed, problem, { ...chosen, entropy: true });
        expectWeights(got, problem, chosen);
        expectRows(got.weights, problem, chosen);
      });
      fc.assert(property, { seed: 20261125, numRuns });
    });

    it("add up over rows and average over heads", () => {
      const reduce = fc.constantFrom("mean" as const, "keySum" as const);
      const property = fc.property(combinations, fc.integer(), reduce, (problem, seed, reduce) => {
        const chosen = { ...someOf(problem, uniform(seed)), reduce };
        const got = weigh(heed, problem, { ...chosen, entropy: true });
        expectWeights(got, problem, chosen);
        expect(got.entropy).toEqual(weigh(heed, problem, { ...chosen, reduce: undefined, entropy: true }).entropy);
      });
      fc.assert(property, { seed: 20261126, numRuns });
    });

    it("are those of all rows and heads by default, and given rows as Int32Array or array", () => {
      const problem = problemOf({});
      const shape = scoresShape(problem);
      const { weights } = weigh(heed, problem);
      expect(weights.length).toBe(2 * 4 * 13 * 29);
      const chosen = { rows: [12, 0, 5], heads: [3, 1] };
      const some = Float32Array.from(choose(Float64Array.from(weights), shape, chosen));
      const few = weigh(heed, problem, chosen).weights;
      // How many rows go side by side decides in which order a score is summed up.
      expect(maxError(few, some)).toBeLessThanOrEqual(2 * floorOf({ ...problem, v: Float32Array.of(1) }).out);
      const typed = { rows: Int32Array.from(chosen.rows), heads: Int32Array.from(chosen.heads) };
      expect(weigh(heed, problem, typed).weights).toEqual(few);
    });

    it("sum to 1 with many keys that weigh the same", () => {
      // Equal terms in f32 one after the other would add up their rounding: by 1e-4 here.
      for (const first of [0, 2.3]) {
        const q = f32(1);
        const k = new Float32Array(16384).fill(0);
        k[0] = first;
        const { weights } = heed.attentionWeights(q, k, { numHeads: 1, headDim: 1 });
        const sum = weights.reduce((a, b) => a + b, 0);
        expect(Math.abs(sum - 1)).toBeLessThanOrEqual(4 * ULP * Math.sqrt(16384));
      }
    });

    it("take k in several pieces, in both layouts", () => {
      for (const layout of ["blhd", "bhld"] as const) {
        const sizes = { batch: 2, numHeads: 2, numKvHeads: 1, seqLenQ: 30, seqLenKv: 1100, headDim: 60 };
        const problem = problemOf(sizes, { causal: true, layout });
        const chosen = { rows: [0, 29, 14], heads: [1] };
        expectWeights(weigh(heed, problem, { ...chosen, entropy: true }), problem, chosen);
        const tensor = heed.tensor(problem.k.length);
        tensor.data.set(problem.k);
        const resident = heed.attentionWeights(problem.q, tensor, { ...problem.options, ...chosen });
        expect(resident.weights).toEqual(weigh(heed, problem, chosen).weights);
        tensor.dispose();
      }
    });
  });

  describe("lse", () => {
    it("of more keys than these gives these their share of the whole", () => {
      const property = fc.property(fc.integer(), fc.integer({ min: 1, max: 99 }), fc.boolean(), (seed, cut, sink) => {
        const sinks = sink ? floats(3, uniform(seed)) : undefined;
        const problem = problemOf({ batch: 1, numHeads: 3, seqLenQ: 4, seqLenKv: 100 }, { sinks }, seed);
        const lse = lseOf(heed, problem);
        const part = { ...problem, k: problem.k.subarray(0, cut * 3 * 24) };
        const { weights, entropy } = weigh(heed, part, { lse, entropy: true });
        const exact = reference(problem.q, problem.k, problem.v, problem.options).weights;
        const rows = Array.from({ length: 12 }, (_, n) => exact.subarray(n * 100, n * 100 + cut));
        const expected = Float64Array.from(rows.flatMap((row) => [...row]));
        // lse in f32 is off by half an ulp, and a weight by as much relatively.
        const relative = floorOf({ ...problem, v: f32(1) }).out + largest(lse) * ULP;
        expect(maxError(weights, expected)).toBeLessThanOrEqual(relative);
        const nats = rows.map((row) => row.reduce((sum, w) => sum - w * Math.log(w), 0));
        expect(maxError(entropy!, nats)).toBeLessThanOrEqual(relative * (1 + Math.log(100)));
      });
      fc.assert(property, { seed: 20261127, numRuns: runs(60) });
    });

    it("may be a tensor, and is not needed for keys that no row sees", () => {
      const problem = problemOf({}, { kvLengths: Int32Array.of(0, 29) });
      const lse = lseOf(heed, problem);
      using tensor = heed.tensor(lse.length);
      tensor.data.set(lse);
      const { weights } = weigh(heed, problem, { lse: tensor });
      expect(weights).toEqual(weigh(heed, problem).weights);
      expect(weights.subarray(0, 4 * 13 * 29).every((w) => Object.is(w, 0))).toBe(true);
    });
  });

  describe("topK", () => {
    const n = fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 300 }));
    const reduce = fc.constantFrom(undefined, "mean" as const, "keySum" as const);

    it("is the first of what would be returned, sorted", () => {
      const property = fc.property(combinations, fc.integer(), n, reduce, (problem, seed, topK, reduce) => {
        const more = { ...someOf(problem, uniform(seed)), reduce };
        const keys = scoresShape(problem)[3];
        const all = weigh(heed, problem, { ...more, entropy: true });
        const top = heed.attentionWeights(problem.q, problem.k, { ...problem.options, ...more, topK, entropy: true });
        const expected = topOf(all.weights, keys, topK);
        expect(top.indices).toEqual(expected.indices);
        expect(top.weights).toEqual(expected.weights);
        expect(top.entropy).toEqual(all.entropy);
      });
      fc.assert(property, { seed: 20261128, numRuns });
    });

    it("takes the first of equal weights, and all keys where n is larger", () => {
      const options = { numHeads: 1, headDim: 1 };
      const top = heed.attentionWeights(f32(0), f32(1, 2, 3, 4, 5, 6, 7), { ...options, topK: 3 });
      expect([...top.indices]).toEqual([0, 1, 2]);
      const all = heed.attentionWeights(f32(1), f32(1, 3, 2), { ...options, topK: 10 });
      expect([...all.indices]).toEqual([1, 2, 0]);
      expect(all.weights.length).toBe(3);
      const none = heed.attentionWeights(f32(1), f32(), { ...options, topK: 10 });
      expect([none.indices.length, none.weights.length]).toEqual([0, 0]);
    });

    it("puts NaN first", () => {
      const keepMask = { data: Uint8Array.of(0, 1, 0, 1), shape: [4] };
      const { indices } = heed.attentionWeights(f32(1), f32(1, NaN, 3, 4), {
        numHeads: 1,
        headDim: 1,
        keepMask,
        topK: 4,
      });
      expect([...indices]).toEqual([1, 3, 0, 2]);
    });
  });

  describe("stage", () => {
    /** The options that a stage has no part in left out. */
    function optionsAt(stage: Stage, { options }: Problem): Problem["options"] {
      if (stage === "masked") return options;
      const masks = { bias: undefined, keepMask: undefined, alibiSlopes: undefined, causal: false, window: undefined };
      return { ...options, ...masks, softcap: stage === "softcap" ? options.softcap : undefined };
    }

    it.each(["scores", "softcap", "masked"] as const)("%s gives the scores at that step", (stage) => {
      const property = fc.property(combinations, fc.integer(), (problem, seed) => {
        const { q, k, v } = problem;
        const chosen = someOf(problem, uniform(seed));
        const { weights } = weigh(heed, problem, { ...chosen, stage });
        const options = optionsAt(stage, problem);
        const shape = scoresShape(problem);
        const exact = choose(reference(q, k, v, options).scores, shape, chosen);
        const plain = choose(naive(q, k, v, options).scores, shape, chosen);
        expect(Array.from(weights, (x) => x === -Infinity)).toEqual(Array.from(exact, (x) => x === -Infinity));
        // Scale, softcap, ALiBi and bias round once each, numbers of the size of what they add or below.
        const slopes = stage === "masked" ? largest(options.alibiSlopes ?? []) : 0;
        const size = largest(exact) + largest(options.bias?.data ?? []) + slopes * (shape[2] + shape[3] + 60);
        const budget = Math.max(2 * maxError(plain, exact), 4 * ULP * size);
        expect(maxError(weights, exact)).toBeLessThanOrEqual(budget);
      });
      fc.assert(property, { seed: 20261129, numRuns: runs(name === "debug" ? 30 : 100) });
    });

    it("softmax is the default", () => {
      const problem = problemOf({}, { causal: true });
      expect(weigh(heed, problem, { stage: "softmax" })).toEqual(weigh(heed, problem));
    });
  });

  describe("edges", () => {
    const none: [string, Problem["options"] | object][] = [
      ["keepMask", { keepMask: { data: new Uint8Array(1), shape: [1] } }],
      ["bias", { bias: { data: f32(-Infinity), shape: [] } }],
      ["kvLengths", { kvLengths: new Int32Array(2) }],
      ["causal", { causal: true, queryOffset: -20 }],
      ["window", { window: { left: 3 }, queryOffset: 100 }],
      ["sinks beside kvLengths", { sinks: f32(0, 1, 2, -3e38), kvLengths: new Int32Array(2) }],
    ];
    it.each(none)("a row that sees nothing is 0, and so is its entropy: %s", (_, options) => {
      const problem = problemOf({}, options);
      for (const lse of [undefined, lseOf(heed, problem)]) {
        const { weights, entropy } = weigh(heed, problem, { lse, entropy: true });
        expect(weights.every((w) => Object.is(w, 0))).toBe(true);
        expect(entropy!.every((x) => x === 0)).toBe(true);
      }
    });

    it("NaN and Infinity in keys that a row does not see change nothing", () => {
      const property = fc.property(combinations, fc.integer(), (problem, seed) => {
        const next = uniform(seed);
        const { headDim } = problem.options;
        for (let at = 0; at < problem.k.length; at += headDim) {
          if (next() < 0.15)
            problem.k[at + integer(0, headDim - 1, next)] = [NaN, Infinity, -Infinity][integer(0, 2, next)]!;
        }
        const chosen = someOf(problem, next);
        expectWeights(weigh(heed, problem, { ...chosen, entropy: true }), problem, chosen);
      });
      fc.assert(property, { seed: 20261130, numRuns: runs(name === "debug" ? 40 : 200) });
    });

    it("takes no rows, no heads, no keys and no queries", () => {
      const problem = problemOf({});
      for (const reduce of [undefined, "mean", "keySum"] as const) {
        const units = { none: 0, mean: 0, keySum: 2 * 4 * 29 }[reduce ?? "none"];
        expect(weigh(heed, problem, { rows: [], reduce }).weights).toEqual(new Float32Array(units));
        expect(weigh(heed, problemOf({ seqLenKv: 0 }), { reduce }).weights.length).toBe(0);
      }
      expect(weigh(heed, problem, { heads: [] }).weights.length).toBe(0);
      expect(weigh(heed, problem, { heads: [], reduce: "mean" }).weights).toEqual(new Float32Array(2 * 13 * 29));
      expect(weigh(heed, problemOf({ seqLenQ: 0 })).weights.length).toBe(0);
      expect(weigh(heed, problemOf({ seqLenKv: 0 }), { entropy: true }).entropy).toEqual(new Float32Array(2 * 4 * 13));
    });

    it("takes the first keys as the largest where nothing is added up, whatever linear memory holds", () => {
      const problem = problemOf({});
      const used = heed.tensor(10000);
      used.data.fill(7);
      used.dispose();
      for (const [chosen, rows] of [
        [{ rows: [], reduce: "keySum" }, 2 * 4],
        [{ heads: [], reduce: "mean" }, 2 * 13],
      ] as const) {
        const { weights, indices } = weigh(heed, problem, { ...chosen, topK: 2 });
        expect(weights).toEqual(new Float32Array(rows * 2));
        expect(indices).toEqual(Int32Array.from({ length: rows * 2 }, (_, n) => n % 2));
      }
    });

    it("gives packed sequences zeros beyond their own keys", () => {
      const options = { cuSeqlensQ: Int32Array.of(0, 2, 5), cuSeqlensKv: Int32Array.of(0, 4, 9) };
      const problem = problemOf({ batch: 1, numHeads: 2, seqLenQ: 5, seqLenKv: 9 }, options);
      const { weights } = weigh(heed, problem);
      weights.forEach((w, at) => expect(w === 0).toBe(Math.floor(at / 9) % 5 < 2 !== at % 9 < 4));
    });
  });
});
