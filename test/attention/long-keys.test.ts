// Where keys are split in earnest: at multiples of 2048.
import { describe, expect, it } from "vitest";
import { SPLIT_KEYS } from "../../bindings/attention/on-threads.ts";
import { type Problem as Checked, seenKeys } from "../../bindings/attention/problem.ts";
import { splitsOf } from "../../bindings/attention/splits.ts";
import { bitsOf } from "../support/bits.ts";
import { expectWithinBudget, floorOf } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { asArrays, asTensors, inCache } from "../support/cuts.ts";
import { problemOf } from "../support/problems.ts";

describe("the splits of a call", () => {
  const base = {
    numHeads: 4,
    numKvHeads: 4,
    headDim: 64,
    valueDim: 64,
    reproducible: false,
    left: 2 ** 31 - 1,
    right: 0,
  };
  const sequence = { seqLenQ: 1, seqLenKv: 5000, queryOffset: 4999, batch: 0, startQ: 0, startKv: 0, masked: true };
  const splits = (problem: object, more: object = {}) =>
    splitsOf({ ...base, ...problem } as Checked, { ...sequence, ...more });

  it("begin at multiples of 2048 keys, as far as its queries see", () => {
    expect(SPLIT_KEYS).toBe(2048);
    expect(splits({})).toEqual([0, 1, 2]);
    expect(splits({}, { seqLenKv: 4096, queryOffset: 4095 })).toEqual([0, 1]);
    expect(splits({}, { seqLenKv: 2049, queryOffset: 2048 })).toEqual([0, 1]);
    expect(splits({ left: 2500 })).toEqual([1, 2]);
    expect(splits({}, { queryOffset: 4095 })).toEqual([0, 1]);
  });

  it("have the first one where there are sinks, which it counts", () => {
    expect(splits({ left: 2500, sinks: new Float32Array(4) })).toEqual([0, 1, 2]);
    expect(splits({ left: 4000, sinks: new Float32Array(4) }, { queryOffset: 6500 })).toEqual([0, 1, 2]);
  });

  it.each([
    ["few keys", {}, { seqLenKv: 2048, queryOffset: 2047 }],
    ["few keys in sight", {}, { queryOffset: 2047 }],
    ["a window of 2048 keys", { left: 2047 }, {}],
    ["more rows than decode takes", { numKvHeads: 2 }, { seqLenQ: 3 }],
    ["dims that decode does not take", { headDim: 60 }, {}],
    ["bits that are those of prefill", { reproducible: true }, {}],
    ["no queries", {}, { seqLenQ: 0 }],
    ["no key in sight", {}, { queryOffset: -5 }],
  ])("are none with %s", (_, problem, more) => {
    const seen = seenKeys({ ...base, ...problem } as Checked, { ...sequence, ...more });
    expect(splits(problem, more), String(seen)).toBeUndefined();
  });
});

forEachBuild((name, open) => {
  const heed = open();
  const keys = name === "debug" ? 2300 : 7000;

  it("has at most twice the error of plain f32", () => {
    for (const scale of [undefined, 4]) {
      for (const [seqLenQ, options] of [
        [1, {}],
        [2, { causal: true, sinks: Float32Array.of(2, -1), softcap: 20 }],
        [2, { window: { left: 2200 }, alibiSlopes: Float32Array.of(0.01, 0.002) }],
      ] as const) {
        const sizes = { batch: 1, numHeads: 2, numKvHeads: 1, seqLenQ, seqLenKv: keys, headDim: 32 };
        expectWithinBudget(heed, problemOf(sizes, { ...options, scale }), floorOf);
      }
    }
  });

  it.each([[undefined], [Float32Array.of(0.5, 1)]])(
    "gives a row that sees the first 2048 keys alone the bits that it has without the others: sinks %s",
    (sinks) => {
      const { q, k, v, options } = problemOf(
        { batch: 1, numHeads: 2, numKvHeads: 1, seqLenQ: 2, seqLenKv: keys, headDim: 16 },
        { causal: true, sinks, queryOffset: 2047 },
      );
      // The second row sees one key of the second split.
      const both = heed.attention(q, k, v, { ...options, lse: true });
      const first = 2048 * 16;
      const alone = { q: q.slice(0, 32), k: k.slice(0, first), v: v.slice(0, first), options };
      for (const way of [asArrays, asTensors, inCache("f32")]) {
        const { out, lse } = way(heed, alone);
        expect(bitsOf({ out: both.out.slice(0, 32), lse: both.lse.filter((_, i) => i % 2 === 0) })).toEqual(
          bitsOf({ out, lse }),
        );
      }
    },
  );

  it("gives back what it took", () => {
    const { used } = heed.memory;
    asTensors(heed, problemOf({ batch: 2, numHeads: 2, seqLenQ: 1, seqLenKv: keys, headDim: 8 }));
    expect(heed.memory.used).toBe(used);
  });
});
