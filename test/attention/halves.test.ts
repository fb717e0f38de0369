// q, k, v, bias and out in 16 bits: the bits of floats converted first, under every option, however they come.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Float16ArrayLike } from "../../bindings/memory/data.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinationsOf } from "../support/combinations.ts";
import { spoil } from "../support/cuts.ts";
import {
  bitsOfFloats,
  bitsOfHalves,
  bitsOr,
  boundaries,
  expectRounded,
  floatsOf as floatsIn,
  forms,
  fromBits,
  halvesOf,
  inForm,
  shaped,
  tensorOf,
  toBits,
} from "../support/halves.ts";
import { problemOf } from "../support/problems.ts";
import { runs } from "../support/sweep.ts";

const DTYPES = ["f16", "bf16"] as const;
const ALL_BITS = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
/** One key and one value: out is v. */
const COPY = { numHeads: 1, headDim: 8, valueDim: 8 } as const;

const dims = fc.oneof(fc.constantFrom(8, 16, 40, 64), fc.integer({ min: 1, max: 40 }));
const problems = combinationsOf({
  seqLenQ: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 5, max: 40 })),
  seqLenKv: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 100, max: 400 })),
  headDim: dims,
  valueDim: dims,
});
/** Pieces: rows so wide that few keys of an array are copied in together. */
const wide = combinationsOf({
  sequences: fc.constant(1),
  numKvHeads: fc.constant(2),
  seqLenQ: fc.integer({ min: 1, max: 8 }),
  seqLenKv: fc.integer({ min: 500, max: 900 }),
  headDim: fc.constantFrom(272, 275),
  valueDim: fc.constantFrom(272, 269),
});
/** Splits of 2048 keys, which few query rows take one by one. */
const split = combinationsOf({
  sequences: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 2 }),
  seqLenQ: fc.integer({ min: 1, max: 2 }),
  seqLenKv: fc.constantFrom(2049, 4200),
  headDim: fc.constant(8),
  valueDim: fc.constantFrom(8, 16),
  window: fc.constant(undefined),
});
const operands = fc.record({ q: forms, k: forms, v: forms, bias: forms, out: forms });

