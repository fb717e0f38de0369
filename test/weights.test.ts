import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../bindings/heed.ts";
import type { Stage, WeightsOptions } from "../bindings/weights.ts";
import { ULP, floorOf, largest, maxError } from "./budget.ts";
import { forEachBuild } from "./builds.ts";
import { combinations, combinationsOf } from "./combinations.ts";
import { naive } from "./naive.ts";
import { type Problem, problemOf, randomBias, randomMask } from "./problems.ts";
import { floats, integer, uniform } from "./random.ts";
import { reference } from "./reference.ts";
import { type Chosen, choose, expectWeights, scoresShape, topOf } from "./weights-model.ts";

const f32 = (...numbers: number[]) => Float32Array.from(numbers);

/** Some rows and heads of a problem, in any order, some of them more than once. */
function someOf(problem: Problem, next: () => number): Chosen {
  const [, numHeads, rowsQ] = scoresShape(problem);
  const some = (count: number) =>
    next() < 0.3 || count === 0
      ? Array.from({ length: count }, (_, i) => i)
      : Array.from({ length: integer(1, count, next) }, () => integer(0, count - 1, next));
  return { rows: some(rowsQ), heads: some(numHeads) };
}

function weigh(heed: Heed, { q, k, options }: Problem, more: Partial<WeightsOptions> = {}) {
  return heed.attentionWeights(q, k, { ...options, ...more }) as { weights: Float32Array; entropy?: Float32Array };
}

function lseOf(heed: Heed, { q, k, v, options }: Problem): Float32Array {
  return heed.attention(q, k, v, { ...options, lse: true }).lse;
}

/** Expects every row to sum to 1 less the share of the sink, and to be 0 in every key that the row does not see. */
function expectRows(weights: Float32Array, problem: Problem, chosen: Chosen): void {
  const { q, k, v, options } = problem;
  const shape = scoresShape(problem);
  const [batch, numHeads, seqLenQ, keys] = shape;
  const exact = reference(q, k, v, options);
  const scores = choose(exact.scores, shape, chosen);
  const lse = choose(exact.lse, [batch, numHeads, seqLenQ], chosen);
  lse.forEach((row, n) => {
    let sum = 0;
    let sees = false;
    for (let key = n * keys; key < (n + 1) * keys; key++) {
      sum += weights[key]!;
      if (scores[key] === -Infinity) expect(weights[key]).toBe(0);
      else sees = true;
    }
    const sink = options.sinks?.[chosen.heads[Math.floor(n / chosen.rows.length) % chosen.heads.length]!] ?? -Infinity;
    const share = sink === -Infinity ? 0 : Math.exp(sink - row);
    // The share of a sink depends on scores that are rounded: by their relative error, see floorOf.
    const rounding = share > 0 ? floorOf({ q, k, v: f32(1), options }, exact).out : 0;
    const tolerance = 4 * ULP * Math.sqrt(keys) + rounding;
    expect(Math.abs(sum - (sees ? 1 - share : 0)), `sum of row ${n}`).toBeLessThanOrEqual(tolerance);
  });
}

