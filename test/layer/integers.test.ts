// Weights in int8 and int4: heed.linear over them against f64 over the values that they are stored as, blocks of GGUF,
// values that are not finite, memory, errors, and the whole layer.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { dimsOf, projectionsOf } from "../support/layer.ts";
import { linearReference, transposed } from "../support/linear.ts";
import { floats, uniform } from "../support/random.ts";
import { reference } from "../support/reference.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";
import { runs } from "../support/sweep.ts";
import { type Dtype, boundOf, randomBlocks, storedWeight } from "../support/weights-in-integers.ts";

const groupOf = { int8: 64, q4: 32 } as const;

/** Expects each value to be within its bound of f64 over the values that the weight is stored as. */
function expectBounded(
  out: Float32Array,
  x: Float32Array,
  stored: Float64Array,
  bias: Float32Array | undefined,
  inFeatures: number,
  group: number,
): void {
  const outFeatures = stored.length / inFeatures;
  const exact = linearReference(x, { weight: stored, bias, inFeatures, outFeatures });
  const bound = boundOf(x, stored, inFeatures, group);
  expect(out.length).toBe(exact.length);
  out.forEach((value, at) => {
    const ofBias = bias ? 2 ** -23 * (Math.abs(exact[at]!) + Math.abs(bias[at % outFeatures]!)) : 0;
    expect(Math.abs(value - exact[at]!)).toBeLessThanOrEqual(bound[at]! + ofBias);
  });
}

