// One number for each function: a hash of the bits that the simd build gives, which no host and no machine changes.
import type { Heed } from "../../bindings/heed.ts";

export type Numbers = Float32Array | Int32Array | undefined;

/** Numbers from −2 to 2 that are exact in f32 and repeat late. */
export const numbers = (length: number, seed: number) =>
  Float32Array.from({ length }, (_, i) => ((Math.imul(i + 1, 0x9e3779b1 + 2 * seed) >>> 8) % 4097) / 1024 - 2);

const sizes = { numKvHeads: 2, headDim: 24, valueDim: 16, batch: 2 } as const;
const options = {
  ...sizes,
  numHeads: 4,
  causal: true,
  window: { left: 150 },
  softcap: 9,
  alibiSlopes: Float32Array.of(0.5, 0.25, 0.125, 0.0625),
  sinks: numbers(4, 1),
  bias: { data: numbers(200, 2), shape: [200] },
  keepMask: { data: Uint8Array.from({ length: 200 }, (_, i) => Number(i % 7 > 0)), shape: [200] },
  lse: true,
} as const;

/** q of some rows, k and v of 200. */
const operandsOf = (rows: number) =>
  [numbers(2 * rows * 4 * 24, 3), numbers(2 * 200 * 2 * 24, 4), numbers(2 * 200 * 2 * 16, 5)] as const;

function cached(heed: Heed, dtype: "f32" | "f16" | "int8"): Numbers[] {
  const cache = heed.createKvCache({ ...sizes, capacity: 300, dtype, rotary: { base: 500 } });
  const [, k, v] = operandsOf(0);
  cache.append(k, v, { lengths: Int32Array.of(200, 77) });
  const results = [1, 2, 3, 4, 20].map((rows) =>
    cache.attention(numbers(2 * rows * 4 * 24, rows), { numHeads: 4, causal: true, lse: true }),
  );
  cache.dispose();
  return results.flatMap(({ out, lse }) => [out, lse]);
}

const square = (seed: number) => ({ weight: numbers(48 * 48, seed).map((x) => x / 8), bias: numbers(48, seed) });

function layerOf(heed: Heed) {
  const weights = { q: square(6), k: square(7), v: square(8), out: square(9) };
  return heed.createMultiHeadAttention({ embedDim: 48, numHeads: 4, rotary: {}, causal: true, weights });
}

