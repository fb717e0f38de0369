// The whole layer: its weights, and the cache that it appends to.
import type { Heed } from "../../../bindings/heed.ts";
import { halvesOf } from "../halves.ts";
import { type Projection, dimsOf, projectionsOf } from "../layer.ts";
import { uniform } from "../random.ts";
import { type Scenarios, copies, random, randomTensor, stateless } from "./scenario.ts";

const dims = dimsOf({ embedDim: 24, numHeads: 4, numKvHeads: 2, headDim: 8, outDim: 20 });
const weights = projectionsOf(dims, uniform(1));
const halfWeights = Object.fromEntries(
  Object.entries(weights).map(([name, { weight, bias }]: [string, Projection]) => [
    name,
    { weight: { ...halvesOf(weight.data, "bf16"), shape: weight.shape }, bias: halvesOf(bias!, "f16") },
  ]),
);
const others = projectionsOf(dims, uniform(2));
const tables = { cos: random(400 * 4, 3), sin: random(400 * 4, 4) };
const x = random(2 * 5 * 24, 5);

const make = (heed: Heed, more: object = {}) => heed.createMultiHeadAttention({ ...dims, weights, ...more });

export const layers: Scenarios = {
  "create a layer": (heed) =>
    stateless(() => {
      using layer = make(heed);
      return copies(layer.forward(x, { batch: 2 }));
    }),
  "create a layer with rotary tables": (heed) =>
    stateless(() => {
      using layer = make(heed, { rotary: tables });
      return copies(layer.forward(x, { batch: 2, causal: true }));
    }),
  "create a layer with weights in int8": (heed) =>
    stateless(() => {
      using layer = make(heed, { weightDtype: "int8" });
      return copies(layer.forward(x, { batch: 2 }));
    }),
  "create a layer of 16 bits": (heed) => {
    const given = { out: halvesOf(random(2 * 5 * 20, 6), "f16"), context: halvesOf(random(2 * 9 * 24, 8), "bf16") };
    return {
      act: () => {
        using layer = make(heed, { weights: halfWeights, weightDtype: "int8" });
        return copies(layer.forward(halvesOf(x, "f16"), { batch: 2, ...given }));
      },
      state: () => copies({ out: given.out.data }),
    };
  },
  setWeights: (heed) => {
    const layer = make(heed, { rotary: tables });
    return { act: () => (layer.setWeights(others), []), state: () => copies(layer.forward(x)) };
  },
  "setWeights, the first": (heed) => {
    const layer = heed.createMultiHeadAttention({ ...dims, rotary: true });
    return { act: () => (layer.setWeights(weights), []), state: () => [Int32Array.of(layer.bytes)] };
  },
  forward: (heed) => {
    const layer = make(heed, { rotary: true, causal: true });
    const given = { out: random(2 * 5 * 20, 6), lse: random(40, 7) };
    return {
      act: () => copies(layer.forward(x, { batch: 2, ...given, weights: { reduce: "mean", topK: 2, entropy: true } })),
      state: () => copies(given),
    };
  },
  "forward into Tensors": (heed) => {
    const layer = make(heed, { rotary: tables });
    const rows = randomTensor(heed, x.length, 5);
    const given = { out: randomTensor(heed, 2 * 5 * 20, 6), lse: randomTensor(heed, 40, 7) };
    const context = random(2 * 9 * 24, 8);
    return {
      act: () => copies(layer.forward(rows, { batch: 2, ...given, context, weights: true })),
      state: () => copies(given),
    };
  },
};

for (const [name, cacheOptions, more] of [
  ["with a cache", {}, {}],
  ["with an int8 cache and rotary", { dtype: "int8" }, { rotary: tables }],
  ["with a cache that rotates, and a window", { window: 30, rotary: {} }, {}],
] as const) {
  layers[`forward ${name}`] = (heed) => {
    const layer = make(heed, { causal: true, ...more });
    const cache = layer.createCache({ batch: 2, capacity: 400, ...cacheOptions });
    layer.forward(random(2 * 126 * 24, 9), { cache });
    const query = random(2 * 32, 10);
    const given = { out: random(2 * 5 * 20, 6) };
    return {
      act: () => copies(layer.forward(x, { cache, ...given, weights: { rows: [4], reduce: "mean" } })),
      state: () => [
        ...copies(given),
        Int32Array.of(cache.bytes, ...cache.lengths),
        ...copies(cache.attention(query, { numHeads: 4, causal: true, lse: true })),
      ],
    };
  };
}
