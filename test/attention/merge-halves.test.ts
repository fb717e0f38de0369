// heed.merge with outs, sinks and out in 16 bits: the bits of floats converted first, rounded once.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { bitsOfFloats, expectRounded, forms, inForm } from "../support/halves.ts";
import { floats, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

const problems = fc.record({
  batch: fc.integer({ min: 1, max: 2 }),
  numHeads: fc.integer({ min: 1, max: 4 }),
  // Long ones come in pieces of a megabyte.
  seqLenQ: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 0, max: 9 }) }, fc.constant(1500)),
  valueDim: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(64, 93)),
  layout: fc.constantFrom("blhd", "bhld"),
  parts: fc.array(forms, { minLength: 1, maxLength: 4 }),
  out: forms,
  sinks: fc.option(forms, { nil: undefined }),
  /** Which part the output is written over. */
  over: fc.option(fc.nat(3), { nil: undefined }),
  special: fc.boolean(),
  seed: fc.integer({ min: 1, max: 999 }),
});

forEachBuild((name, open) => {
  const heed = open();
  const { used } = heed.memory;

  it("has the bits of f32, rounded once", () => {
    const property = fc.property(problems, (problem) => {
      const { batch, numHeads, seqLenQ, valueDim, layout } = problem;
      const next = uniform(problem.seed);
      const rows = batch * numHeads * seqLenQ;
      const parts = problem.parts.map((form) => {
        const out = floats(rows * valueDim, next);
        const lse = floats(rows, next);
        if (problem.special) {
          out.set([NaN, Infinity, -0, 1e-40, 3e38].slice(0, out.length));
          lse.set([-Infinity].slice(0, rows));
        }
        return { ...inForm(heed, out, form), lse };
      });
      const sinks = problem.sinks && inForm(heed, floats(numHeads, next), problem.sinks);
      const options = { numHeads, valueDim, batch, layout };
      const plain = parts.map(({ floats, lse }) => ({ out: floats, lse }));
      const expected = heed.merge(plain, { ...options, sinks: sinks?.floats });
      const fresh = inForm(heed, new Float32Array(rows * valueDim), problem.out);
      const over = problem.over === undefined ? undefined : parts[problem.over];
      const out = over?.rows ?? fresh.rows;
      const given = parts.map(({ rows, lse }) => ({ out: rows, lse }));
      const got = heed.merge(given, { ...options, sinks: sinks?.rows, out });
      expect(got.out).toBe(out);
      expectRounded(out, expected.out);
      expect(bitsOfFloats(got.lse)).toEqual(bitsOfFloats(expected.lse));
      for (const each of [...parts, fresh, sinks]) each?.end();
    });
    fc.assert(property, { seed: 20261501, numRuns: runs(name === "debug" ? 40 : 200) });
    expect(heed.memory.used).toBe(used);
  });

  it("expands nothing as a whole", () => {
    const [numHeads, headDim, rows] = [8, 64, 20_000];
    using fresh = open();
    const [a, b] = [fresh.tensor(rows * headDim, "bf16"), fresh.tensor(rows * headDim, "f16")];
    const lse = fresh.tensor(rows);
    const before = fresh.memory.used;
    const options = { numHeads, headDim, out: a, lse };
    fresh.merge(
      [a, b].map((out) => ({ out, lse: floats(rows, uniform(1)) })),
      options,
    );
    // A piece of a megabyte, and lse of both parts.
    expect(fresh.memory.peak - before).toBeLessThan(2 ** 20 + 2 * rows * 4 + 2 ** 16);
  });

  describe("refuses, and changes nothing", () => {
    const half = { data: new Uint16Array(8).fill(0x3f80), dtype: "bf16" } as const;
    const lse = new Float32Array(1);
    const options = { numHeads: 1, headDim: 8 };
    it.each<[string, object, object, typeof TypeError | typeof RangeError, string]>([
      [
        "a bare Uint16Array",
        { out: half.data },
        {},
        TypeError,
        '"parts[1].out" expected a Float32Array or a Tensor, or',
      ],
      ["an unknown dtype", { out: { ...half, dtype: 1 } }, {}, TypeError, '"parts[1].out.dtype" expected "f16" or'],
      [
        "another length",
        { out: { ...half, data: new Uint16Array(7) } },
        {},
        RangeError,
        '"parts[1].out" expected a length',
      ],
      [
        "lse of a part in 16 bits",
        { lse: { ...half, data: new Uint16Array(1) } },
        {},
        TypeError,
        '"parts[1].lse" expected',
      ],
      [
        "lse in 16 bits",
        {},
        { lse: { ...half, data: new Uint16Array(1) } },
        TypeError,
        '"lse" expected a Float32Array',
      ],
      [
        "an out of another length",
        {},
        { out: { ...half, data: new Uint16Array(9) } },
        RangeError,
        '"out" expected a length',
      ],
    ])("%s", (_, part, wrong, error, message) => {
      const { used: before } = heed.memory;
      const parts = [
        { out: half, lse },
        { out: half, lse, ...part },
      ];
      const call = (): unknown => heed.merge(parts, { ...options, ...wrong });
      expect(call).toThrow(error);
      expect(call).toThrow(message);
      expect(heed.memory.used).toBe(before);
    });

    it("an out over a part of another type", () => {
      using tensor = heed.tensor(8, "bf16");
      using other = heed.tensor(8, "f16");
      const view = { data: new Uint16Array(tensor.data.buffer, tensor.data.byteOffset, 8), dtype: "f16" } as const;
      const parts = [
        { out: view, lse },
        { out: other, lse },
      ];
      expect(() => heed.merge(parts, { ...options, out: tensor })).toThrow(
        /^"out" expected memory apart from "parts\[0\]/,
      );
    });
  });
});
