// heed.linear and heed.packLinear: the GEMM against f64, over shapes and forms of weights, its memory and its errors.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LinearOptions } from "../../bindings/layer/linear.ts";
import type { PackedLinear } from "../../bindings/layer/packed-linear.ts";
import type { Rows } from "../../bindings/memory/output.ts";
import { ULP, largest, maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { linearReference, transposed } from "../support/linear.ts";
import { floats, uniform } from "../support/random.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";
import { runs } from "../support/sweep.ts";

/**
 * Twice the error of the plain f32 implementation, or for problems of so few sums that it may be exact by luck what the
 * last operations must round in any implementation: the sum and the bias, half an ulp of the largest result each.
 */
function expectClose(got: ArrayLike<number>, exact: Float64Array, plain: Float64Array): void {
  const floor = ULP * largest(exact);
  expect(maxError(got, exact)).toBeLessThanOrEqual(Math.max(2 * maxError(plain, exact), floor));
}

const size = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(1, 15, 16, 17, 64, 383, 384, 385));
const rows = fc.oneof(fc.integer({ min: 0, max: 20 }), fc.constantFrom(131, 132, 133, 270));

forEachBuild((name, open) => {
  const heed = open();

  it("is x·Wᵀ + bias for any shape, whatever form the weight comes in", () => {
    const shapes = fc.record({
      seed: fc.integer(),
      rows,
      inFeatures: size,
      outFeatures: size,
      biased: fc.boolean(),
      flipped: fc.boolean(),
      form: fc.constantFrom("bare", "shaped", "tensor", "packed", "packed with its bias"),
      target: fc.constantFrom("fresh", "array", "tensor"),
    });
    const property = fc.property(shapes, ({ seed, rows, inFeatures, outFeatures, biased, flipped, form, target }) => {
      const next = uniform(seed);
      const { used } = heed.memory;
      const x = floats(rows * inFeatures, next);
      const weight = floats(outFeatures * inFeatures, next);
      const bias = biased ? floats(outFeatures, next) : undefined;
      const data = flipped ? transposed(weight, outFeatures, inFeatures) : weight;
      const shape = flipped ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
      const said = { transposed: flipped };

      const tensor = heed.tensor(data.length);
      tensor.data.set(data);
      const out =
        target === "fresh"
          ? undefined
          : target === "array"
            ? new Float32Array(rows * outFeatures)
            : heed.tensor(rows * outFeatures);
      const options = { out } as Pick<LinearOptions<Rows | undefined>, "out">;
      let packed: PackedLinear | undefined;
      let got: Float32Array | typeof tensor;
      if (form === "bare") got = heed.linear(x, data, bias, { ...options, ...said, outFeatures }).out!;
      else if (form === "shaped") {
        const shaped = bias && { data: bias, shape: [outFeatures] };
        got = heed.linear(x, { data, shape }, shaped, { ...options, ...said }).out!;
      } else if (form === "tensor") got = heed.linear(x, tensor, bias, { ...options, ...said, inFeatures }).out!;
      else if (form === "packed") {
        packed = heed.packLinear({ data: tensor, shape }, undefined, said);
        got = heed.linear(x, packed, bias, options).out!;
      } else {
        packed = heed.packLinear({ data, shape }, bias, said);
        got = heed.linear(x, packed, undefined, options).out!;
      }
      if (out) expect(got).toBe(out);
      const plain = { weight, bias, inFeatures, outFeatures };
      const result = got instanceof Float32Array ? got : got.data;
      expectClose(result, linearReference(x, plain), linearReference(x, plain, Math.fround));

      packed?.dispose();
      tensor.dispose();
      if (out && !(out instanceof Float32Array)) out.dispose();
      expect(heed.memory.used).toBe(used);
    });
    fc.assert(property, { seed: 20261125, numRuns: runs(name === "debug" ? 40 : 150) });
  });

  it.each(["f32", "int8", "q4"] as const)("gives a row the same bits whatever is beside it, of %s", (dtype) => {
    const [rows, inFeatures, outFeatures] = [135, 400, 50];
    const next = uniform(7);
    const x = floats(rows * inFeatures, next);
    const weight = { data: floats(inFeatures * outFeatures, next), shape: [outFeatures, inFeatures] };
    using packed = heed.packLinear(weight, undefined, { dtype });
    const { out } = heed.linear(x, packed);
    if (dtype === "f32") expect(heed.linear(x, weight).out).toEqual(out);
    for (const [from, to] of [
      [0, 1],
      [134, 135],
      [5, 8],
      [100, 135],
    ] as const) {
      const part = x.subarray(from * inFeatures, to * inFeatures);
      expect(heed.linear(part, packed).out).toEqual(out.subarray(from * outFeatures, to * outFeatures));
    }
  });

  it("lets NaN and Infinity in a row stay in that row", () => {
    const x = new Float32Array(5 * 20).fill(1);
    x[2 * 20 + 3] = NaN;
    x[4 * 20 + 19] = Infinity;
    const { out } = heed.linear(x, new Float32Array(20 * 17).fill(2), new Float32Array(17).fill(1));
    out.forEach((value, at) => expect(value).toBe([41, 41, NaN, 41, Infinity][Math.floor(at / 17)]));
  });

  describe("memory", () => {
    it("needs x, out, W and one panel, and no packed copy of W; all of it comes back", () => {
      const own = open();
      const [rows, inFeatures, outFeatures] = [64, 500, 700];
      const before = own.memory.used;
      own.linear(new Float32Array(rows * inFeatures), new Float32Array(inFeatures * outFeatures), undefined, {
        inFeatures,
      });
      const arrays = 4 * (rows * inFeatures + rows * outFeatures + inFeatures * outFeatures);
      const panelAndScratch = 4 * 16 * (inFeatures + 137);
      expect(own.memory.peak - before).toBeLessThanOrEqual(arrays + panelAndScratch + 5 * 80);
      expect(own.memory.used).toBe(before);
    });

    it("copies nothing where everything is resident", () => {
      const own = open();
      using x = own.tensor(64 * 500);
      using out = own.tensor(64 * 700);
      using packed = own.packLinear(new Float32Array(500 * 700), new Float32Array(700));
      expect(packed.bytes).toBe(4 * (704 * 500 + 700));
      const { used, peak } = own.memory;
      own.linear(x, packed, undefined, { out });
      expect(own.memory.peak - Math.max(peak, used)).toBeLessThanOrEqual(4 * 16 * 137 + 80);
    });

    it("that cannot grow is a RangeError after which nothing is left", () => {
      const own = open(2 ** 20);
      const { used } = own.memory;
      const weight = new Float32Array(300 * 1000);
      expect(() => own.linear(new Float32Array(300), weight, undefined, { inFeatures: 300 })).toThrow(RangeError);
      expect(() => own.packLinear(weight.subarray(0, 150_000), undefined, { inFeatures: 300 })).toThrow(RangeError);
      expect(own.memory.used).toBe(used);
      expect(own.linear(Float32Array.of(2), Float32Array.of(3), Float32Array.of(1)).out).toEqual(Float32Array.of(7));
    });
  });

  describe("errors", () => {
    const x = new Float32Array(6);
    const shaped = { data: new Float32Array(6), shape: [3, 2] };
    const bias = new Float32Array(3);
    const packed = heed.packLinear(shaped, bias);
    const gone = heed.packLinear(shaped);
    gone.dispose();
    gone.dispose();
    const tensor = heed.tensor(6);
    const wrong: [string, string, Refusal, unknown[]][] = [
      ["x an array", "x", TypeError, [[1, 2], shaped]],
      ["x that does not divide", "x", RangeError, [new Float32Array(7), shaped]],
      ["no weight", "weight", TypeError, [x, undefined]],
      ["a weight of doubles", "weight", TypeError, [x, new Float64Array(6), bias]],
      ["a weight of unknown shape", "weight", TypeError, [x, shaped.data]],
      ["a weight without floats", "weight", RangeError, [x, new Float32Array(0), bias]],
      ["a weight that does not divide", "weight", RangeError, [x, new Float32Array(7), bias]],
      ["a weight of the wrong length", "weight", RangeError, [x, shaped.data, bias, { inFeatures: 3 }]],
      ["data without shape", "weight.shape", TypeError, [x, { data: shaped.data }]],
      ["data that is no array", "weight.data", TypeError, [x, { data: [1], shape: [1, 1] }]],
      ["a shape that is not that of the data", "weight.data", RangeError, [x, { data: shaped.data, shape: [3, 3] }]],
      ["a shape of one dimension", "weight.shape", RangeError, [x, { data: shaped.data, shape: [6] }]],
      ["a shape beside another size", "weight.shape[1]", RangeError, [x, shaped, undefined, { inFeatures: 3 }]],
      ["a bias of another length", "bias", RangeError, [x, shaped, new Float32Array(2)]],
      ["a bias of doubles", "bias", TypeError, [x, shaped, new Float64Array(3)]],
      ["inFeatures 0", "inFeatures", RangeError, [x, shaped.data, undefined, { inFeatures: 0 }]],
      ["outFeatures a string", "outFeatures", TypeError, [x, shaped.data, undefined, { outFeatures: "3" }]],
      ["transposed a number", "transposed", TypeError, [x, shaped, undefined, { transposed: 1 }]],
      ["out too short", "out", RangeError, [x, shaped, bias, { out: new Float32Array(8) }]],
      ["out an array", "out", TypeError, [x, shaped, bias, { out: [] }]],
      [
        "out in the tensor of x",
        "out",
        RangeError,
        [tensor, new Float32Array(4), undefined, { inFeatures: 2, out: tensor }],
      ],
      ["options null", "options", TypeError, [x, shaped, bias, null]],
      ["transposed beside a packed weight", "transposed", RangeError, [x, packed, undefined, { transposed: false }]],
      ["a second bias", "bias", RangeError, [x, packed, bias]],
      ["a packed weight of another instance", "weight", TypeError, [x, open().packLinear(shaped)]],
      ["a disposed packed weight", "weight", ReferenceError, [x, gone]],
    ];
    it.each(wrong)("%s", (_, title, kind, [given, weight, biasIn, options = {}]) => {
      const { used } = heed.memory;
      const out = new Float32Array(9).fill(7);
      const args = [given, weight, biasIn, options && { out, ...options }];
      const call = () => (heed.linear as (...args: unknown[]) => unknown).apply(heed, args);
      expectRefusal(kind, title, call);
      expect(out).toEqual(new Float32Array(9).fill(7));
      expect(heed.memory.used).toBe(used);
    });

    it("of a disposed handle and of a disposed instance", () => {
      expect(() => gone.bytes).toThrow(ReferenceError);
      const own = open();
      const weight = own.packLinear(shaped);
      own.dispose();
      expect(() => own.linear(x, weight)).toThrow(ReferenceError);
      expect(() => own.packLinear(shaped)).toThrow(ReferenceError);
      weight.dispose();
    });
  });
});
