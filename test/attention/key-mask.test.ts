// A keepMask that is the same for every query and head: the keys it keeps are picked (assembly/kv/gather.ts), the
// others not even read.
import { describe, expect, it } from "vitest";
import { expectWithinBudget, floorOf } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { Model, expectRight } from "../support/kv-model.ts";
import { problemOf } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import type { PlainOptions } from "../support/reference.ts";
import { isCrossed } from "../support/sweep.ts";

/** Two whole steps of 128 keys and a part. */
const KEYS = 300;

const random = uniform(8);
const PATTERNS: Record<string, (key: number) => boolean> = {
  "three of four": () => random() < 0.75,
  "every second": (key) => key % 2 === 0,
  all: () => true,
  none: () => false,
  "all but one": (key) => key !== 140,
  "one alone": (key) => key === 140,
  "the first": (key) => key < 77,
  "the last": (key) => key >= 231,
  "none of a step": (key) => key < 128 || key >= 256,
  "only a step": (key) => key >= 128 && key < 256,
};

const maskOf = (kept: (key: number) => boolean, batch: number) => ({
  data: Uint8Array.from({ length: batch * KEYS }, (_, at) => Number(kept(at % KEYS))),
  shape: [batch, 1, 1, KEYS],
});

const OPTIONS: Record<string, Partial<PlainOptions>> = {
  "no other option": {},
  "layout bhld": { layout: "bhld" },
  causal: { causal: true },
  "causal from the middle": { causal: true, queryOffset: 150 },
  window: { window: { left: 100, right: 20 }, queryOffset: 130 },
  kvLengths: { kvLengths: Int32Array.of(299, 100) },
  softcap: { softcap: 2, scale: 1.3 },
  sinks: { sinks: floats(4, uniform(5)) },
  bias: { bias: { data: floats(KEYS, uniform(6)), shape: [KEYS] } },
  alibiSlopes: { alibiSlopes: Float32Array.of(0.1, 0.2, 0.01, 0.5) },
};

const patterns = Object.entries(PATTERNS).map(([name, kept], row) => [name, row, kept] as const);

forEachBuild((_, open) => {
  const heed = open();

  describe.each(patterns)("keeps %s", (_, row, kept) => {
    const keepMask = maskOf(kept, 2);
    const some = Object.entries(OPTIONS).filter((_, column) => isCrossed(row, column, patterns.length));

    it.each(some)("%s", (_, options) => {
      for (const [seqLenQ, numKvHeads] of [
        [5, 4],
        [18, 2],
      ] as const) {
        const sizes = { numKvHeads, seqLenQ, seqLenKv: KEYS, headDim: 9, valueDim: 6 };
        const problem = problemOf(sizes, { ...options, keepMask });
        const floor = floorOf(problem);
        const { batch = 1 } = problem.options;
        for (const rows of [problem.k, problem.v]) {
          const dim = rows.length / (batch * KEYS * numKvHeads);
          const keyOf = (at: number) => Math.floor(at / (options.layout === "bhld" ? dim : dim * numKvHeads)) % KEYS;
          const sequenceOf = (at: number) => Math.floor(at / (KEYS * numKvHeads * dim));
          rows.forEach((_, at) => {
            if (!keepMask.data[sequenceOf(at) * KEYS + keyOf(at)]) rows[at] = [NaN, Infinity, -Infinity][at % 3]!;
          });
        }
        const { out } = heed.attention(problem.q, problem.k, problem.v, problem.options);
        expect(out.every(Number.isFinite)).toBe(true);
        expectWithinBudget(heed, problem, floor);
      }
    });

    it.each(["f16", "int8"] as const)("from a cache of %s", (dtype) => {
      const sizes = { numKvHeads: 2, headDim: 24, valueDim: 16, batch: 2, capacity: KEYS, dtype };
      using cache = heed.createKvCache(sizes);
      const model = new Model(sizes);
      const next = uniform(3);
      const rows = [floats(2 * KEYS * 2 * 24, next), floats(2 * KEYS * 2 * 16, next)] as const;
      cache.append(...rows);
      model.append(...rows);
      expectRight(cache, model, floats(2 * 9 * 4 * 24, next), { numHeads: 4, keepMask, causal: true });
    });
  });
});
