// RMSNorm, LayerNorm and rows of length 1 against f64, for any shape and with a residual.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type PlainNorm, normReference } from "../support/blocks.ts";
import { ULP, largest, maxError } from "../support/budget.ts";
import { blocksOf, forEachBuild } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

const shapes = fc.record({
  seed: fc.integer(),
  kind: fc.constantFrom("rms", "layer", "l2"),
  rows: fc.integer({ min: 0, max: 5 }),
  dim: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(384, 767, 768, 1025)),
  eps: fc.constantFrom(1e-12, 1e-6, 1e-5, 0.1),
  mean: fc.constantFrom(0, 0, 3, -100),
  size: fc.constantFrom(1, 1e-3, 300),
  hasResidual: fc.boolean(),
  hasWeight: fc.boolean(),
  hasBias: fc.boolean(),
  unitOffset: fc.boolean(),
});

forEachBuild((name, open) => {
  const heed = open();
  const blocks = blocksOf(heed);

  const compute = (x: Float32Array, { kind, dim, eps, residual, weight, bias, offset }: PlainNorm): Float32Array => {
    if (kind === "l2") return blocks.l2Normalize(x, { dim, eps }).out;
    const given = { dim, eps, residual: residual as Float32Array, weight: weight as Float32Array };
    return kind === "rms"
      ? blocks.rmsNorm(x, { ...given, ...(weight && { unitOffset: offset === 1 }) }).out
      : blocks.layerNorm(x, { ...given, bias: bias as Float32Array }).out;
  };

  it("are within twice the error of plain f32, for any shape", () => {
    const property = fc.property(shapes, (given) => {
      const { seed, kind, rows, dim, eps, mean, size } = given;
      const next = uniform(seed);
      const numbers = (length: number) => floats(length, next).map((value) => Math.fround(size * (value + mean)));
      const x = numbers(rows * dim);
      const isNorm = kind !== "l2";
      const norm: PlainNorm = {
        kind,
        dim,
        eps,
        residual: isNorm && given.hasResidual ? numbers(rows * dim) : undefined,
        weight: isNorm && given.hasWeight ? floats(dim, next) : undefined,
        bias: kind === "layer" && given.hasBias ? floats(dim, next) : undefined,
        offset: kind === "rms" && given.hasWeight && given.unitOffset ? 1 : 0,
      };
      const { used } = heed.memory;
      const got = compute(x, norm);
      expect(heed.memory.used).toBe(used);
      const exact = normReference(x, norm);
      const naive = normReference(x, norm, Math.fround);
      // Where plain f32 is exact by luck: what rounds in any implementation. Of x + residual half an ulp, which is
      // divided by the deviation as the rest is; then the centred value, the quotient, the weight, both products, the sum.
      const factors = normReference(x, { ...norm, weight: undefined, bias: undefined });
      const most = largest(norm.weight ?? [1]) + (norm.offset ?? 0);
      const floor = 3 * ULP * (largest(factors) * most + largest(norm.bias ?? []));
      const sums = norm.residual ? x.map((value, n) => value + norm.residual![n]!) : [];
      const divided = ULP * most * largest(sums) * largestScale(x, norm);
      expect(maxError(got, exact)).toBeLessThanOrEqual(Math.max(2 * maxError(naive, exact), floor + divided));
    });
    fc.assert(property, { seed: 20261128, numRuns: runs(name === "debug" ? 100 : 400) });
  });

  it.each(["rms", "layer", "l2"] as const)("%s: squares beyond the range of floats do not overflow", (kind) => {
    const x = Float32Array.of(3e30, -4e30, 3e30, 4e30, 3e-30, -4e-30, 3e-30, 4e-30);
    const norm: PlainNorm = { kind, dim: 4, eps: 1e-37 };
    const exact = normReference(x, norm);
    expect(maxError(compute(x, norm).subarray(0, 4), exact.subarray(0, 4))).toBeLessThanOrEqual(2 * ULP);
    expect(maxError(compute(x, norm), exact)).toBeLessThanOrEqual(2 * ULP);
  });

  it("LayerNorm of a constant row is the bias, however small eps is", () => {
    for (const value of [0.1, -1000.7, 3e38]) {
      for (const dim of [1, 3, 768]) {
        const bias = floats(dim, uniform(1));
        const { out } = blocks.layerNorm(new Float32Array(dim).fill(value), { dim, bias, eps: 1e-30 });
        expect(out).toEqual(bias);
      }
    }
  });

  it("LayerNorm keeps a deviation that is small beside the mean", () => {
    const dim = 512;
    const x = Float32Array.from({ length: dim }, (_, n) => 4096 + (n % 2 === 0 ? -1 : 1) / 2048);
    const { out } = blocks.layerNorm(x, { dim, eps: 1e-12 });
    const exact = normReference(x, { kind: "layer", dim, eps: 1e-12 });
    expect(maxError(out, exact)).toBeLessThanOrEqual(2 * ULP);
  });

  describe("with a residual", () => {
    const next = uniform(8);
    const [rows, dim] = [3, 21];
    const [x, residual] = [floats(rows * dim, next), floats(rows * dim, next)];
    const weight = floats(dim, next);
    const sums = x.map((value, n) => Math.fround(value + residual[n]!));

    it.each(["rmsNorm", "layerNorm"] as const)("%s is the norm of the sum, which it gives on request", (method) => {
      const { out } = blocks[method](sums, { weight });
      const fused = blocks[method](x, { weight, residual, sum: true });
      expect(fused.out).toEqual(out);
      expect(fused.sum).toEqual(sums);
      expect(blocks[method](x, { weight, residual })).toEqual({ out });
      expect(blocks[method](x, { weight, residual, sum: false })).toEqual({ out });
    });

    it.each(["rmsNorm", "layerNorm"] as const)("%s writes over its inputs where it is told to", (method) => {
      const { out } = blocks[method](sums, { weight });
      const places = ["out x, sum residual", "out residual, sum x", "out x", "out residual", "sum x", "sum residual"];
      for (const place of places) {
        using xIn = heed.tensor(x.length);
        using residualIn = heed.tensor(x.length);
        xIn.data.set(x);
        residualIn.data.set(residual);
        const tensors = { x: xIn, residual: residualIn };
        const target = (name: string) =>
          (tensors as Partial<Record<string, typeof xIn>>)[new RegExp(`${name} (\\w+)`).exec(place)?.[1] ?? ""];
        const [outIn, sumIn] = [target("out"), target("sum")];
        const got = blocks[method](xIn, {
          weight,
          residual: residualIn,
          out: outIn ?? new Float32Array(x.length),
          sum: sumIn ?? true,
        });
        expect(got.out instanceof Float32Array ? got.out : got.out.data, place).toEqual(out);
        expect(got.sum instanceof Float32Array ? got.sum : got.sum.data, place).toEqual(sums);
      }
    });
  });

  it("lets NaN and Infinity in a row stay in that row, and be what IEEE makes of them", () => {
    const dim = 5;
    const x = Float32Array.from({ length: 4 * dim }, (_, n) => n % 3);
    x[dim + 2] = NaN;
    x[2 * dim + 4] = Infinity;
    const clean = x.map((value) => (Number.isFinite(value) ? value : 1));
    for (const kind of ["rms", "layer", "l2"] as const) {
      const norm: PlainNorm = { kind, dim, eps: 1e-6 };
      const got = compute(x, norm);
      const expected = compute(clean, norm);
      for (const row of [0, 3]) {
        expect(got.subarray(row * dim, (row + 1) * dim)).toEqual(expected.subarray(row * dim, (row + 1) * dim));
      }
      expect([...got.subarray(dim, 2 * dim)].every(Number.isNaN)).toBe(true);
      // Infinity / Infinity is NaN, and the others are divided by Infinity; from a mean of Infinity all are NaN.
      const rest = [...got.subarray(2 * dim, 3 * dim - 1)];
      expect(rest.every((value) => (kind === "layer" ? Number.isNaN(value) : value === 0))).toBe(true);
      expect(got[3 * dim - 1]).toBeNaN();
    }
  });
});

/** The largest number that any row is multiplied by. */
function largestScale(x: Float32Array, norm: PlainNorm): number {
  let most = 0;
  for (let at = 0; at < x.length; at += norm.dim) {
    const row = x.subarray(at, at + norm.dim).map((value, n) => value + (norm.residual?.[at + n] ?? 0));
    const mean = norm.kind === "layer" ? row.reduce((a, b) => a + b, 0) / norm.dim : 0;
    const squares = row.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    most = Math.max(most, 1 / Math.sqrt(squares / norm.dim + norm.eps));
  }
  return most;
}