/** What is hashed for each function. */
export const goldenCalls: Record<string, (heed: Heed) => Numbers[] | Promise<Numbers[]>> = {
  attention: (heed) =>
    [70, 5].flatMap((rows) => {
      const { out, lse } = heed.attention(...operandsOf(rows), options);
      return [out, lse];
    }),
  "attention of few rows": (heed) =>
    [1, 2].flatMap((rows) => {
      const { out, lse } = heed.attention(...operandsOf(rows), options);
      return [out, lse];
    }),
  // Large enough for threads: 6.4 million multiply-adds in a sequence.
  "attention of many rows": (heed) => {
    const { out, lse } = heed.attention(...operandsOf(200), options);
    return [out, lse];
  },
  "attention at half precision": (heed) => {
    const { out, lse } = heed.attention(...operandsOf(70), { ...options, precision: "half" });
    return [out, lse];
  },
  attentionAsync: async (heed) => {
    const { out, lse } = await heed.attentionAsync(...operandsOf(70), options);
    return [out, lse];
  },
  "attentionAsync of many rows": async (heed) => {
    const { out, lse } = await heed.attentionAsync(...operandsOf(200), options);
    return [out, lse];
  },
  // Their keys are split in three.
  "attention of few rows over many keys": (heed) => {
    const few = {
      numHeads: 4,
      numKvHeads: 2,
      headDim: 24,
      valueDim: 16,
      causal: true,
      sinks: numbers(4, 1),
      lse: true,
    };
    const { out, lse } = heed.attention(numbers(4 * 24, 3), numbers(5000 * 2 * 24, 4), numbers(5000 * 2 * 16, 5), few);
    return [out, lse];
  },
  "a cache of f32": (heed) => cached(heed, "f32"),
  "a cache of f16": (heed) => cached(heed, "f16"),
  "a cache of int8": (heed) => cached(heed, "int8"),
  attentionWeights: (heed) => {
    const [q, k] = operandsOf(9);
    const scores = { ...options, lse: undefined };
    const [all, mean, sum, top] = [
      heed.attentionWeights(q, k, { ...scores, entropy: true }),
      heed.attentionWeights(q, k, { ...scores, reduce: "mean" }),
      heed.attentionWeights(q, k, { ...scores, reduce: "keySum" }),
      heed.attentionWeights(q, k, { ...scores, topK: 5 }),
    ];
    return [all.weights, all.entropy, mean.weights, sum.weights, top.weights, top.indices];
  },
  merge: (heed) => {
    const parts = [0, 1, 2].map((part) => ({ out: numbers(9 * 4 * 16, part), lse: numbers(4 * 9, part + 3) }));
    const { out, lse } = heed.merge(parts, { numHeads: 4, valueDim: 16, sinks: numbers(4, 1), lse: true });
    return [out, lse];
  },
  rotary: (heed) =>
    [false, true].map((interleaved) => heed.rotary(numbers(50 * 48, 1), { numHeads: 2, headDim: 24, interleaved }).out),
  "rotary by frequencies and sections": (heed) => {
    const frequencies = Float64Array.from({ length: 12 }, (_, j) => (j % 2 ? -7 : 1) / (j + 1));
    const positions = Int32Array.from({ length: 3 * 50 }, (_, n) => (n * 2654435761) >> (n % 31));
    const form = { frequencies, attentionScale: 1.3465735902799727, sections: [5, 4, 3], positions };
    return [false, true].map(
      (sectionsInterleaved) =>
        heed.rotary(numbers(50 * 48, 1), { numHeads: 2, headDim: 24, ...form, sectionsInterleaved }).out,
    );
  },
  linear: (heed) => {
    const packed = heed.packLinear(square(1).weight, square(1).bias, { inFeatures: 48 });
    const many = heed.linear(numbers(7 * 48, 2), packed);
    const one = heed.linear(numbers(48, 3), square(4).weight, undefined, { inFeatures: 48 });
    packed.dispose();
    return [many.out, one.out];
  },
  "linear over int8 and int4": (heed) =>
    (["int8", "q4"] as const).flatMap((dtype) => {
      const packed = heed.packLinear(square(1).weight, square(1).bias, { inFeatures: 48, dtype });
      const many = heed.linear(numbers(7 * 48, 2), packed, undefined, { activation: "gelu" });
      const one = heed.linear(numbers(48, 3), packed, undefined, { activation: "swiglu", residual: numbers(24, 4) });
      packed.dispose();
      return [many.out, one.out];
    }),
  "linear with activations": (heed) =>
    (["relu", "silu", "gelu", "gelu-tanh", "swiglu", "geglu", "geglu-tanh"] as const).map(
      (activation) => heed.linear(numbers(7 * 48, 2), square(1).weight, square(1).bias, { activation }).out,
    ),
  "a layer": (heed) => {
    const layer = layerOf(heed);
    const { out, weights } = layer.forward(numbers(30 * 48, 3), { weights: true });
    layer.dispose();
    return [out, weights];
  },
  forwardAsync: async (heed) => {
    const layer = layerOf(heed);
    const cache = layer.createCache({ capacity: 40 });
    const { out } = await layer.forwardAsync(numbers(30 * 48, 3), { cache });
    layer.dispose();
    cache.dispose();
    return [out];
  },
};

/** A hash of the bits of some arrays. */
export function hashOf(arrays: readonly Numbers[]): number {
  let hash = 0;
  for (const array of arrays) {
    if (!array) continue;
    for (const bits of new Int32Array(array.buffer, array.byteOffset, array.length))
      hash = (Math.imul(hash, 31) + bits) | 0;
  }
  return hash;
}

/** The hashes of the simd build. Where a change of bits is meant, CHANGELOG.md says so. */
export const goldenHashes: Record<string, number> = {
  attention: 167496515,
  "attention of few rows": 1865560468,
  "attention of many rows": -18837107,
  "attention at half precision": 2084213224,
  attentionAsync: -1338606811,
  "attentionAsync of many rows": -18837107,
  "attention of few rows over many keys": 1564431974,
  "a cache of f32": 2041881919,
  "a cache of f16": -1237379323,
  "a cache of int8": -1599779556,
  attentionWeights: 1808547806,
  merge: -860472285,
  rotary: 274332814,
  "rotary by frequencies and sections": -1311649558,
  linear: 1170520576,
  "linear over int8 and int4": -688149558,
  "linear with activations": 938356202,
  "a layer": -332395419,
  forwardAsync: -1090491766,
};
