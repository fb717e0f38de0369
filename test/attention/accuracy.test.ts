import fc from "fast-check";
import { describe, it } from "vitest";
import { expectWithinBudget, floorOf } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinations } from "../support/combinations.ts";
import { type Sizes, problemOf, randomBias, randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import type { PlainOptions } from "../support/reference.ts";
import { range, runs } from "../support/sweep.ts";

// The default sizes of problemOf: batch 2, 4 heads, 13 queries, 29 keys, headDim 24.
const sinks = floats(4, uniform(4));
const slopes = floats(8, uniform(5)).map(Math.abs);

const alone: Record<string, Partial<PlainOptions>> = {
  "no option": {},
  "layout bhld": { layout: "bhld" },
  scale: { scale: 0.3 },
  "a negative scale": { scale: -0.25 },
  "scale 0": { scale: 0 },
  "a scale above 1": { scale: 3 },
  causal: { causal: true },
  "queryOffset, top-left": { causal: true, queryOffset: 0 },
  "queryOffset, negative": { causal: true, queryOffset: -5 },
  "queryOffset, one a sequence": { causal: true, queryOffset: Int32Array.of(3, 20) },
  "window.left": { window: { left: 4 } },
  "window.right": { window: { right: 2 } },
  "window on both sides": { window: { left: 3, right: 5 } },
  "window with causal": { window: { left: 6, right: 9 }, causal: true },
  "window of 0": { window: { left: 0, right: 0 } },
  kvLengths: { kvLengths: Int32Array.of(17, 29) },
  "kvLengths with causal": { kvLengths: Int32Array.of(17, 5), causal: true },
  "keepMask of keys": { keepMask: randomMask([29]) },
  "keepMask of queries and keys": { keepMask: randomMask([13, 29]) },
  "keepMask of heads": { keepMask: randomMask([4, 1, 29]) },
  "keepMask of queries": { keepMask: randomMask([13, 1]) },
  "keepMask of batch": { keepMask: randomMask([2, 1, 1, 29]) },
  "keepMask in full": { keepMask: randomMask([2, 4, 13, 29]) },
  "keepMask of one cell": { keepMask: { data: Uint8Array.of(1), shape: [] } },
  "bias of keys": { bias: randomBias([29]) },
  "bias of heads and keys": { bias: randomBias([4, 1, 29]) },
  "bias of queries": { bias: randomBias([13, 1]) },
  "bias in full": { bias: randomBias([2, 4, 13, 29]) },
  "bias with −Infinity": { bias: randomBias([2, 1, 13, 29], 0.4) },
  "bias of one cell": { bias: randomBias([1, 1, 1, 1]) },
  "alibiSlopes of heads": { alibiSlopes: slopes.slice(0, 4) },
  "alibiSlopes of batch and heads": { alibiSlopes: slopes },
  "alibiSlopes with queryOffset": { alibiSlopes: slopes.slice(0, 4), queryOffset: 7 },
  softcap: { softcap: 5 },
  "softcap below the scores": { softcap: 0.3 },
  "softcap above the scores": { softcap: 50 },
  sinks: { sinks },
  "sinks with nothing else to see": { sinks, kvLengths: Int32Array.of(0, 29) },
  "a scale far below 1": { scale: 1e-30 },
  everything: {
    layout: "bhld",
    scale: 0.4,
    softcap: 4,
    alibiSlopes: slopes.map((slope) => slope / 4),
    bias: randomBias([4, 13, 29], 0.1),
    keepMask: randomMask([2, 1, 1, 29]),
    causal: true,
    queryOffset: Int32Array.of(10, 14),
    window: { left: 12 },
    kvLengths: Int32Array.of(23, 29),
    sinks,
  },
};

const shapes: Record<string, Sizes> = {
  "grouped queries": { numHeads: 6, numKvHeads: 2 },
  "one KV head": { numHeads: 5, numKvHeads: 1 },
  "groups larger than a block": { numHeads: 17, numKvHeads: 1, seqLenQ: 7 },
  "valueDim above headDim": { headDim: 16, valueDim: 37 },
  "valueDim below headDim": { headDim: 33, valueDim: 5 },
  "batch 3": { batch: 3, numHeads: 2 },
  "decode: one query": { seqLenQ: 1, seqLenKv: 300, headDim: 64 },
  "decode: one query, grouped": { seqLenQ: 1, seqLenKv: 250, numHeads: 8, numKvHeads: 2, headDim: 32 },
  "more queries than keys": { seqLenQ: 50, seqLenKv: 9 },
  "keys of several steps": { batch: 1, numHeads: 2, seqLenQ: 40, seqLenKv: 391, headDim: 16 },
  "several passes of blocks": { batch: 1, numHeads: 1, seqLenQ: 230, seqLenKv: 130, headDim: 16 },
};

const packed: Record<string, { sizes: Sizes; options: Partial<PlainOptions> }> = {
  "the same for q and k": {
    sizes: { seqLenQ: 37, seqLenKv: 37 },
    options: { cuSeqlensQ: Int32Array.of(0, 5, 5, 20, 37), causal: true },
  },
  "different for q and k": {
    sizes: { seqLenQ: 20, seqLenKv: 50 },
    options: { cuSeqlensQ: Int32Array.of(0, 8, 9, 20), cuSeqlensKv: Int32Array.of(0, 0, 30, 50), causal: true },
  },
  "with masks and slopes of every sequence": {
    sizes: { seqLenQ: 20, seqLenKv: 30, numHeads: 4, numKvHeads: 2 },
    options: {
      cuSeqlensQ: Int32Array.of(0, 12, 20),
      cuSeqlensKv: Int32Array.of(0, 14, 30),
      keepMask: randomMask([4, 20, 30]),
      bias: randomBias([20, 30]),
      alibiSlopes: slopes,
      kvLengths: Int32Array.of(10, 16),
      queryOffset: Int32Array.of(-2, 8),
      window: { left: 9, right: 4 },
      layout: "bhld",
      sinks,
    },
  },
};

forEachBuild((name, open) => {
  const heed = open();

  describe("error at most twice that of plain f32", () => {
    it.each(Object.entries(alone))("%s", (_, options) => expectWithinBudget(heed, problemOf({}, options)));

    it.each(Object.entries(shapes))("%s", (_, sizes) => expectWithinBudget(heed, problemOf(sizes)));

    it.each(Object.entries(shapes))("%s, causal, bhld", (_, sizes) =>
      expectWithinBudget(heed, problemOf(sizes, { causal: true, layout: "bhld" })),
    );

    it.each(Object.entries(packed))("packed sequences, %s", (_, { sizes, options }) =>
      expectWithinBudget(heed, problemOf({ batch: 1, ...sizes }, options)),
    );

    // In full every length from 1 to 67 and every headDim from 1 to 130 occurs. Lanes are 4, rows of a register tile 2,
    // 4 or 6, rows of a query tile 16. At least 200 rows each: the errors of one row go together, so that fewer leave
    // the largest to luck, on either side. The debug build does a sixth of them.
    const lengths = range(1, 67, [2, 4, 6, 8, 16, 32, 64]).filter((_, i) => name !== "debug" || i % 6 === 0);
    it.each(lengths)("length %i", (length) => {
      for (const headDim of [length, length + 63]) {
        const sizes = { batch: Math.ceil(67 / length), numHeads: 3, seqLenQ: length, seqLenKv: length };
        expectWithinBudget(heed, problemOf({ ...sizes, headDim, valueDim: 131 - headDim }, {}, length));
      }
    });

    it("any combination of options", () => {
      const property = fc.property(combinations, (problem) => expectWithinBudget(heed, problem, floorOf));
      fc.assert(property, { seed: 20261124, numRuns: runs(name === "debug" ? 60 : 400) });
    });
  });
});
