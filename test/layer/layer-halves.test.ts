// x, context, weights, biases, sinks, slopes and out of 16 bits: the bits of floats converted first, in a layer.
import fc from "fast-check";
import { expect, it } from "vitest";
import type { MultiHeadWeights } from "../../bindings/layer/options.ts";
import type { FloatRows } from "../../bindings/memory/data.ts";
import { forEachBuild } from "../support/builds.ts";
import {
  type Form,
  bitsOfFloats,
  expectRounded,
  floatsOf,
  forms,
  halvesOf,
  inForm,
  repeated,
  shaped,
} from "../support/halves.ts";
import { type Projection, dimsOf, projectionsOf } from "../support/layer.ts";
import { transposed } from "../support/linear.ts";
import { floats, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

forEachBuild((name, open) => {
  const heed = open();
  const count = (numRuns: number) => runs(name === "debug" ? numRuns / 5 : numRuns);

  it("a layer has the bits of f32", async () => {
    const drawn = fc.record({
      seed: fc.integer(),
      seqLenQ: fc.integer({ min: 1, max: 12 }),
      seqLenKv: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
      embedDim: fc.integer({ min: 1, max: 40 }),
      headDim: fc.integer({ min: 1, max: 12 }).map((n) => 2 * n),
      numKvHeads: fc.integer({ min: 1, max: 2 }),
      weightDtype: fc.constantFrom("f32", "int8", "q4"),
      cached: fc.constantFrom(undefined, "f32", "f16", "int8"),
      /** By tables, or by angles of its own. */
      rotary: fc.oneof(fc.boolean(), forms),
      projected: fc.boolean(),
      biased: fc.boolean(),
      flipped: fc.boolean(),
      weights: fc.boolean(),
      inSteps: fc.boolean(),
      lse: fc.boolean(),
      sinks: fc.option(forms, { nil: undefined }),
      x: forms,
      k: forms,
      v: fc.option(forms, { nil: undefined }),
      w: fc.tuple(forms, forms, forms, forms),
      b: forms,
      out: fc.option(forms, { nil: undefined }),
    });
    const property = fc.asyncProperty(drawn, async (given) => {
      const { used } = heed.memory;
      const { seqLenQ, seqLenKv, embedDim, headDim, numKvHeads, flipped, biased, rotary, cached, inSteps } = given;
      const next = uniform(given.seed);
      const dims = dimsOf({ embedDim, headDim, numKvHeads, numHeads: 2 * numKvHeads, outDim: 9 });
      const ends: (() => void)[] = [];
      const take = (data: Float32Array, form: Form): { rows: FloatRows; floats: Float32Array } => {
        const taken = inForm(heed, data, form);
        ends.push(taken.end);
        return taken;
      };
      const [halfWeights, plainWeights] = [{}, {}] as [Record<string, object>, Record<string, object>];
      const projections: Record<string, Projection> = { ...projectionsOf(dims, next, biased, given.projected) };
      Object.entries(projections).forEach(([key, one], n) => {
        const [outFeatures, inFeatures] = one.weight.shape;
        const data = flipped ? transposed(one.weight.data, outFeatures, inFeatures) : one.weight.data;
        const shape = flipped ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
        const weight = take(data, given.w[n]!);
        const bias = one.bias && take(one.bias, given.b);
        const others = { transposed: flipped };
        halfWeights[key] = { weight: shaped(weight.rows as Float32Array, shape), bias: bias?.rows, ...others };
        plainWeights[key] = { weight: shaped(weight.floats, shape), bias: bias?.floats, ...others };
      });
      const sinks = given.sinks && take(floats(dims.numHeads, next), given.sinks);
      const [cos, sin] = [0, 1].map(() =>
        typeof rotary === "object" ? take(floats(24 * (headDim / 2), next), rotary) : undefined,
      );
      const x = take(floats(seqLenQ * embedDim, next), given.x);
      const k = take(floats((seqLenKv ?? 0) * embedDim, next), given.k);
      const v = given.v && take(floats((seqLenKv ?? 0) * embedDim, next), given.v);

      const run = async (weights: object, of: "rows" | "floats", out?: FloatRows) => {
        const turned = cos && sin ? { cos: cos[of], sin: sin[of] } : rotary === true;
        const form = { ...dims, weightDtype: given.weightDtype, rotary: turned, sinks: sinks?.[of], causal: true };
        using layer = heed.createMultiHeadAttention({ ...form, weights: weights as MultiHeadWeights });
        using cache = cached && layer.createCache({ capacity: 24, dtype: cached });
        const context = seqLenKv === undefined ? undefined : v ? { k: k[of], v: v[of] } : k[of];
        const options = { context, cache, weights: given.weights, lse: given.lse, out } as const;
        if (cache) layer.forward(x[of]);
        return inSteps
          ? await layer.forwardAsync(x[of], { ...options, budgetMs: 1e-3 })
          : layer.forward(x[of], options);
      };
      const expected = await run(plainWeights, "floats");
      const out = given.out && take(new Float32Array((expected.out as Float32Array).length), given.out).rows;
      const got = await run(halfWeights, "rows", out);
      if (out) expect(got.out).toBe(out);
      expectRounded(got.out as Float32Array, expected.out as Float32Array);
      for (const name of ["lse", "weights"] as const) {
        const [one, other] = [got[name], expected[name]] as [Float32Array?, Float32Array?];
        expect(one && bitsOfFloats(one)).toEqual(other && bitsOfFloats(other));
      }
      for (const end of ends) end();
      expect(heed.memory.used).toBe(used);
    });
    await fc.assert(property, { seed: 20261402, numRuns: count(150) });
  });

  it("a layer has the bits of f32 where its rows are many pieces, in steps too", async () => {
    const [rows, embedDim] = [140, 4096];
    const next = uniform(9);
    const x = halvesOf(repeated(rows * embedDim, next), "bf16");
    const square = (outFeatures: number, inFeatures: number) => ({
      weight: { data: floats(outFeatures * inFeatures, next), shape: [outFeatures, inFeatures] },
    });
    const weights = {
      q: square(8, embedDim),
      k: square(8, embedDim),
      v: square(8, embedDim),
      out: square(70, 8),
    };
    using layer = heed.createMultiHeadAttention({ embedDim, numHeads: 1, headDim: 8, outDim: 70, weights });
    const expected = layer.forward(floatsOf(x)).out;
    const out = { data: new Uint16Array(rows * 70), dtype: "f16" } as const;
    expectRounded(layer.forward(x, { out }).out, expected);
    using tensor = heed.tensor(rows * 70, "bf16");
    const fractions: number[] = [];
    const onProgress = (fraction: number): void => void fractions.push(fraction);
    expectRounded((await layer.forwardAsync(x, { out: tensor, budgetMs: 1e-3, onProgress })).out, expected);
    expect(fractions.every((fraction, n) => fraction >= (fractions[n - 1] ?? 0))).toBe(true);
    expect(fractions.at(-1)).toBe(1);
  });

  it("an asynchronous call reads 16 bits of its options before it returns", async () => {
    const next = uniform(11);
    const weights = projectionsOf(dimsOf(), next);
    using layer = heed.createMultiHeadAttention({ ...dimsOf(), weights });
    const x = halvesOf(floats(6 * 24, next), "f16");
    const [data, sinks, alibiSlopes] = [36, 4, 4].map((length) => halvesOf(floats(length, next), "bf16"));
    const options = () => ({ bias: { ...data!, shape: [6, 6] }, sinks: sinks!, alibiSlopes: alibiSlopes! });
    const expected = layer.forward(x, options()).out;
    const later = layer.forwardAsync(x, { ...options(), budgetMs: 1e-3 });
    for (const one of [x, data!, sinks!, alibiSlopes!]) one.data.fill(0x7fc0);
    expect(bitsOfFloats((await later).out)).toEqual(bitsOfFloats(expected));
  });
});
