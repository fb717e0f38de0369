// Few query rows, whose heads take the kernels of assembly/decode/decode.ts: seqLenQ·group ≤ 4, headDim and valueDim
// multiples of 8.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { expectWithinBudget, floorOf } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinationsOf } from "../support/combinations.ts";
import { type Problem, type Sizes, problemOf, randomBias, randomMask } from "../support/problems.ts";
import { floats, integer, uniform } from "../support/random.ts";
import type { PlainOptions } from "../support/reference.ts";
import { runs } from "../support/sweep.ts";

/** Two sequences, 2 KV heads, 300 keys: two whole steps of 128 keys and a part. */
const SHAPES: [string, Sizes & { numHeads: number; seqLenQ: number }][] = [
  ["one row", { numHeads: 2, numKvHeads: 2, seqLenQ: 1, seqLenKv: 300, headDim: 32, valueDim: 24 }],
  ["two queries", { numHeads: 2, numKvHeads: 2, seqLenQ: 2, seqLenKv: 300, headDim: 24, valueDim: 40 }],
  ["three queries", { numHeads: 2, numKvHeads: 2, seqLenQ: 3, seqLenKv: 300, headDim: 16, valueDim: 136 }],
  ["two queries of two heads", { numHeads: 4, numKvHeads: 2, seqLenQ: 2, seqLenKv: 300, headDim: 40, valueDim: 16 }],
  ["two heads of a group", { numHeads: 4, numKvHeads: 2, seqLenQ: 1, seqLenKv: 300, headDim: 64, valueDim: 8 }],
];

type Options = Partial<PlainOptions>;

function alone({ numHeads, seqLenQ }: { numHeads: number; seqLenQ: number }): Record<string, Options> {
  const sinks = floats(numHeads, uniform(4));
  const slopes = floats(2 * numHeads, uniform(5)).map((x) => Math.abs(x) / 40);
  return {
    "no option": {},
    "layout bhld": { layout: "bhld" },
    scale: { scale: 0.3 },
    "a negative scale": { scale: -0.25 },
    "scale 0": { scale: 0 },
    "a scale above 1": { scale: 3 },
    "a scale far below 1": { scale: 1e-30 },
    causal: { causal: true },
    "causal from the middle": { causal: true, queryOffset: 150 },
    "queryOffset, one a sequence": { causal: true, queryOffset: Int32Array.of(127, 255) },
    "window.left": { window: { left: 4 } },
    "window.left over two steps": { causal: true, window: { left: 150 } },
    "window.right": { window: { right: 2 }, queryOffset: 126 },
    "window on both sides": { window: { left: 130, right: 5 }, queryOffset: 200 },
    kvLengths: { kvLengths: Int32Array.of(129, 3) },
    "kvLengths at ends of steps": { kvLengths: Int32Array.of(128, 256), causal: true },
    "keepMask of keys": { keepMask: randomMask([300]) },
    "keepMask of heads, queries and keys": { keepMask: randomMask([numHeads, seqLenQ, 300]) },
    "keepMask in full": { keepMask: randomMask([2, numHeads, seqLenQ, 300]) },
    "keepMask of padding": { keepMask: { data: Uint8Array.from({ length: 300 }, (_, j) => +(j < 77)), shape: [300] } },
    "keepMask of one cell": { keepMask: { data: Uint8Array.of(1), shape: [] } },
    "bias of keys": { bias: randomBias([300]) },
    "bias of heads": { bias: randomBias([numHeads, 1, 1]) },
    "bias in full": { bias: randomBias([2, numHeads, seqLenQ, 300]) },
    "bias with −Infinity": { bias: randomBias([numHeads, seqLenQ, 300], 0.4) },
    "alibiSlopes of heads": { alibiSlopes: slopes.slice(0, numHeads) },
    "alibiSlopes of batch and heads, queryOffset": { alibiSlopes: slopes, queryOffset: 140 },
    softcap: { softcap: 5 },
    "softcap below the scores": { softcap: 0.3 },
    "softcap above the scores": { softcap: 50 },
    sinks: { sinks },
    "sinks with nothing else to see": { sinks, kvLengths: Int32Array.of(0, 300) },
    everything: {
      layout: "bhld",
      scale: 0.4,
      softcap: 4,
      alibiSlopes: slopes,
      bias: randomBias([numHeads, seqLenQ, 300], 0.1),
      keepMask: randomMask([2, 1, 1, 300]),
      causal: true,
      queryOffset: Int32Array.of(280, 140),
      window: { left: 200 },
      kvLengths: Int32Array.of(270, 300),
      sinks,
    },
  };
}