forEachBuild((name, open) => {
  const heed = open();
  const { used } = heed.memory;
  const count = (numRuns: number) => runs(name === "debug" ? numRuns / 5 : numRuns);

  describe.each(DTYPES)("%s", (dtype) => {
    it("every value becomes f32 exactly, in prefill and in decoding", () => {
      const v = { data: ALL_BITS, dtype };
      // A sum that begins with 0 has no −0.
      const expected = bitsOfFloats(Float32Array.from(ALL_BITS, (bits) => fromBits(bits, dtype) + 0));
      // Each row of v is a sequence of one key.
      for (const reproducible of [false, true]) {
        const zeros = new Float32Array(65536);
        const options = { ...COPY, batch: 8192, reproducible };
        expect(bitsOfFloats(heed.attention(zeros, zeros, v, options).out)).toEqual(expected);
      }
    });

    it("f32 becomes the nearest 16 bits, ties to even", () => {
      const values = new Float32Array(boundaries(dtype));
      const padded = new Float32Array(Math.ceil(values.length / 8) * 8);
      padded.set(values);
      const expected = bitsOfHalves(
        Uint16Array.from(padded, (x) => bitsOr(toBits(x + 0, dtype))),
        dtype,
      );
      const zeros = new Float32Array(padded.length);
      for (const reproducible of [false, true]) {
        const out = { data: new Uint16Array(padded.length), dtype };
        const options = { ...COPY, batch: padded.length / 8, reproducible, out };
        expect(heed.attention(zeros, zeros, padded, options).out).toBe(out);
        expect(bitsOfHalves(out.data, dtype)).toEqual(expected);
      }
    });
  });

  it.each([
    ["any options", problems, 300],
    ["values that are not finite", problems, 150],
    ["pieces", wide, 25],
    ["splits", split, 25],
    ["half precision", problems, 200],
    ["half precision, values that are not finite", problems, 150],
    ["half precision, pieces", wide, 25],
  ] as const)("has the bits of f32: %s", (what, drawn, numRuns) => {
    const property = fc.property(drawn, operands, fc.boolean(), fc.integer(), (problem, drawnForms, lse, seed) => {
      if (what.includes("not finite")) spoil(problem, seed);
      const options = { ...problem.options, precision: what.startsWith("half") ? "half" : "full" } as const;
      const ends: (() => void)[] = [];
      const take = (operand: "q" | "k" | "v" | "bias" | "out", given: Float32Array) => {
        const { rows, floats, end } = inForm(heed, given, drawnForms[operand]);
        ends.push(end);
        return [rows, floats] as const;
      };
      const [[q, qFloats], [k, kFloats], [v, vFloats]] = [
        take("q", problem.q),
        take("k", problem.k),
        take("v", problem.v),
      ];
      const bias = options.bias && take("bias", options.bias.data);
      const plain = bias ? { ...options, bias: { data: bias[1], shape: options.bias.shape } } : options;
      const given = bias ? { ...options, bias: shaped(bias[0], options.bias.shape) } : options;
      const expected = heed.attention(qFloats, kFloats, vFloats, { ...plain, lse: true });
      const [out] = take("out", new Float32Array(expected.out.length));
      const got = heed.attention(q, k, v, { ...given, out, lse });
      expect(got.out).toBe(out);
      expectRounded(out, expected.out);
      if (lse) expect(bitsOfFloats(got.lse as Float32Array)).toEqual(bitsOfFloats(expected.lse));
      for (const end of ends) end();
    });
    fc.assert(property, { seed: 20261301, numRuns: count(numRuns) });
    expect(heed.memory.used).toBe(used);
  });

  it("has the bits of f32 asynchronously", async () => {
    const property = fc.asyncProperty(fc.oneof(problems, split), operands, async (problem, drawnForms) => {
      const { options } = problem;
      const [q, k, v] = (["q", "k", "v"] as const).map((operand) =>
        inForm(heed, problem[operand], drawnForms[operand]),
      );
      const expected = heed.attention(q!.floats, k!.floats, v!.floats, options);
      const out = inForm(heed, new Float32Array(expected.out.length), drawnForms.out);
      const got = await heed.attentionAsync(q!.rows, k!.rows, v!.rows, { ...options, out: out.rows, budgetMs: 1e-3 });
      expect(got.out).toBe(out.rows);
      expectRounded(out.rows, expected.out);
      for (const each of [q, k, v, out]) each!.end();
    });
    await fc.assert(property, { seed: 20261302, numRuns: count(60) });
  });

  it("takes half the memory of f32, and none for Tensors", () => {
    const { q, k, v, options } = problemOf({ batch: 1, seqLenQ: 200, seqLenKv: 2000, headDim: 64 });
    const peakOf = (call: (fresh: typeof heed) => unknown): number => {
      using fresh = open();
      call(fresh);
      return fresh.memory.peak;
    };
    const halves = [q, k, v].map((rows) => halvesOf(rows, "bf16"));
    const copied = 4 * (q.length + k.length + v.length);
    const wide = peakOf((fresh) => fresh.attention(q, k, v, options));
    const narrow = peakOf((fresh) => fresh.attention(halves[0]!, halves[1]!, halves[2]!, options));
    expect(wide - narrow).toBeGreaterThan(0.49 * copied);
    const resident = peakOf((fresh) => {
      const [a, b, c] = halves.map((rows) => tensorOf(fresh, rows));
      const before = fresh.memory.used;
      const out = fresh.tensor(q.length, "bf16");
      fresh.attention(a!, b!, c!, { ...options, out });
      // Neither the operands nor the output are copied: what is left is scratch.
      expect(fresh.memory.peak - before).toBeLessThan(2 * q.length + 2 ** 20);
    });
    expect(resident).toBeLessThan(wide);
  });

  it.skipIf(!("Float16Array" in globalThis))("takes a Float16Array (Node 24 and later), and writes to one", () => {
    const Float16 = (globalThis as unknown as { Float16Array: new (from: ArrayBuffer) => Float16ArrayLike })
      .Float16Array;
    const { q, k, v, options } = problemOf({});
    const [a, b, c] = [q, k, v].map((rows) => halvesOf(rows, "f16"));
    const out = new Float16(new ArrayBuffer(2 * q.length));
    const got = heed.attention(new Float16(a!.data.buffer), b!, new Float16(c!.data.buffer), { ...options, out });
    expect(got.out).toBe(out);
    const { out: expected } = heed.attention(floatsIn(a!), floatsIn(b!), floatsIn(c!), options);
    expectRounded({ data: new Uint16Array(out.buffer as ArrayBuffer), dtype: "f16" }, expected);
  });

  describe("refuses, and changes nothing", () => {
    const half = { data: new Uint16Array(8), dtype: "bf16" } as const;
    const bits = new Uint16Array(8);
    it.each<[string, object, typeof TypeError | typeof RangeError, string]>([
      ["a bare Uint16Array as q", { q: bits }, TypeError, '"q" expected a Float32Array or a Tensor, or 16 bits'],
      [
        "an unknown dtype",
        { v: { data: bits, dtype: "f8" } },
        RangeError,
        '"v.dtype" expected "f16" or "bf16", got "f8"',
      ],
      ["a dtype of the wrong kind", { v: { data: bits, dtype: 16 } }, TypeError, '"v.dtype" expected "f16" or "bf16"'],
      [
        "a bias without its dtype",
        { bias: { data: bits.subarray(1, 2), shape: [1] } },
        TypeError,
        '"bias.data" expected',
      ],
      ["lse in 16 bits", { lse: half }, TypeError, '"lse" expected a Float32Array or a Tensor'],
      [
        "out of a wrong length",
        { out: { data: new Uint16Array(7), dtype: "f16" } },
        RangeError,
        '"out" expected a length of 8',
      ],
    ])("%s", (_, wrong, error, message) => {
      const { q, k, v, ...others } = { q: half, k: half, v: half, ...wrong };
      const { used: before } = heed.memory;
      const call = (): unknown => heed.attention(q, k, v, { ...COPY, ...others });
      expect(call).toThrow(error);
      expect(call).toThrow(message);
      expect(heed.memory.used).toBe(before);
    });
  });

  it("attentionWeights has the bits of f32", () => {
    const property = fc.property(problems, operands, fc.boolean(), (problem, drawnForms, softmax) => {
      const options = { ...problem.options, sinks: undefined };
      const [q, k] = (["q", "k"] as const).map((operand) => inForm(heed, problem[operand], drawnForms[operand]));
      const all = { ...options, stage: softmax ? "softmax" : "scores" } as const;
      const expected = heed.attentionWeights(q!.floats, k!.floats, all).weights;
      expect(bitsOfFloats(heed.attentionWeights(q!.rows, k!.rows, all).weights)).toEqual(bitsOfFloats(expected));
      for (const each of [q, k]) each!.end();
    });
    fc.assert(property, { seed: 20261303, numRuns: count(100) });
  });
});

describe("the reference itself", () => {
  it.each(DTYPES)("goes from %s to f32 and back", (dtype) => {
    expect(bitsOfHalves(halvesOf(floatsIn({ data: ALL_BITS, dtype }), dtype).data, dtype)).toEqual(
      bitsOfHalves(ALL_BITS, dtype),
    );
  });

  it.each([
    ["f16", 0x3c00, 1],
    ["f16", 0x7bff, 65504],
    ["f16", 1, 2 ** -24],
    ["f16", 0xfc00, -Infinity],
    ["bf16", 0x3f80, 1],
    ["bf16", 1, 2 ** -133],
    ["bf16", 0x4049, 3.140625],
  ] as const)("%s %i is %d", (dtype, bits, value) => expect(fromBits(bits, dtype)).toBe(value));
});
