// K and V in ordinary arrays that few query rows look at: they are copied in piece by piece
// (bindings/attention/kv-source.ts), and what is known of the rows stays in linear memory between the pieces.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { expectWithinBudget, floorOf } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinationsOf } from "../support/combinations.ts";
import { type Problem, problemOf, randomBias, randomMask } from "../support/problems.ts";
import { floats, integer, uniform } from "../support/random.ts";
import type { PlainOptions } from "../support/reference.ts";
import { runs, thinned } from "../support/sweep.ts";

const MIB = 2 ** 20;

/** Rows so wide that a piece has a page of 128 keys. */
const WIDE = { numHeads: 4, numKvHeads: 2, headDim: 136, valueDim: 128, seqLenKv: 300 };

/** The same call with everything in linear memory, where nothing is copied and there are no pieces. */
function resident(heed: Heed, { q, k, v, options }: Problem) {
  const tensors = [q, k, v].map((rows) => {
    const tensor = heed.tensor(rows.length);
    tensor.data.set(rows);
    return tensor;
  });
  const result = heed.attention(tensors[0]!, tensors[1]!, tensors[2]!, { ...options, lse: true });
  for (const tensor of tensors) tensor.dispose();
  return result;
}

const few = combinationsOf({
  sequences: fc.integer({ min: 1, max: 2 }),
  numKvHeads: fc.constantFrom(2),
  group: fc.integer({ min: 1, max: 3 }),
  seqLenQ: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 5, max: 21 })),
  seqLenKv: fc.oneof(fc.constantFrom(128, 129, 256, 257), fc.integer({ min: 100, max: 420 })),
  // Whole eights too, which decode.ts takes.
  headDim: fc.oneof(fc.constant(136), fc.integer({ min: 129, max: 139 })),
  valueDim: fc.oneof(fc.constant(136), fc.integer({ min: 129, max: 139 })),
  offset: fc.integer({ min: -9, max: 400 }),
  window: fc.option(fc.record({ left: fc.option(fc.nat(200), { nil: undefined }), right: fc.nat(200) }), {
    nil: undefined,
  }),
});