forEachBuild((name, open) => {
  const heed = open();
  const numRuns = name === "debug" ? 40 : 250;

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
      fc.assert(property, { seed: 20261127, numRuns: 60 });
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
      fc.assert(property, { seed: 20261129, numRuns: name === "debug" ? 30 : 100 });
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
      fc.assert(property, { seed: 20261130, numRuns: name === "debug" ? 40 : 200 });
    });

    it("takes no rows, no heads, no keys and no queries", () => {
      const problem = problemOf({});
      for (const reduce of [undefined, "mean", "keySum"] as const) {
        const units = { none: 0, mean: 0, keySum: 2 * 4 * 29 }[reduce ?? "none"];
        expect(weigh(heed, problem, { rows: [], reduce }).weights).toEqual(new Float32Array(units));
        expect(weigh(heed, problemOf({ seqLenKv: 0 }), { reduce }).weights.length).toBe(0);
      }
      expect(weigh(heed, problem, { heads: [] }).weights.length).toBe(0);
      expect(weigh(heed, problemOf({ seqLenQ: 0 })).weights.length).toBe(0);
      expect(weigh(heed, problemOf({ seqLenKv: 0 }), { entropy: true }).entropy).toEqual(new Float32Array(2 * 4 * 13));
    });

    it("gives packed sequences zeros beyond their own keys", () => {
      const options = { cuSeqlensQ: Int32Array.of(0, 2, 5), cuSeqlensKv: Int32Array.of(0, 4, 9) };
      const problem = problemOf({ batch: 1, numHeads: 2, seqLenQ: 5, seqLenKv: 9 }, options);
      const { weights } = weigh(heed, problem);
      weights.forEach((w, at) => expect(w === 0).toBe(Math.floor(at / 9) % 5 < 2 !== at % 9 < 4));
    });
  });

  describe("memory", () => {
    const [rows, heads, keys] = name === "debug" ? [4, 8, 16384] : [32, 32, 16384];
    const answer = rows * heads * keys * 4;
    const options = { numHeads: heads, headDim: 64 };

    it("is the answer and 1 MiB, beside tensors", () => {
      const heed = open();
      using q = heed.tensor(rows * heads * 64);
      using k = heed.tensor(keys * heads * 64);
      q.data.set(floats(q.length, uniform(1)));
      for (let at = 0; at < k.length; at += 4099) k.data[at] = 1;
      const before = heed.memory.used;
      const { weights } = heed.attentionWeights(q, k, options);
      expect(heed.memory.peak - before).toBeLessThanOrEqual(answer + 2 ** 20);
      expect(Math.abs(weights.subarray(0, keys).reduce((a, b) => a + b, 0) - 1)).toBeLessThan(1e-5);
      expect(heed.memory.used).toBe(before);
      heed.dispose();
    });

    it.each<[string, Partial<WeightsOptions>, number]>([
      ["in full", {}, keys * 32],
      ["mean", { reduce: "mean" }, keys * 4],
      ["keySum", { reduce: "keySum" }, keys * 8],
      ["topK", { topK: 5 }, 2 * 5 * 32],
      ["topK of the mean", { topK: 5, reduce: "mean" }, 2 * 5 * 4],
      ["topK of keySum", { topK: 5, reduce: "keySum" }, 2 * 5 * 8],
    ])("is the answer and 1 MiB, beside arrays: %s", (_, more, length) => {
      const heed = open();
      const q = floats(1000 * 8 * 64, uniform(1));
      const k = new Float32Array(keys * 8 * 64);
      heed.attentionWeights(q, k, { numHeads: 8, headDim: 64, rows: [1, 500, 77, 999], ...more });
      expect(heed.memory.peak).toBeLessThanOrEqual(length * 4 + 2 ** 20);
      heed.dispose();
    });

    it("is given back, whatever is wrong", () => {
      const heed = open(40 * 65536);
      const { used } = heed.memory;
      const { q, k, options } = problemOf({});
      const { weights } = heed.attentionWeights(q, k, options);
      const long = new Float32Array(2 ** 20);
      const target = new Float32Array(2 ** 20).fill(7);
      expect(() => heed.attentionWeights(f32(1), long, { numHeads: 1, headDim: 1, weights: target })).toThrow(
        RangeError,
      );
      expect(target.every((x) => x === 7)).toBe(true);
      expect(heed.memory.used).toBe(used);
      expect(heed.attentionWeights(q, k, options).weights).toEqual(weights);
      heed.dispose();
    });
  });

  it("writes into weights, indices and entropy, arrays or tensors, and returns them", () => {
    const { q, k, options } = problemOf({}, { bias: randomBias([29], 0.2), keepMask: randomMask([13, 29]) });
    const plain = heed.attentionWeights(q, k, { ...options, entropy: true });
    using weights = heed.tensor(plain.weights.length);
    const entropy = new Float32Array(plain.entropy.length);
    const given = heed.attentionWeights(q, k, { ...options, weights, entropy });
    expect(given.weights).toBe(weights);
    expect(given.entropy).toBe(entropy);
    expect(weights.data).toEqual(plain.weights);
    expect(entropy).toEqual(plain.entropy);
    const indices = new Int32Array(2 * 4 * 13 * 2);
    const top = heed.attentionWeights(q, k, { ...options, topK: 2, indices });
    expect(top.indices).toBe(indices);
    expect(indices).toEqual(topOf(plain.weights, 29, 2).indices);
    expect(plain).not.toHaveProperty("indices");
    expect(heed.attentionWeights(q, k, options)).not.toHaveProperty("entropy");
  });

  describe("is refused", () => {
    const problem = problemOf({});
    const live = heed.tensor(8);
    const gone = heed.tensor(2 * 4 * 13);
    gone.dispose();
    it.each<[string, object, typeof TypeError | typeof RangeError | typeof ReferenceError, string]>([
      ["rows of floats", { rows: f32(1) }, TypeError, '"rows" expected an Int32Array or an array of integers'],
      ["a row that is no number", { rows: ["1"] }, TypeError, '"rows[0]" expected an integer, got "1"'],
      ["a row that is none", { rows: [0, 13] }, RangeError, '"rows[1]" expected an integer from 0 to 12'],
      ["a negative row", { rows: Int32Array.of(-1) }, RangeError, '"rows[0]"'],
      ["half a head", { heads: [0.5] }, RangeError, '"heads[0]"'],
      ["a head that is none", { heads: [4] }, RangeError, '"heads[0]" expected an integer from 0 to 3'],
      ["lse: true", { lse: true }, TypeError, '"lse" expected a Float32Array or a Tensor, got true'],
      [
        "an lse of the chosen rows alone",
        { lse: new Float32Array(8), rows: [1] },
        RangeError,
        '"lse" expected a length of 104',
      ],
      ["a disposed lse", { lse: gone }, ReferenceError, '"lse"'],
      ["an unknown reduction", { reduce: "sum" }, RangeError, '"reduce" expected "mean" or "keySum", got "sum"'],
      ["topK 0", { topK: 0 }, RangeError, '"topK" expected an integer of at least 1, got 0'],
      ["topK a string", { topK: "1" }, TypeError, '"topK"'],
      ["indices without topK", { indices: new Int32Array(1) }, TypeError, '"topK" expected an integer beside indices'],
      ["indices of floats", { topK: 1, indices: f32(1) }, TypeError, '"indices" expected an Int32Array'],
      [
        "too few indices",
        { topK: 1, indices: new Int32Array(1) },
        RangeError,
        '"indices" expected a length of 104 (batch × heads × rows × topK), got 1',
      ],
      ["an unknown stage", { stage: "raw" }, RangeError, '"stage"'],
      [
        "a stage beside reduce",
        { stage: "masked", reduce: "mean" },
        RangeError,
        '"stage" expected "softmax" beside reduce, got "masked"',
      ],
      ["a stage beside topK", { stage: "scores", topK: 1 }, RangeError, '"stage" expected "softmax" beside topK'],
      [
        "a stage beside entropy",
        { stage: "scores", entropy: true },
        RangeError,
        '"stage" expected "softmax" beside entropy',
      ],
      [
        "a stage beside lse",
        { stage: "softcap", lse: new Float32Array(104) },
        RangeError,
        '"stage" expected "softmax" beside lse',
      ],
      [
        "entropy of the wrong length",
        { entropy: f32(1), rows: [0] },
        RangeError,
        '"entropy" expected a length of 8 (batch × heads × rows), got 1',
      ],
      [
        "weights of the wrong length",
        { weights: f32(1), reduce: "mean" },
        RangeError,
        '"weights" expected a length of 754 (batch × rows × seqLenKv), got 1',
      ],
      ["weights that are true", { weights: true }, TypeError, '"weights"'],
      ["out", { out: f32(1) }, TypeError, '"out" expected nothing, since weights go to "weights"'],
      ["what attention refuses", { scale: NaN }, RangeError, '"scale"'],
    ])("%s", (_, options, kind, message) => {
      const { used } = heed.memory;
      const call = () => weigh(heed, problem, options);
      expect(call).toThrow(kind);
      expect(call).toThrow(message);
      expect(heed.memory.used).toBe(used);
      expect(weigh(heed, problem).weights.length).toBe(2 * 4 * 13 * 29);
    });

    it("a target that lies over what is read", () => {
      const options = { numHeads: 1, headDim: 8 };
      const [q, k] = [f32(...Array<number>(8).fill(1)), f32(...Array<number>(64).fill(1))];
      expect(() => heed.attentionWeights(live, k, { ...options, weights: live })).toThrow(
        '"weights" expected memory apart from "q"',
      );
      const both = new Float32Array(8);
      expect(() => heed.attentionWeights(q, k, { ...options, weights: both, entropy: both.subarray(7) })).toThrow(
        '"weights" expected memory apart from "entropy"',
      );
      expect(() => heed.attentionWeights(q, k.subarray(1), options)).toThrow(
        new RangeError('"k" expected a length divisible by 8 (numKvHeads × headDim), got 63'),
      );
    });
  });
});