forEachBuild((name, open) => {
  const heed = open();
  const size = fc.oneof(fc.integer({ min: 1, max: 70 }), fc.constantFrom(1, 31, 32, 33, 63, 64, 65, 127, 129, 200));

  it("is x·Wᵀ + bias of the stored values for any shape, dtype and size of values", () => {
    const shapes = fc.record({
      seed: fc.integer(),
      rows: fc.oneof(fc.integer({ min: 0, max: 7 }), fc.constantFrom(131, 133)),
      inFeatures: size,
      outFeatures: size,
      biased: fc.boolean(),
      flipped: fc.boolean(),
      tensors: fc.boolean(),
      dtype: fc.constantFrom<Dtype>("int8", "q4"),
      xSize: fc.constantFrom(1, 1, 1e30, 1e-30, 1e-37, 1e-42),
      wSize: fc.constantFrom(1, 1, 1e30, 1e-30, 1e-37, 1e-42, 1e-45),
    });
    const property = fc.property(shapes, (given) => {
      const { seed, rows, inFeatures, outFeatures, biased, flipped, tensors, dtype, xSize, wSize } = given;
      if (xSize * wSize > 1e35) return;
      const next = uniform(seed);
      const { used } = heed.memory;
      const x = floats(rows * inFeatures, next).map((value) => value * xSize);
      const weight = floats(outFeatures * inFeatures, next).map((value) => value * wSize);
      // A whole group of zeros, and an outlier beside small values.
      if (inFeatures > 64) weight.fill(0, 0, 64);
      weight[weight.length - 1]! *= 20;
      const bias = biased ? floats(outFeatures, next) : undefined;
      const data = flipped ? transposed(weight, outFeatures, inFeatures) : weight;
      const tensor = heed.tensor(data.length);
      tensor.data.set(data);
      const shape = flipped ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
      const packed = heed.packLinear({ data: tensors ? tensor : data, shape }, bias, { transposed: flipped, dtype });
      tensor.dispose();
      const { out } = heed.linear(x, packed);
      expectBounded(out, x, storedWeight(weight, inFeatures, dtype), bias, inFeatures, groupOf[dtype]);
      packed.dispose();
      expect(heed.memory.used).toBe(used);
    });
    fc.assert(property, { seed: 20261128, numRuns: runs(name === "debug" ? 60 : 200) });
  });

  it.each(["q8_0", "q4_0"] as const)("takes blocks of %s without loss", (dtype) => {
    const [rows, inFeatures, outFeatures] = [3, 96, 37];
    const next = uniform(5);
    const { data, values } = randomBlocks(dtype, (inFeatures / 32) * outFeatures, next);
    const x = floats(rows * inFeatures, next);
    const bias = floats(outFeatures, next);
    for (const sizes of [{ inFeatures, outFeatures }, { inFeatures }, { outFeatures }]) {
      using packed = heed.packLinear({ data, dtype }, bias, sizes);
      expect([packed.inFeatures, packed.outFeatures]).toEqual([inFeatures, outFeatures]);
      expect(packed.dtype).toBe(dtype === "q8_0" ? "int8" : "q4");
      expectBounded(heed.linear(x, packed).out, x, values, bias, inFeatures, 32);
    }
    using shaped = heed.packLinear({ data, dtype, shape: [outFeatures, inFeatures] });
    // Row by row, since x of a single 1 shows one column of W, exactly: 1 becomes 32767 · (1/32767).
    for (const column of [0, 15, 16, 31, 32, 95]) {
      const one = new Float32Array(inFeatures);
      one[column] = 1;
      heed.linear(one, shaped).out.forEach((value, o) => {
        const exact = values[o * inFeatures + column]!;
        expect(Math.abs(value - exact)).toBeLessThanOrEqual(4 * 2 ** -24 * Math.abs(exact));
      });
    }
  });

  it("does not overflow where every integer is the largest", () => {
    const [inFeatures, outFeatures] = [256, 17];
    const bytes = Uint8Array.from({ length: (inFeatures / 32) * outFeatures * 34 }, (_, n) => {
      return n % 34 === 0 ? 0 : n % 34 === 1 ? 0x3c : 0x80; // d = 1, q = −128
    });
    const weights = [
      heed.packLinear(new Float32Array(inFeatures * outFeatures).fill(-1), undefined, { inFeatures, dtype: "int8" }),
      heed.packLinear(new Float32Array(inFeatures * outFeatures).fill(-1), undefined, { inFeatures, dtype: "q4" }),
      heed.packLinear({ data: bytes, dtype: "q8_0" }, undefined, { inFeatures }),
    ];
    weights.forEach((weight, n) => {
      const exact = [-256, -256, -256 * 128][n]!;
      for (const rows of [1, 3]) {
        for (const value of heed.linear(new Float32Array(rows * inFeatures).fill(1), weight).out) {
          expect(Math.abs(value - exact)).toBeLessThanOrEqual(10 * 2 ** -24 * -exact);
        }
      }
      weight.dispose();
    });
  });

  it("makes a row with NaN or Infinity NaN, and changes no other", () => {
    const next = uniform(9);
    const x = floats(5 * 70, next);
    using packed = heed.packLinear(floats(70 * 17, next), undefined, { inFeatures: 70, dtype: "int8" });
    const before = heed.linear(x, packed).out;
    for (const [at, value] of [
      [1 * 70, NaN],
      [3 * 70 + 69, -Infinity],
      [4 * 70 + 64, Infinity],
    ] as const) {
      x[at] = value;
    }
    const { out } = heed.linear(x, packed);
    out.forEach((value, at) => expect(value).toBe([1, 3, 4].includes(Math.floor(at / 17)) ? NaN : before[at]));
    expect(heed.linear(x.subarray(3 * 70, 4 * 70), packed).out).toEqual(new Float32Array(17).fill(NaN));
  });

  describe("memory", () => {
    it("is a quarter of f32, or five 32nds, and the scales", () => {
      const weight = new Float32Array(640 * 320);
      for (const [dtype, bits] of [
        ["f32", 32],
        ["int8", 8.5],
        ["q4", 5],
      ] as const) {
        const { used } = heed.memory;
        const packed = heed.packLinear(weight, undefined, { inFeatures: 640, dtype });
        expect(packed.dtype).toBe(dtype);
        expect(packed.bytes).toBe((640 * 320 * bits) / 8);
        packed.dispose();
        expect(heed.memory.used).toBe(used);
      }
    });

    it("that cannot grow, and a weight that is not finite, leave nothing behind", () => {
      const own = open(2 ** 20);
      const { used } = own.memory;
      const weight = new Float32Array(2000 * 1000);
      expect(() => own.packLinear(weight, undefined, { inFeatures: 1000, dtype: "int8" })).toThrow(RangeError);
      weight[77] = NaN;
      for (const value of [NaN, Infinity, -Infinity]) {
        weight[77] = value;
        const call = () => own.packLinear(weight.subarray(0, 6400), undefined, { inFeatures: 64, dtype: "q4" });
        expectRefusal(RangeError, "weight", call);
      }
      expect(own.memory.used).toBe(used);
    });
  });

  describe("errors", () => {
    const blocks = { data: new Uint8Array(2 * 34), dtype: "q8_0" };
    const floats6 = { data: new Float32Array(6), shape: [3, 2] };
    const wrong: [string, string, Refusal, unknown[]][] = [
      ["a dtype that is none", "dtype", RangeError, [floats6, undefined, { dtype: "int4" }]],
      ["a dtype that is no string", "dtype", TypeError, [floats6, undefined, { dtype: 8 }]],
      ["a dtype beside blocks", "dtype", RangeError, [blocks, undefined, { dtype: "int8", inFeatures: 32 }]],
      [
        "blocks that are floats",
        "weight.data",
        TypeError,
        [{ data: new Float32Array(34), dtype: "q8_0" }, undefined, { inFeatures: 32 }],
      ],
      ["blocks of unknown shape", "weight", TypeError, [blocks]],
      [
        "half a block",
        "weight.data",
        RangeError,
        [{ ...blocks, data: new Uint8Array(17) }, undefined, { inFeatures: 32 }],
      ],
      ["inFeatures of half a block", "inFeatures", RangeError, [blocks, undefined, { inFeatures: 16 }]],
      ["blocks of other sizes", "weight", RangeError, [blocks, undefined, { inFeatures: 32, outFeatures: 3 }]],
      ["blocks of another shape", "weight.data", RangeError, [{ ...blocks, shape: [3, 32] }]],
      ["blocks transposed", "transposed", RangeError, [blocks, undefined, { inFeatures: 32, transposed: true }]],
      [
        "blocks with a scale of Infinity",
        "weight",
        RangeError,
        [{ ...blocks, data: new Uint8Array(34).fill(0x7c) }, undefined, { inFeatures: 32 }],
      ],
    ];
    it.each(wrong)("%s", (_, title, kind, args) => {
      const { used } = heed.memory;
      expectRefusal(kind, title, () => (heed.packLinear as (...args: unknown[]) => unknown).apply(heed, args));
      expect(heed.memory.used).toBe(used);
    });

    it("blocks that are not packed", () => {
      const call = () => (heed.linear as (...args: unknown[]) => unknown).call(heed, new Float32Array(32), blocks);
      expectRefusal(TypeError, "weight", call);
    });
  });

  describe("the whole layer", () => {
    const dims = dimsOf({ embedDim: 96, numHeads: 4, numKvHeads: 2, headDim: 16, outDim: 70 });
    const weights = projectionsOf(dims, uniform(11));
    const { k: kWeights, out: outWeights } = weights;

    it.each(["int8", "q4"] as const)("in %s is within the bound that its projections have", (dtype) => {
      const group = groupOf[dtype];
      const layer = heed.createMultiHeadAttention({ ...dims, weights, weightDtype: dtype });
      expect(layer.bytes).toBeLessThan((dtype === "int8" ? 0.3 : 0.2) * 4 * (64 + 32 + 32 + 70) * 96);
      const rows = 9;
      const x = floats(rows * 96, uniform(12));
      const { out } = layer.forward(x);

      const project = (from: ArrayLike<number>, { weight, bias }: typeof kWeights) => {
        const [outFeatures, inFeatures] = weight.shape;
        const stored = storedWeight(weight.data, inFeatures, dtype);
        const exact = linearReference(from, { weight: stored, bias, inFeatures, outFeatures });
        const off = boundOf(from, stored, inFeatures, group);
        return { exact, stored, off: Math.max(...off), most: Math.max(...exact.map(Math.abs)) };
      };
      const [q, k, v] = [weights.q, weights.k, weights.v].map((one) => project(x, one)) as [
        ReturnType<typeof project>,
        ReturnType<typeof project>,
        ReturnType<typeof project>,
      ];
      const options = { numHeads: 4, numKvHeads: 2, headDim: 16, scale: 0.25 };
      const attended = reference(
        ...([q.exact, k.exact, v.exact] as unknown as [Float32Array, Float32Array, Float32Array]),
        options,
      ).out;
      // A score is off by scale·Σ |Δq·k| + |q·Δk| + |Δq·Δk|, a probability by its e^(2Δ) − 1, and out by what v is off.
      const score = 0.25 * 16 * (q.off * k.most + k.off * q.most + q.off * k.off);
      const ofAttention = v.off + Math.expm1(2 * score) * (v.most + v.off) + 1e-5;
      const back = project(attended, outWeights!);
      const sums = Array.from({ length: 70 }, (_, o) =>
        back.stored.subarray(o * 64, o * 64 + 64).reduce((sum, value) => sum + Math.abs(value), 0),
      );
      const bound = 1.01 * back.off + Math.max(...sums) * ofAttention;
      expect(bound).toBeLessThan(back.most / 2);
      out.forEach((value, at) => expect(Math.abs(value - back.exact[at]!)).toBeLessThanOrEqual(bound));
      layer.dispose();
    });

    it("takes blocks, keeps its dtype in setWeights, and refuses what is no dtype", () => {
      const { data, values } = randomBlocks("q8_0", 3 * 64, uniform(13));
      const q = { weight: { data, dtype: "q8_0" as const, shape: [64, 96] } };
      const layer = heed.createMultiHeadAttention({ ...dims, weights: { ...weights, q }, weightDtype: "q4" });
      const plain = { weight: { data: Float32Array.from(values), shape: [64, 96] } };
      const other = heed.createMultiHeadAttention({ ...dims, weights: { ...weights, q: plain }, weightDtype: "f32" });
      expect(layer.bytes).toBeLessThan(0.3 * other.bytes);
      const { bytes } = layer;
      const x = floats(2 * 96, uniform(14));
      const before = layer.forward(x).out;
      layer.setWeights({ ...weights, q });
      expect(layer.bytes).toBe(bytes);
      expect(layer.forward(x).out).toEqual(before);
      layer.dispose();
      other.dispose();
      for (const [kind, weightDtype] of [
        [RangeError, "int4"],
        [TypeError, 4],
      ] as const) {
        const options = { ...dims, weights, weightDtype };
        expectRefusal(kind, "weightDtype", () => heed.createMultiHeadAttention(options as never));
      }
      const spoiled = {
        ...weights,
        k: { weight: { ...kWeights.weight, data: kWeights.weight.data.slice().fill(NaN) } },
      };
      const options = { ...dims, weights: spoiled, weightDtype: "int8" } as const;
      const { used } = heed.memory;
      expectRefusal(RangeError, "weights.k.weight", () => heed.createMultiHeadAttention(options));
      expect(heed.memory.used).toBe(used);
    });

    it("gives the same bits in steps", async () => {
      using layer = heed.createMultiHeadAttention({ ...dims, weights, weightDtype: "int8" });
      const x = floats(150 * 96, uniform(15));
      const { out } = layer.forward(x, { causal: true });
      expect((await layer.forwardAsync(x, { causal: true, budgetMs: 0.01 })).out).toEqual(out);
    });
  });
});