forEachBuild((name, open) => {
  const heed = open();

  describe("pieces give the bits of the whole", () => {
    it("under any combination of options", () => {
      const property = fc.property(few, (problem) => {
        const { out, lse } = heed.attention(problem.q, problem.k, problem.v, { ...problem.options, lse: true });
        const whole = resident(heed, problem);
        expect(out).toEqual(whole.out);
        expect(lse).toEqual(whole.lse);
      });
      fc.assert(property, { seed: 20261127, numRuns: runs(name === "debug" ? 30 : 150) });
    });

    it.each([
      [1, 0],
      [2, 0],
      [4, 1],
      [21, 3],
      [32, 0],
    ])("of %i query rows, with %i rows of the keys before them masked", (seqLenQ, skipped) => {
      const keepMask = { data: new Uint8Array(300).fill(1), shape: [300] };
      // The ends of a page, which are not read: so the order of the sums could change.
      for (let key = 0; key < skipped; key++) {
        keepMask.data[128 + key] = 0;
        keepMask.data[127 - key] = 0;
      }
      const problem = problemOf({ ...WIDE, seqLenQ }, { keepMask });
      expect(heed.attention(problem.q, problem.k, problem.v, problem.options).out).toEqual(resident(heed, problem).out);
    });
  });

  describe("masked values that are not finite are kept away", () => {
    const OPTIONS: [string, Partial<PlainOptions>][] = [
      ["causal", { causal: true }],
      ["a window", { window: { left: 100 }, queryOffset: 140 }],
      ["keepMask", { keepMask: randomMask([4, 1, 300]) }],
      ["a keepMask of each row", { keepMask: randomMask([1, 300]), causal: true, queryOffset: 200 }],
      ["bias", { bias: randomBias([4, 1, 300], 0.3) }],
      ["bias and sinks", { bias: randomBias([300], 0.3), sinks: Float32Array.of(1, 2, 3, 4) }],
    ];
    it.each(OPTIONS)("%s", (_, options) => {
      const sizes = [1, 2, 7, 20].flatMap((seqLenQ) => [128, 127].map((valueDim) => ({ seqLenQ, valueDim })));
      // Few rows and many, whole vectors and not.
      const some = thinned(sizes, ({ seqLenQ, valueDim }) => (seqLenQ === 1 || seqLenQ === 20) === (valueDim === 128));
      for (const { seqLenQ, valueDim } of some) {
        const problem = problemOf({ ...WIDE, valueDim, seqLenQ }, options);
        const next = uniform(seqLenQ);
        const floor = floorOf(problem);
        for (let n = 0; n < 9; n++) {
          problem.v[integer(0, problem.v.length - 1, next)] = NaN;
          problem.v[integer(0, problem.v.length - 1, next)] = -Infinity;
        }
        expectWithinBudget(heed, problem, floor);
      }
    });

    it("in one KV head, and the other keeps its bits", () => {
      const problem = problemOf({ ...WIDE, batch: 1, seqLenQ: 2 }, { causal: true, layout: "bhld" });
      const clean = heed.attention(problem.q, problem.k, problem.v, problem.options).out;
      problem.v[299 * 128] = NaN; // the last key of KV head 0, which query 0 does not see
      const { out } = heed.attention(problem.q, problem.k, problem.v, problem.options);
      for (const head of [0, 1]) {
        expect(out.subarray(head * 256, head * 256 + 128).every(Number.isFinite)).toBe(true);
        expect(Number.isNaN(out[head * 256 + 128])).toBe(true);
      }
      expect(out.subarray(512)).toEqual(clean.subarray(512));
    });
  });

  it("a row whose scores are all −Infinity is NaN, as from the whole", () => {
    const problem = problemOf({ ...WIDE, batch: 1, seqLenQ: 2 });
    problem.q.fill(-1);
    problem.k.fill(Infinity);
    const { out, lse } = heed.attention(problem.q, problem.k, problem.v, { ...problem.options, lse: true });
    const whole = resident(heed, problem);
    expect(out).toEqual(whole.out);
    expect(lse).toEqual(whole.lse);
    expect(out.every(Number.isNaN)).toBe(true);
  });

  describe("memory", () => {
    /** Bytes beyond those of before, at most, of one call. */
    function peakOf(sizes: Parameters<typeof problemOf>[0], options: Partial<PlainOptions> = {}): number {
      const fresh = open();
      const { used } = fresh.memory;
      const { q, k, v, options: all } = problemOf(sizes, options);
      fresh.attention(q, k, v, all);
      const { peak } = fresh.memory;
      fresh.dispose();
      return peak - used;
    }

    it("takes a piece, and what is known of the rows, whatever the number of keys", () => {
      const sizes = { batch: 1, numHeads: 12, seqLenQ: 2, headDim: 64 };
      const peak = peakOf({ ...sizes, seqLenKv: 512 });
      expect(peakOf({ ...sizes, seqLenKv: 2048 })).toBe(peak);
      expect(peak).toBeLessThan(MIB + MIB / 4);
    });

    it("takes one sequence of a batch at a time, whatever the number of rows", () => {
      const sizes = { numHeads: 2, seqLenQ: 100, seqLenKv: 500, headDim: 64 };
      const ofOne = peakOf({ ...sizes, batch: 1 });
      const rows = 3 * 2 * (100 * 2 * 64 * 4); // q and out of three more
      expect(peakOf({ ...sizes, batch: 4 })).toBeLessThanOrEqual(ofOne + rows + 1024);
    });

    it("takes the keys alone that a window shows", () => {
      const sizes = { batch: 1, numHeads: 2, seqLenQ: 100, headDim: 64 };
      const windowed = { causal: true, window: { left: 99 } };
      const peak = peakOf({ ...sizes, seqLenKv: 400 }, windowed);
      expect(peakOf({ ...sizes, seqLenKv: 4000 }, windowed)).toBe(peak);
    });

    it("is given back where it does not suffice, nothing is written, and the instance works on", () => {
      const small = open(16 * 65536);
      const { q, k, v, options } = problemOf({ batch: 1, numHeads: 32, seqLenQ: 2, seqLenKv: 256, headDim: 64 });
      const { used } = small.memory;
      const out = floats(q.length, uniform(1));
      const before = out.slice();
      expect(() => small.attention(q, k, v, { ...options, out })).toThrow(RangeError);
      expect(out).toEqual(before);
      expect(small.memory.used).toBe(used);
      expect(
        small.attention(q.subarray(0, 64), k.subarray(0, 640), v.subarray(0, 640), { numHeads: 1, headDim: 64 }),
      ).toHaveProperty("out");
      small.dispose();
    });
  });
});
