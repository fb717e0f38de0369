// A row of attention has the same bits whatever the batch, the heads and the rows beside it, however K and V come to
// the kernels, and in however many pieces. One line is drawn: calls with at most four query rows a KV head go through
// the decode kernel.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { combinationsOf } from "../support/combinations.ts";
import {
  asArrays,
  asTensors,
  bitsOfRows,
  cutOf,
  expectSame,
  expectSameParts,
  inCache,
  partOf,
  parts,
  sequencesOf,
  spoil,
} from "../support/cuts.ts";
import { problemOf } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

const eights = fc.constantFrom(8, 16, 24, 32, 40, 64, 72);
const lengths = fc.oneof(
  fc.integer({ min: 0, max: 40 }),
  fc.integer({ min: 60, max: 300 }),
  fc.integer({ min: 480, max: 900 }),
);
const wide = {
  sequences: fc.integer({ min: 1, max: 3 }),
  numKvHeads: fc.integer({ min: 1, max: 4 }),
  seqLenKv: lengths,
  offset: fc.integer({ min: -9, max: 700 }),
  window: fc.option(
    fc.record({ left: fc.option(fc.nat(400), { nil: undefined }), right: fc.option(fc.nat(40), { nil: undefined }) }),
    { nil: undefined },
  ),
};
const few = { ...wide, headDim: eights, valueDim: eights };
/** Up to four rows a KV head. */
const decoded = fc.oneof(
  combinationsOf({ ...few, group: fc.constant(1), seqLenQ: fc.integer({ min: 1, max: 4 }) }),
  combinationsOf({ ...few, group: fc.integer({ min: 2, max: 4 }), seqLenQ: fc.constant(1) }),
  combinationsOf({ ...few, group: fc.constant(2), seqLenQ: fc.constant(2) }),
);
/** More rows than decode takes, whole eights or not. */
const many = combinationsOf({
  ...wide,
  sequences: fc.integer({ min: 1, max: 2 }),
  seqLenQ: fc.integer({ min: 7, max: 40 }),
  headDim: fc.oneof(eights, fc.integer({ min: 1, max: 70 })),
});

