// The functions that may run on threads, on the data of one problem of attention.
import type { Heed } from "heed";
import { halvesOf } from "./halves.ts";
import type { Problem } from "./problems.ts";
import { type Numbers, copies } from "./scenarios/scenario.ts";
import { transposed } from "./linear.ts";

/** Every function over the arrays and the sizes of a problem, with its options where the function has them; by name. */
export function everyCall({ q, k, v, options }: Problem): Record<string, (heed: Heed) => Numbers[]> {
  const { numHeads, numKvHeads = numHeads, headDim, valueDim = headDim, batch = 1, layout } = options;
  const tensorOf = (heed: Heed, array: Float32Array) => {
    const tensor = heed.tensor(array.length);
    tensor.data.set(array);
    return tensor;
  };
  /** Calls with q, k and v as Tensors. */
  const withTensors = (heed: Heed, act: (q: Tensor, k: Tensor, v: Tensor) => object): Numbers[] => {
    const [qIn, kIn, vIn] = [q, k, v].map((array) => tensorOf(heed, array)) as [Tensor, Tensor, Tensor];
    try {
      return copies(act(qIn, kIn, vIn));
    } finally {
      for (const tensor of [qIn, kIn, vIn]) tensor.dispose();
    }
  };
  const rowsQ = q.length / (batch * numHeads * headDim);
  const rows = Array.from({ length: Math.ceil(rowsQ / 2) }, (_, n) => (n * 7) % rowsQ);
  const kinds = {
    all: { entropy: true },
    "some rows": { rows, heads: [numHeads - 1, 0] },
    "topK of some rows": { rows, topK: 3 },
    mean: { reduce: "mean" },
    "topK of the mean": { reduce: "mean", topK: 2, entropy: true },
    keySum: { reduce: "keySum", entropy: true },
    "topK of keySum": { reduce: "keySum", topK: 5 },
    masked: { stage: "masked", rows },
  } as const;
  const calls: Record<string, (heed: Heed) => Numbers[]> = {
    attention: (heed) => copies(heed.attention(q, k, v, { ...options, lse: true })),
    "attention of Tensors": (heed) =>
      withTensors(heed, (q, k, v) => heed.attention(q, k, v, { ...options, lse: true })),
    merge: (heed) => {
      const part = heed.attention(q, k, v, { ...options, lse: true });
      const merged = { numHeads, headDim: valueDim, batch, layout, sinks: options.sinks };
      const [out, lse] = [tensorOf(heed, part.out), tensorOf(heed, part.lse)];
      const tensors = { out: heed.tensor(out.length), lse: heed.tensor(lse.length) };
      const rounded = { data: new Uint16Array(out.length), dtype: "bf16" } as const;
      const results = [
        ...copies(heed.merge([part, { out, lse }, part], merged)),
        ...copies(heed.merge([part, { out, lse }], { ...merged, ...tensors })),
        ...copies(heed.merge([part, { out, lse }], { ...merged, out, lse })),
        ...copies(heed.merge([part, { out: halvesOf(part.out, "f16"), lse }], { ...merged, out: rounded })),
      ];
      for (const tensor of [out, lse, tensors.out, tensors.lse]) tensor.dispose();
      return results;
    },
    linear: (heed) => {
      // The rows of q by those of k as the weight.
      const outFeatures = Math.min(k.length / headDim, 200);
      if (outFeatures === 0) return [];
      const weight = k.subarray(0, outFeatures * headDim);
      const turned = transposed(weight, outFeatures, headDim);
      const bias = weight.slice(0, outFeatures).fill(0.3);
      const sizes = { inFeatures: headDim, outFeatures };
      using packed = heed.packLinear(weight, bias, sizes);
      const halves = { ...halvesOf(weight, "bf16"), shape: [outFeatures, headDim] };
      using packedHalves = heed.packLinear(halves, bias);
      using packedToo = heed.packLinear(turned, undefined, { ...sizes, transposed: true });
      return [
        ...copies(heed.linear(q, packed)),
        ...copies(heed.linear(q, packedToo, bias)),
        ...copies(heed.linear(q, packedHalves)),
        ...copies(heed.linear(halvesOf(q, "f16"), halves, bias)),
        ...copies(heed.linear(q, packed, undefined, { activation: "silu" })),
        ...copies(heed.linear(q, weight, bias, sizes)),
        ...copies(heed.linear(q, turned, undefined, { ...sizes, transposed: true })),
      ];
    },
  };
  for (const [kind, chosen] of Object.entries(kinds)) {
    calls[`attentionWeights, ${kind}`] = (heed) => copies(heed.attentionWeights(q, k, { ...options, ...chosen }));
    calls[`attentionWeights of Tensors, ${kind}`] = (heed) =>
      withTensors(heed, (q, k) => heed.attentionWeights(q, k, { ...options, ...chosen }));
  }
  calls["attentionWeights, with lse"] = (heed) => {
    const { lse } = heed.attention(q, k, v, { ...options, lse: true });
    return copies(heed.attentionWeights(q, k, { ...options, lse }));
  };
  if (options.cuSeqlensQ === undefined) {
    const { kvLengths } = options;
    const settled = { numKvHeads: undefined, headDim: undefined, valueDim: undefined, batch: undefined };
    const asked = { ...options, ...settled, kvLengths: undefined };
    for (const dtype of ["f32", "f16", "int8"] as const) {
      for (const rotary of headDim % 2 === 0 ? [undefined, {}] : [undefined]) {
        calls[`a cache of ${dtype}${rotary ? " with rotary" : ""}`] = (heed) => {
          using cache = heed.createKvCache({ numKvHeads, headDim, valueDim, batch, capacity: 2 ** 15, dtype, rotary });
          cache.append(k, v, { layout, lengths: kvLengths });
          // Masks and bias have room for all keys, and a cache for those of its longest sequence.
          if (cache.length * batch * numKvHeads * headDim < k.length) return [cache.lengths];
          return [
            ...copies(cache.attention(q, { ...asked, lse: true })),
            ...copies(cache.attentionWeights(q, { ...asked, entropy: true })),
            ...copies(cache.attentionWeights(q, { ...asked, reduce: "mean", topK: 1 })),
          ];
        };
      }
    }
  }
  return calls;
}

type Tensor = ReturnType<Heed["tensor"]>;

/** The first array of two results whose bits differ, and where; undefined where none does. */
export function difference(got: Numbers[], expected: Numbers[]): string | undefined {
  if (got.length !== expected.length) return `${got.length} arrays, not ${expected.length}`;
  for (const [n, array] of expected.entries()) {
    const other = got[n]!;
    const [a, b] = [other, array].map(({ buffer, byteOffset, byteLength }) => {
      return new Uint8Array(buffer, byteOffset, byteLength);
    }) as [Uint8Array, Uint8Array];
    if (Buffer.compare(a, b) === 0) continue;
    const at = b.findIndex((byte, i) => byte !== a[i]) >> 2;
    return `array ${n}, element ${at} of ${array.length}: ${other[at]}, not ${array[at]}`;
  }
  return undefined;
}