const eights = fc.constantFrom(8, 16, 24, 32, 64, 72);
const few = { headDim: eights, valueDim: eights, sequences: fc.integer({ min: 1, max: 2 }) };
/** Any combination of options for up to four rows: of as many queries, or of fewer and several heads. */
const combinations = fc.oneof(
  combinationsOf({ ...few, group: fc.constant(1), seqLenQ: fc.integer({ min: 1, max: 4 }) }),
  combinationsOf({ ...few, group: fc.integer({ min: 2, max: 4 }), seqLenQ: fc.constant(1) }),
  combinationsOf({ ...few, group: fc.constant(2), seqLenQ: fc.constant(2) }),
);

const attend = (heed: Heed, { q, k, v, options }: Problem) => heed.attention(q, k, v, { ...options, lse: true });

function expectRight(heed: Heed, problem: Problem): void {
  expectWithinBudget(heed, problem, floorOf);
}

forEachBuild((name, open) => {
  const heed = open();

  describe.each(SHAPES)("%s", (_, sizes) => {
    it.each(Object.entries(alone(sizes)))("%s", (_, options) => expectRight(heed, problemOf(sizes, options)));

    it.each([1, 2, 3, 4, 5, 7, 8, 127, 128, 129, 255, 256, 257, 391, 513])("%i keys", (seqLenKv) => {
      for (const dim of [8, 16, 56]) {
        const problem = problemOf({ ...sizes, seqLenKv, headDim: dim, valueDim: 64 - dim }, { causal: true }, seqLenKv);
        expectRight(heed, problem);
      }
    });

    it("gives 0 and −Infinity to a row that sees nothing, 0 and the sink where there is one", () => {
      const { numHeads, seqLenQ } = sizes;
      const last = numHeads * seqLenQ - 1;
      // Every row of the first sequence, the last row of the second.
      const hidden = (row: number) => row <= last || row === 2 * last + 1;
      const cells = { length: 2 * numHeads * seqLenQ * 300 };
      const shape = [2, numHeads, seqLenQ, 300];
      const rowOf = (at: number) => Math.floor(at / 300);
      const keepMask = { data: Uint8Array.from(cells, (_, at) => Number(!hidden(rowOf(at)))), shape };
      const bias = { data: Float32Array.from(cells, (_, at) => (hidden(rowOf(at)) ? -Infinity : 0.5)), shape };
      const sinks = floats(numHeads, uniform(7));
      for (const options of [{ keepMask }, { bias }, { keepMask, sinks }, { bias, sinks, softcap: 2 }] as Options[]) {
        const problem = problemOf(sizes, { ...options, layout: "bhld" });
        const { out, lse } = attend(heed, problem);
        lse.forEach((x, row) => {
          const values = out.subarray((row * out.length) / lse.length, ((row + 1) * out.length) / lse.length);
          expect(values.every((value) => Object.is(value, 0))).toBe(hidden(row));
          const sink = options.sinks ? sinks[Math.floor(row / seqLenQ) % numHeads]! : -Infinity;
          if (hidden(row)) expect(x).toBe(sink);
        });
        expectRight(heed, problem);
      }
    });

    it.each<[string, Options, (key: number) => boolean]>([
      ["kvLengths", { kvLengths: Int32Array.of(150, 150) }, (key) => key < 150],
      ["causal", { causal: true, queryOffset: 130 }, (key) => key <= 130],
      ["window", { window: { left: 20 }, causal: true, queryOffset: 140 }, (key) => key >= 120 && key <= 140],
      [
        "keepMask",
        { keepMask: { data: Uint8Array.from({ length: 300 }, (_, j) => j % 3), shape: [300] } },
        (key) => key % 3 > 0,
      ],
      [
        "bias −Infinity",
        { bias: { data: Float32Array.from({ length: 300 }, (_, j) => (j % 3 ? 0.5 : -Infinity)), shape: [300] } },
        (key) => key % 3 > 0,
      ],
    ])("NaN and Infinity in keys and values that %s masks change nothing", (_, options, seen) => {
      // Under causal and window each further query sees a key more; that one is not spoiled.
      const queries = Array.from({ length: sizes.seqLenQ }, (_, i) => i);
      const kept = (key: number) => queries.some((i) => seen(key - i));
      const problem = problemOf(sizes, options);
      const floor = floorOf(problem);
      const { headDim, valueDim = headDim } = problem.options;
      for (const [rows, dim] of [
        [problem.k, headDim],
        [problem.v, valueDim],
      ] as const) {
        rows.forEach((_, at) => {
          const key = Math.floor(at / (2 * dim)) % 300;
          if (!(options.keepMask || options.bias ? seen(key) : kept(key)))
            rows[at] = [NaN, Infinity, -Infinity][at % 3]!;
        });
      }
      const { out } = attend(heed, problem);
      expect(out.every(Number.isFinite)).toBe(true);
      expectWithinBudget(heed, problem, floor);
    });

    it("NaN in a key and in a value that are seen spoil the rows that see them, and no other", () => {
      const problem = problemOf(sizes);
      const clean = attend(heed, problem).out;
      problem.k[(170 * 2 + 1) * problem.options.headDim] = NaN; // sequence 0, key 170, KV head 1
      problem.v[((300 + 5) * 2 + 0) * problem.options.valueDim!] = NaN; // sequence 1, key 5, KV head 0, value 0
      const { out } = attend(heed, problem);
      const { numHeads, seqLenQ } = sizes;
      const { valueDim = 0 } = sizes;
      out.forEach((x, at) => {
        const sequence = Math.floor(at / (seqLenQ * numHeads * valueDim));
        const kvHead = Math.floor((Math.floor(at / valueDim) % numHeads) / (numHeads / 2));
        const spoiled = sequence === 0 ? kvHead === 1 : kvHead === 0 && at % valueDim === 0;
        if (spoiled) expect(x).toBeNaN();
        else expect(Math.abs(x - clean[at]!)).toBeLessThan(1e-5);
      });
    });

    it("gives the same out with lse and without, in fresh arrays, given ones and tensors", () => {
      const { q, k, v, options } = problemOf(sizes, { causal: true });
      const { out, lse } = heed.attention(q, k, v, { ...options, lse: true });
      expect(heed.attention(q, k, v, options).out).toEqual(out);
      const given = { out: new Float32Array(out.length), lse: new Float32Array(lse.length) };
      heed.attention(q, k, v, { ...options, ...given });
      expect(given).toEqual({ out, lse });
      using tensor = heed.tensor(out.length);
      heed.attention(q, k, v, { ...options, out: tensor });
      expect(tensor.data).toEqual(out);
    });
  });

  it.each([1, 2, 3, 4])("of %i rows one whose scores are all −Infinity is NaN, and no other", (rows) => {
    const [keys, dim] = [300, 8];
    const k = new Float32Array(keys * dim).map((_, at) => (at % dim ? 0 : 3e38));
    const v = new Float32Array(keys * dim).fill(2);
    for (let lost = 0; lost < rows; lost++) {
      const q = new Float32Array(rows * dim);
      q[lost * dim] = -3e38;
      // As query rows of one head, and as heads that share a KV head.
      for (const [numHeads, numKvHeads] of [
        [1, 1],
        [rows, 1],
      ] as const) {
        const options = { numHeads, numKvHeads, headDim: dim, lse: true } as const;
        const { out, lse } = heed.attention(q, k, v, options);
        expect(out).toEqual(new Float32Array(rows * dim).map((_, at) => (Math.floor(at / dim) === lost ? NaN : 2)));
        const patterns = Array.from(lse, (x) => (Math.abs(x - Math.log(keys)) < 1e-5 ? "ln keys" : String(x)));
        expect(patterns).toEqual(Array.from({ length: rows }, (_, row) => (row === lost ? "NaN" : "ln keys")));
      }
    }
  });

  it("any combination of options", () => {
    const property = fc.property(combinations, (problem) => expectRight(heed, problem));
    fc.assert(property, { seed: 20261124, numRuns: runs(name === "debug" ? 100 : 500) });
  });

  it("any combination of options, with NaN in some rows of k and v", () => {
    const property = fc.property(combinations, fc.integer(), (problem, seed) => {
      const next = uniform(seed);
      const floor = floorOf(problem);
      const { headDim, valueDim = headDim } = problem.options;
      for (const [rows, dim] of [
        [problem.k, headDim],
        [problem.v, valueDim],
      ] as const) {
        for (let at = 0; at < rows.length; at += dim) if (next() < 0.1) rows[at + integer(0, dim - 1, next)] = NaN;
      }
      expectWithinBudget(heed, problem, floor);
    });
    fc.assert(property, { seed: 20261125, numRuns: runs(name === "debug" ? 60 : 300) });
  });
});