forEachBuild((name, open) => {
  const heed = open();
  const count = (numRuns: number) => runs(name === "debug" ? numRuns / 5 : numRuns);

  describe("a row of up to four", () => {
    it("has the bits that it has in any part of the call", () => {
      const property = fc.property(decoded, parts, (problem, drawn) => expectSameParts(heed, problem, drawn));
      fc.assert(property, { seed: 20261128, numRuns: count(600) });
    });

    it("has them whatever of q, k and v is NaN or Infinity, and which rows it spoils", () => {
      const property = fc.property(decoded, parts, fc.integer(), (problem, drawn, seed) => {
        spoil(problem, seed);
        expectSameParts(heed, problem, drawn);
      });
      fc.assert(property, { seed: 20261129, numRuns: count(600) });
    });

    it.each(["f16", "int8"] as const)("has them over a cache of %s", (dtype) => {
      const property = fc.property(
        decoded,
        parts,
        fc.option(fc.integer(), { nil: undefined }),
        (problem, drawn, seed) => {
          if (seed !== undefined) spoil(problem, seed);
          const { numHeads, numKvHeads = numHeads } = problem.options;
          for (const each of drawn) {
            const cut = cutOf(problem, each);
            if (!cut) continue;
            // The whole sequence against a part of it.
            const { seqLenQ } = sequencesOf(problem)[cut.sequence]!;
            const all = partOf(problem, { ...cut, kvHeads: [0, numKvHeads], queries: [0, seqLenQ] });
            const inner = { ...each, sequence: 0 };
            const part = partOf(all.problem, cutOf(all.problem, inner)!);
            expectSame(inCache(dtype)(heed, all.problem), part, inCache(dtype)(heed, part.problem));
          }
        },
      );
      fc.assert(property, { seed: 20261130, numRuns: count(300) });
    });

    it.each(["f32", "f16", "int8"] as const)("has them in a batch of a cache of %s, token by token or not", (dtype) => {
      const [numHeads, numKvHeads, headDim, valueDim, prompt] = [4, 2, 40, 24, 300];
      const shape = { numKvHeads, headDim, valueDim, capacity: 400, dtype };
      const next = uniform(1);
      const tokens = 6;
      const kOf = (n: number) => floats(n * numKvHeads * headDim, next);
      const vOf = (n: number) => floats(n * numKvHeads * valueDim, next);
      const sequences = [0, 1].map(() => ({ k: kOf(prompt), v: vOf(prompt), newK: kOf(tokens), newV: vOf(tokens) }));
      const q = [0, 1].map(() => floats(tokens * numHeads * headDim, next));
      const options = { numHeads, causal: true, lse: true, window: { left: 170 } } as const;
      const at = (rows: Float32Array, from: number, to: number, row: number) => rows.subarray(from * row, to * row);

      /** Tokens `step` at a time; a batch of both, or the second alone. */
      const rowsOf = (step: number, both: boolean): number[][] => {
        using cache = heed.createKvCache({ ...shape, batch: both ? 2 : 1 });
        const chosen = both ? [0, 1] : [1];
        const join = (parts: Float32Array[]) => Float32Array.from(parts.flatMap((part) => Array.from(part)));
        cache.append(join(chosen.map((s) => sequences[s]!.k)), join(chosen.map((s) => sequences[s]!.v)));
        const bits: number[][] = [];
        for (let from = 0; from < tokens; from += step) {
          const to = from + step;
          cache.append(
            join(chosen.map((s) => at(sequences[s]!.newK, from, to, numKvHeads * headDim))),
            join(chosen.map((s) => at(sequences[s]!.newV, from, to, numKvHeads * valueDim))),
          );
          const rows = join(chosen.map((s) => at(q[s]!, from, to, numHeads * headDim)));
          const answer = cache.attention(rows, options);
          const skipped = both ? step * numHeads : 0;
          for (let i = 0; i < step; i++) {
            const places = Array.from({ length: numHeads }, (_, h) => ({
              out: skipped + i * numHeads + h,
              lse: skipped + h * step + i,
            }));
            bits.push(...bitsOfRows(answer, valueDim, places));
          }
        }
        return bits;
      };
      const alone = rowsOf(1, false);
      expect(rowsOf(2, false)).toEqual(alone);
      expect(rowsOf(1, true)).toEqual(alone);
      expect(rowsOf(2, true)).toEqual(alone);
    });

    it("has them beside any number of KV heads, in the cache and beyond", () => {
      const one = problemOf({ batch: 1, numHeads: 1, seqLenQ: 1, seqLenKv: 1100, headDim: 128 });
      const { q, k, v } = one;
      const alone = asArrays(heed, one);
      // 36 MB of K and V.
      const many = (rows: Float32Array, repeats: number) => {
        const all = new Float32Array(rows.length * repeats);
        for (let n = 0; n < repeats; n++) all.set(rows, n * rows.length);
        return all;
      };
      const numHeads = 32;
      const whole = heed.attention(many(q, numHeads), many(k, numHeads), many(v, numHeads), {
        numHeads,
        headDim: 128,
        layout: "bhld",
        lse: true,
      });
      const places = Array.from({ length: numHeads }, (_, h) => ({ out: h, lse: h }));
      const expected = bitsOfRows(alone, 128, [{ out: 0, lse: 0 }])[0];
      for (const bits of bitsOfRows(whole, 128, places)) expect(bits).toEqual(expected);
    });
  });

  it.each([
    [1, 4],
    [2, 2],
    [3, 20],
  ])("a row keeps its bits beside rows that see NaN: %i heads a group, %i queries", (group, seqLenQ) => {
    const [keys, dim, numKvHeads] = [290, 40, 2];
    const numHeads = group * numKvHeads;
    const sizes = { batch: 1, numHeads, numKvHeads, seqLenQ, seqLenKv: keys, headDim: dim };
    const whole = problemOf(sizes, { causal: true });
    const places = Array.from({ length: (seqLenQ - 1) * numHeads }, (_, n) => {
      const [i, h] = [Math.floor(n / numHeads), n % numHeads];
      return { out: i * numHeads + h, lse: h * seqLenQ + i };
    });
    for (const way of [asArrays, asTensors, inCache("f32"), inCache("int8")]) {
      const expected = bitsOfRows(way(heed, whole), dim, places);
      for (const name of ["q", "k", "v"] as const) {
        const spoiled = { ...whole, [name]: whole[name].slice() };
        spoiled[name][spoiled[name].length - 3] = NaN; // of the last query, or the key that it alone sees
        const answer = way(heed, spoiled);
        expect(Number.isNaN(answer.out.at(-3))).toBe(true);
        expect(bitsOfRows(answer, dim, places)).toEqual(expected);
      }
    }
  });

  it.each(["f32", "f16", "int8"] as const)("a row of attentionWeights has its own, over a cache of %s", (dtype) => {
    const [keys, dim, rows] = [200, 24, 7];
    using cache = heed.createKvCache({ numKvHeads: 1, headDim: dim, capacity: keys, dtype });
    const next = uniform(3);
    cache.append(floats(keys * dim, next), floats(keys * dim, next));
    const q = floats(rows * dim, next);
    q[dim] = 1e38; // in row 1, of which int8.ts takes no product
    const rowOf = (weights: Float32Array, row: number) => weights.slice(row * keys, (row + 1) * keys);
    const together = cache.attentionWeights(q, { numHeads: 1, window: { left: 150 } }).weights;
    for (let row = 0; row < rows; row++) {
      const options = { numHeads: 1, window: { left: 150 }, queryOffset: keys - rows + row };
      const { weights } = cache.attentionWeights(q.slice(row * dim, (row + 1) * dim), options);
      expect(rowOf(together, row)).toEqual(weights);
    }
  });

  describe("a row of more", () => {
    it("has the bits that it has in any part of the call of more than four", () => {
      const property = fc.property(many, parts, (problem, drawn) => expectSameParts(heed, problem, drawn, 4));
      fc.assert(property, { seed: 20261201, numRuns: count(400) });
    });

    it("has them whatever of q, k and v is NaN or Infinity, and which rows it spoils", () => {
      const property = fc.property(many, parts, fc.integer(), (problem, drawn, seed) => {
        spoil(problem, seed);
        expectSameParts(heed, problem, drawn, 4);
      });
      fc.assert(property, { seed: 20261202, numRuns: count(400) });
    });
  });
});
