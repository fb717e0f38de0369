// The number of threads shows in no bit of a result.
import { readFileSync } from "node:fs";
import { type Heed, load } from "heed";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bitsOf } from "../support/bits.ts";
import { halvesOf } from "../support/halves.ts";
import { problemOf, randomBias, randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { loadThreads } from "../support/threads.ts";

const THREADS = [2, 3, 8];

// Each is far above the work from which threads are used.
const sizes = { batch: 2, numHeads: 4, numKvHeads: 2, seqLenQ: 331, seqLenKv: 517, headDim: 40, valueDim: 48 };
const [b, h, m, n] = [2, 4, 331, 517];
const attentionCases = {
  "no option": problemOf(sizes),
  "causal, a window": problemOf(sizes, { causal: true, window: { left: 200, right: 0 } }),
  "softcap, ALiBi, sinks": problemOf(sizes, {
    softcap: 20,
    alibiSlopes: Float32Array.of(0.5, 0.25, 0.125, 0.0625),
    sinks: Float32Array.of(1, -1, 0, 2),
  }),
  "half precision": problemOf(sizes, { causal: true, precision: "half" }),
  "a mask and a bias of every cell": problemOf(sizes, {
    keepMask: randomMask([b, h, m, n]),
    bias: randomBias([b, h, m, n], 0.1),
  }),
  "a mask of each query": problemOf(sizes, { keepMask: randomMask([b, 1, m, 1]) }),
  "padding, queries that begin later": problemOf(sizes, {
    kvLengths: Int32Array.of(517, 300),
    queryOffset: 150,
    causal: true,
  }),
  "one head of many rows": problemOf({ batch: 1, numHeads: 1, seqLenQ: 1030, seqLenKv: 700, headDim: 64 }),
  ...Object.fromEntries(
    [1, 4, 5].map((rest) => [
      `${rest} queries more than whole items`,
      problemOf({ batch: 1, numHeads: 1, seqLenQ: 1024 + rest, seqLenKv: 300, headDim: 64 }),
    ]),
  ),
  "runs and heads beyond the table": problemOf({ batch: 1, numHeads: 5, seqLenQ: 76_801, seqLenKv: 4, headDim: 4 }),
  "more heads than items": problemOf({ batch: 1, numHeads: 300, seqLenQ: 40, seqLenKv: 60, headDim: 16 }),
  "values that are not finite": (() => {
    const problem = problemOf(sizes, { keepMask: randomMask([b, 1, m, n]) });
    problem.v[1000] = Infinity;
    problem.k[777] = NaN;
    return problem;
  })(),
};

/** q, k, v and out of 16 bits. */
const inHalves = (() => {
  const { q, k, v, options } = problemOf(sizes, { bias: randomBias([b, h, m, n], 0.1) });
  const bias = { ...halvesOf(options.bias!.data, "f16"), shape: [b, h, m, n] };
  return { q: halvesOf(q, "bf16"), k: halvesOf(k, "f16"), v: halvesOf(v, "bf16"), options: { ...options, bias } };
})();

describe.each(["simd", "relaxed"] as const)("%s", (variant) => {
  const build = readFileSync(new URL(`../../dist/${variant}.wasm`, import.meta.url));
  describe.skipIf(!WebAssembly.validate(build))("has the same bits on any number of threads", () => {
    let alone: Heed;
    let others: Heed[];
    beforeAll(async () => {
      alone = await load({ variant });
      others = [];
      for (const threads of THREADS) others.push(await loadThreads({ variant, threads }));
    });
    afterAll(() => {
      for (const heed of [alone, ...others]) heed.dispose();
    });

    const expectEqual = (call: (heed: Heed) => object): void => {
      const expected = bitsOf(call(alone));
      for (const [i, heed] of others.entries()) {
        expect(heed.threads, heed.threadsReason).toBe(THREADS[i]);
        const { used } = heed.memory;
        expect(bitsOf(call(heed)), `${heed.threads} threads`).toEqual(expected);
        expect(heed.memory.used).toBe(used);
      }
    };

    it.each(Object.entries(attentionCases))("attention: %s", (_, { q, k, v, options }) => {
      expectEqual((heed) => heed.attention(q, k, v, { ...options, lse: true }));
    });

    it("attention of 16 bits, one query row and many", () => {
      const { q, k, v, options } = inHalves;
      expectEqual((heed) => {
        const out = { data: new Uint16Array(b * m * h * sizes.valueDim), dtype: "bf16" } as const;
        return { out: heed.attention(q, k, v, { ...options, out }).out.data };
      });
      const rows = { ...q, data: q.data.subarray(0, b * h * sizes.headDim) };
      expectEqual((heed) => {
        const out = { data: new Uint16Array(b * h * sizes.valueDim), dtype: "f16" } as const;
        return { out: heed.attention(rows, k, v, { ...options, bias: undefined, out }).out.data };
      });
    });

    it.each([1, 4, 5, 300])("a cache of each dtype, %s new queries", (rows) => {
      const next = uniform(rows);
      const [k, v] = [floats(4000 * 4 * 64, next), floats(4000 * 4 * 64, next)];
      const q = floats(rows * 8 * 64, next);
      for (const dtype of ["f32", "f16", "int8"] as const) {
        expectEqual((heed) => {
          using cache = heed.createKvCache({ numKvHeads: 4, headDim: 64, capacity: 4096, dtype });
          cache.append(k, v);
          return cache.attention(q, { numHeads: 8, causal: true, lse: true });
        });
      }
    });

    it.each([
      [1, 2048, 2500],
      [37, 512, 401],
      [3000, 128, 130],
    ])("linear: %s rows, %s features to %s", (rows, inFeatures, outFeatures) => {
      const next = uniform(rows);
      const [x, weight] = [floats(rows * inFeatures, next), floats(inFeatures * outFeatures, next)];
      const bias = floats(outFeatures, next);
      expectEqual((heed) => {
        using packed = heed.packLinear(weight, bias, { inFeatures, outFeatures });
        return heed.linear(x, packed);
      });
    });

    it.each([
      ["f32", 1, 2048, 2500],
      ["f32", 700, 1200, 401],
      ["int8", 37, 512, 401],
    ] as const)("linear of 16 bits to %s: %s rows, %s features to %s", (dtype, rows, inFeatures, outFeatures) => {
      const next = uniform(rows);
      const bits = (length: number) => {
        const data = Uint16Array.from({ length }, () => Math.floor(1000 * next()) + 0x3b00);
        return { data, dtype: "bf16" } as const;
      };
      const [x, weight, residual] = [bits(rows * inFeatures), bits(inFeatures * outFeatures), bits(rows * outFeatures)];
      expectEqual((heed) => {
        using packed = heed.packLinear(weight, undefined, { inFeatures, dtype });
        using out = heed.tensor(rows * outFeatures, "f16");
        heed.linear(x, packed, undefined, { residual, out });
        const kept = out.data.slice();
        heed.linear(x, weight, undefined, { inFeatures, residual, out });
        return { kept, raw: out.data.slice() };
      });
    });

    it.each([
      ["int8", 1, 2048, 2500, "silu"],
      ["q4", 37, 512, 402, "swiglu"],
      ["int8", 3000, 128, 132, "geglu"],
      ["f32", 300, 300, 402, "geglu-tanh"],
    ] as const)(
      "linear over %s: %s rows, %s features to %s, %s, in place",
      (dtype, rows, inFeatures, outFeatures, activation) => {
        const next = uniform(rows);
        const [x, weight] = [floats(rows * inFeatures, next), floats(inFeatures * outFeatures, next)];
        const [bias, residual] = [floats(outFeatures, next), floats(rows * outFeatures, next)];
        const width = activation.includes("glu") ? outFeatures / 2 : outFeatures;
        expectEqual((heed) => {
          using packed = heed.packLinear(weight, bias, { inFeatures, outFeatures, dtype });
          using out = heed.tensor(rows * width);
          out.data.set(residual.subarray(0, out.length));
          heed.linear(x, packed, undefined, { activation, residual: out, out });
          const raw = dtype === "f32" && heed.linear(x, weight, bias, { activation, inFeatures }).out;
          return { out: out.data.slice(), ...(raw && { raw }) };
        });
      },
    );

    it("a layer", () => {
      const next = uniform(5);
      const weight = () => ({ weight: floats(256 * 256, next), bias: floats(256, next) });
      const weights = { q: weight(), k: weight(), v: weight(), out: weight() };
      const x = floats(2 * 300 * 256, next);
      expectEqual((heed) => {
        using layer = heed.createMultiHeadAttention({ embedDim: 256, numHeads: 4, weights });
        using small = heed.createMultiHeadAttention({ embedDim: 256, numHeads: 4, weights, weightDtype: "int8" });
        const { out: ofSmall } = small.forward(x, { batch: 2, causal: true });
        return { ...layer.forward(x, { batch: 2, causal: true }), ofSmall };
      });
    });
  });
});
