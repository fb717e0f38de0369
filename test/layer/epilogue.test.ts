// What heed.linear does behind the product: activations, gates and a residual.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Activation } from "../../bindings/layer/epilogue.ts";
import type { LinearOptions } from "../../bindings/layer/linear.ts";
import type { Rows } from "../../bindings/memory/output.ts";
import { activationReference, epilogueReference } from "../support/activations.ts";
import { ULP, largest, maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { linearReference } from "../support/linear.ts";
import { floats, uniform } from "../support/random.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";
import { runs } from "../support/sweep.ts";

const ACTIVATIONS: Activation[] = ["relu", "silu", "gelu", "gelu-tanh", "swiglu", "geglu", "geglu-tanh"];
const isGate = (name: Activation | undefined): boolean => name?.includes("glu") ?? false;

forEachBuild((name, open) => {
  const heed = open();

  /** act(x) of single values: the product with 1. */
  const act = (activation: Activation, x: ArrayLike<number>): Float32Array =>
    heed.linear(Float32Array.from(x), Float32Array.of(1), undefined, { inFeatures: 1, activation }).out;

  it("is act(x·Wᵀ + bias) + residual for any shape", () => {
    const size = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(16, 17, 33));
    const shapes = fc.record({
      seed: fc.integer(),
      rows: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constantFrom(131, 133)),
      inFeatures: size,
      features: size,
      activation: fc.constantFrom(undefined, ...ACTIVATIONS),
      biased: fc.boolean(),
      packed: fc.boolean(),
      residualIn: fc.constantFrom("none", "array", "tensor", "out", "out, a tensor"),
    });
    const property = fc.property(shapes, (given) => {
      const { seed, rows, inFeatures, features, activation, biased, packed, residualIn } = given;
      const next = uniform(seed);
      const { used } = heed.memory;
      const outFeatures = isGate(activation) ? 2 * features : features;
      const x = floats(rows * inFeatures, next);
      const weight = floats(outFeatures * inFeatures, next);
      const bias = biased ? floats(outFeatures, next) : undefined;
      const added = residualIn === "none" ? undefined : floats(rows * features, next);
      const tensor = heed.tensor(rows * features);
      if (added) tensor.data.set(added);
      const isTensor = residualIn.includes("tensor");
      const residual = added && (isTensor ? tensor : added.slice());
      const out = residualIn.startsWith("out") ? residual : undefined;
      const shaped = { data: weight, shape: [outFeatures, inFeatures] };
      const form = packed ? heed.packLinear(shaped, bias) : shaped;
      const options = { activation, residual, out } as LinearOptions<Rows | undefined>;
      const got = heed.linear(x, form, packed ? undefined : bias, options).out;
      if (out) expect(got).toBe(out);
      const plain = { weight, bias, inFeatures, outFeatures };
      const exact = epilogueReference(linearReference(x, plain), outFeatures, activation, added);
      const f32 = linearReference(x, plain, Math.fround);
      const naive = epilogueReference(f32, outFeatures, activation, added, Math.fround);
      // Of few sums plain f32 may be exact by luck: then what the last operations must round.
      const floor = 2 * ULP * Math.max(largest(exact), largest(linearReference(x, plain)));
      const result = got instanceof Float32Array ? got : got.data;
      expect(maxError(result, exact)).toBeLessThanOrEqual(Math.max(2 * maxError(naive, exact), floor));
      if ("dispose" in form) form.dispose();
      tensor.dispose();
      expect(heed.memory.used).toBe(used);
    });
    fc.assert(property, { seed: 20261128, numRuns: runs(name === "debug" ? 60 : 200) });
  });

  it("gives a row the same bits beside any other rows, in place or not", () => {
    const next = uniform(3);
    const [rows, inFeatures, features] = [135, 70, 40];
    const x = floats(rows * inFeatures, next);
    const residual = floats(rows * features, next);
    for (const dtype of ["f32", "int8", "q4"] as const) {
      for (const activation of ACTIVATIONS) {
        const outFeatures = isGate(activation) ? 2 * features : features;
        const shape = [outFeatures, inFeatures];
        using packed = heed.packLinear({ data: floats(outFeatures * inFeatures, next), shape }, undefined, { dtype });
        const { out } = heed.linear(x, packed, undefined, { activation, residual });
        using inPlace = heed.tensor(residual.length);
        inPlace.data.set(residual);
        heed.linear(x, packed, undefined, { activation, residual: inPlace, out: inPlace });
        expect(inPlace.data).toEqual(out);
        for (const [from, to] of [
          [0, 1],
          [7, 9],
          [130, 135],
        ] as const) {
          const part = heed.linear(x.subarray(from * inFeatures, to * inFeatures), packed, undefined, {
            activation,
            residual: residual.subarray(from * features, to * features),
          });
          expect(part.out).toEqual(out.subarray(from * features, to * features));
        }
      }
    }
  });

  describe("activations", () => {
    const xs = Float32Array.from({ length: 24_001 }, (_, n) => (n - 12_000) / 1000);

    it("GELU is within 2⁻²²·|x|, and from −2 to 0 within 1e-6 of itself", () => {
      const got = act("gelu", xs);
      xs.forEach((x, n) => {
        const exact = activationReference("gelu", x);
        expect(Math.abs(got[n]! - exact)).toBeLessThanOrEqual(2 ** -22 * Math.abs(x));
        if (x >= -2 && x < 0) expect(Math.abs(got[n]! - exact)).toBeLessThanOrEqual(1e-6 * Math.abs(exact));
      });
    });

    it.each(["silu", "gelu-tanh"] as const)("%s is within 3 ulp of |x|", (activation) => {
      const got = act(activation, xs);
      xs.forEach((x, n) => {
        const error = Math.abs(got[n]! - activationReference(activation, x));
        expect(error).toBeLessThanOrEqual(3 * 2 ** -23 * Math.abs(x));
      });
    });

    it("are x far above 0 and 0 far below, exactly 0 at 0, and NaN for NaN", () => {
      for (const activation of ["relu", "silu", "gelu", "gelu-tanh"] as const) {
        const got = act(activation, [0, 20, 1e30, Infinity, -120, -1e30, NaN, 3e-42, -3e38]);
        expect([...got.subarray(0, 4)], activation).toEqual([0, 20, Math.fround(1e30), Infinity]);
        for (const value of [got[4]!, got[5]!, got[8]!]) expect(value + 0).toBeCloseTo(0, 30);
        expect(got[6]).toBeNaN();
        expect(Math.abs(got[7]!)).toBeLessThan(4e-42);
      }
      expect(act("relu", [-Infinity])[0]).toBe(0);
      expect(act("gelu", [-Infinity])[0]).toBe(0);
      // x / (1 + e^−x) is ∞/∞, as in IEEE.
      expect(act("silu", [-Infinity])[0]).toBeNaN();
      expect(act("gelu-tanh", [-Infinity])[0]).toBeNaN();
    });
  });

  it("copies nothing but the panels of a weight that is a gate and not packed", () => {
    const own = open();
    using x = own.tensor(30 * 50);
    using out = own.tensor(30 * 40);
    using weight = own.tensor(80 * 50);
    using packed = own.packLinear({ data: weight, shape: [80, 50] });
    const scratch = 2 * 64 * 137 + 80;
    const { used } = own.memory;
    own.linear(x, packed, undefined, { activation: "swiglu", out, residual: out });
    expect(own.memory.peak - used).toBeLessThanOrEqual(Math.max(scratch, 4 * 80 * 50));
    own.linear(x, { data: weight, shape: [80, 50] }, undefined, { activation: "swiglu", out, residual: out });
    expect(own.memory.peak - used).toBeLessThanOrEqual(scratch + 4 * 80 * 50 + 80);
    expect(own.memory.used).toBe(used);
  });

  describe("errors", () => {
    const x = new Float32Array(6);
    const weight = { data: new Float32Array(6), shape: [3, 2] };
    const tensor = heed.tensor(12);
    const wrong: [string, string, Refusal, object][] = [
      ["an activation that is none", "activation", RangeError, { activation: "mish" }],
      ["an activation that is no string", "activation", TypeError, { activation: 1 }],
      ["a gate of three features", "weight", RangeError, { activation: "swiglu" }],
      ["a residual too short", "residual", RangeError, { residual: new Float32Array(8) }],
      ["a residual of doubles", "residual", TypeError, { residual: new Float64Array(9) }],
      [
        "out over a part of residual",
        "out",
        RangeError,
        { out: heed.tensor(9), residual: tensor.data.subarray(0, 9), part: true },
      ],
      ["a dtype", "dtype", TypeError, { dtype: "int8" }],
    ];
    it.each(wrong)("%s", (_, title, kind, options) => {
      const { used } = heed.memory;
      const given = { ...options } as Record<string, unknown>;
      if (given["part"]) {
        delete given["part"];
        const out = given["out"] as typeof tensor;
        // A view of the out tensor's own memory, a float further.
        given["residual"] = new Float32Array(out.data.buffer, out.data.byteOffset + 4, 9);
      }
      const call = () => (heed.linear as (...args: unknown[]) => unknown).call(heed, x, weight, undefined, given);
      expectRefusal(kind, title, call);
      expect(heed.memory.used).toBe(used);
    });
  });
});
