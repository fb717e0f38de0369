// The functions of an instance that keep nothing.
import { halvesOf } from "../halves.ts";
import { randomBias, randomMask } from "../problems.ts";
import { type Scenarios, copies, random, randomTensor, stateless } from "./scenario.ts";

const heads = { numHeads: 4, headDim: 16 };
const grouped = { ...heads, numKvHeads: 2 };
/** Two batch entries of seven queries and 140 keys. */
const [q, k, v] = [random(2 * 7 * 64, 1), random(2 * 140 * 32, 2), random(2 * 140 * 32, 3)];
const everyOption = {
  ...grouped,
  batch: 2,
  causal: true,
  window: { left: 60 },
  softcap: 9,
  alibiSlopes: random(4, 4),
  sinks: random(4, 5),
  bias: randomBias([2, 1, 7, 140], 0.1),
  keepMask: randomMask([4, 7, 140]),
};
const packed = { ...grouped, cuSeqlensQ: Int32Array.of(0, 5, 14), cuSeqlensKv: Int32Array.of(0, 200, 280) };
const chosen = { ...grouped, batch: 2, rows: [0, 3, 6], heads: [0, 1, 3] };
const parts = [6, 7, 8].map((seed) => ({ out: random(5 * 64, seed), lse: random(20, seed + 3) }));
const tables = { cos: random(40 * 8, 9), sin: random(40 * 8, 10) };
export const calls: Scenarios = {
  tensor: (heed) =>
    stateless(() => {
      using tensor = heed.tensor(1000);
      return [tensor.data.slice()];
    }),

  attention: (heed) => stateless(() => copies(heed.attention(q, k, v, { ...everyOption, lse: true }))),
  "attention in 16 bits": (heed) => {
    const bias = { ...halvesOf(everyOption.bias.data, "f16"), shape: everyOption.bias.shape };
    const out = halvesOf(random(q.length, 11), "bf16");
    const rows = [halvesOf(q, "f16"), halvesOf(k, "bf16"), halvesOf(v, "f16")] as const;
    return {
      act: () => {
        // One query goes through the kernels of decoding.
        const one = { ...rows[0], data: rows[0].data.subarray(0, 128) };
        const { out: few } = heed.attention(one, rows[1], rows[2], { ...grouped, batch: 2 });
        const { weights } = heed.attentionWeights(rows[0], rows[1], { ...chosen });
        // Last, since it alone writes what the caller keeps.
        heed.attention(...rows, { ...everyOption, bias, out });
        return [out.data.slice(), few.slice(), weights.slice()];
      },
      state: () => [out.data.slice()],
    };
  },
  "attention, outputs given": (heed) => {
    const given = { out: random(q.length, 11), lse: random(56, 12) };
    return {
      act: () => copies(heed.attention(q, k, v, { ...everyOption, ...given })),
      state: () => copies(given),
    };
  },
  "attention of Tensors": (heed) => {
    const [qIn, kIn, vIn] = [q, k, v].map(({ length }, n) => randomTensor(heed, length, n + 1));
    const given = { out: randomTensor(heed, q.length, 11), lse: randomTensor(heed, 56, 12) };
    return {
      act: () => copies(heed.attention(qIn!, kIn!, vIn!, { ...grouped, batch: 2, ...given })),
      state: () => copies(given),
    };
  },
  "attention, packed": (heed) =>
    stateless(() => copies(heed.attention(q, k, v, { ...packed, causal: true, lse: true }))),
  "attention of a token": (heed) => stateless(() => copies(heed.attention(q.subarray(0, 64), k, v, grouped))),
  "attention, K and V in pieces": (heed) => {
    const [kLong, vLong] = [random(1100 * 64, 2), random(1100 * 64, 3)];
    const options = { numHeads: 2, headDim: 64, numKvHeads: 1, causal: true, lse: true };
    return stateless(() => copies(heed.attention(q.subarray(0, 256), kLong, vLong, options)));
  },
  "attention, K and V in pieces, of 32 queries": (heed) => {
    const [kLong, vLong] = [random(540 * 128, 2), random(540 * 128, 3)];
    const options = { numHeads: 2, headDim: 64, causal: true, lse: true };
    return stateless(() => copies(heed.attention(random(32 * 128), kLong, vLong, options)));
  },
  "attention of a token over split keys": (heed) => {
    const [kLong, vLong] = [randomTensor(heed, 2060 * 16, 2), randomTensor(heed, 2060 * 16, 3)];
    const options = { numHeads: 2, headDim: 8, layout: "bhld", sinks: random(2, 5), lse: true } as const;
    return stateless(() => copies(heed.attention(q.subarray(0, 32), kLong, vLong, options)));
  },
  "attention of packed tokens over split keys": (heed) => {
    const cuSeqlensKv = Int32Array.of(0, 2060, 4180);
    const [kLong, vLong] = [random(4180 * 8, 2), random(4180 * 8, 3)];
    const lengths = { cuSeqlensQ: Int32Array.of(0, 1, 3), cuSeqlensKv };
    const options = { numHeads: 2, numKvHeads: 1, headDim: 8, layout: "bhld", lse: true, ...lengths } as const;
    return stateless(() => copies(heed.attention(q.subarray(0, 48), kLong, vLong, options)));
  },
  "attention at half precision": (heed) => {
    const values = v.slice();
    values[140 * 32 + 5] = NaN;
    const options = { ...everyOption, precision: "half", lse: true } as const;
    return stateless(() => copies(heed.attention(q, k, values, options)));
  },
  "attention at half precision, K and V in pieces": (heed) => {
    const [qLong, kLong, vLong] = [random(24 * 32, 21), random(2600 * 64, 22), random(2600 * 64, 23)];
    vLong[2500 * 64] = Infinity;
    const options = { numHeads: 2, headDim: 16, numKvHeads: 2, precision: "half" } as const;
    const shape = { ...options, window: { left: 2590 }, causal: true };
    return stateless(() =>
      copies(heed.attention(qLong, kLong.subarray(0, 2600 * 32), vLong.subarray(0, 2600 * 32), shape)),
    );
  },
  "attention, odd sizes, NaN behind a mask": (heed) => {
    const values = random(9 * 5, 3);
    values[3 * 5] = NaN;
    const keepMask = { data: Uint8Array.of(1, 1, 1, 0, 1, 1, 0, 1, 1), shape: [9] };
    const options = { numHeads: 1, headDim: 3, valueDim: 5, keepMask, layout: "bhld" as const };
    return stateless(() => copies(heed.attention(random(6 * 3), random(9 * 3, 2), values, options)));
  },

  attentionWeights: (heed) => {
    const { lse } = heed.attention(q, k, v, { ...everyOption, lse: true });
    const given = { weights: random(2 * 9 * 140, 13), entropy: random(18, 14) };
    return {
      act: () => copies(heed.attentionWeights(q, k, { ...everyOption, ...chosen, lse, ...given })),
      state: () => copies(given),
    };
  },
  "attentionWeights, topK of the mean": (heed) => {
    const given = { weights: random(2 * 3 * 9, 13), indices: new Int32Array(54).fill(7) };
    return {
      act: () => copies(heed.attentionWeights(q, k, { ...chosen, ...given, reduce: "mean", topK: 9 })),
      state: () => copies(given),
    };
  },
  "attentionWeights, topK": (heed) =>
    stateless(() => copies(heed.attentionWeights(q, k, { ...packed, topK: 5, entropy: true }))),
  "attentionWeights, summed over rows": (heed) =>
    stateless(() => copies(heed.attentionWeights(q, k, { ...chosen, reduce: "keySum" }))),
  "attentionWeights, scores of Tensors": (heed) => {
    const [qIn, kIn] = [randomTensor(heed, q.length, 1), randomTensor(heed, k.length, 2)];
    return stateless(() =>
      copies(heed.attentionWeights(qIn, kIn, { ...chosen, stage: "masked", window: { left: 9 } })),
    );
  },
  "attentionWeights of nothing": (heed) =>
    stateless(() => [
      ...copies(heed.attentionWeights(q, k, { ...chosen, heads: [], reduce: "mean", topK: 3 })),
      ...copies(heed.attentionWeights(q, k, { ...chosen, rows: [], reduce: "keySum", topK: 3 })),
      ...copies(heed.attentionWeights(q, k, { ...chosen, rows: [], reduce: "keySum" })),
      ...copies(heed.attentionWeights(q, k, { ...chosen, heads: [], reduce: "mean", entropy: true })),
    ]),

  merge: (heed) => {
    const given = { out: random(5 * 64, 15), lse: random(20, 16) };
    return {
      act: () => copies(heed.merge(parts, { ...heads, sinks: random(4, 17), ...given })),
      state: () => copies(given),
    };
  },
  "merge into a part": (heed) => {
    const part = { out: randomTensor(heed, 5 * 64, 6), lse: randomTensor(heed, 20, 9) };
    return {
      act: () => copies(heed.merge([...parts, part], { ...heads, ...part })),
      state: () => copies(part),
    };
  },

  "merge in 16 bits": (heed) => {
    // Rows of no whole eights.
    const given = { out: halvesOf(random(5 * 63, 15), "f16"), lse: random(5, 16) };
    const mixed = parts.map(({ out, lse }, n) => ({
      out: halvesOf(out.subarray(0, 5 * 63), n > 0 ? "f16" : "bf16"),
      lse: lse.subarray(0, 5),
    }));
    const sinks = halvesOf(random(1, 17), "bf16");
    return {
      act: () => copies(heed.merge(mixed, { numHeads: 1, headDim: 63, sinks, ...given })),
      state: () => copies(given),
    };
  },

  rotary: (heed) => {
    const out = random(q.length, 18);
    return {
      act: () => copies(heed.rotary(q, { ...heads, batch: 2, positions: 1000, out })),
      state: () => [out.slice()],
    };
  },
  "rotary in place, with tables": (heed) => {
    const x = randomTensor(heed, q.length, 1);
    const positions = Int32Array.from({ length: 14 }, (_, n) => (n * 11) % 40);
    return {
      act: () => copies(heed.rotary(x, { ...heads, batch: 2, positions, ...tables, interleaved: true, out: x })),
      state: () => [x.data.slice()],
    };
  },

  "rotary in 16 bits, with tables": (heed) => {
    const x = heed.tensor(2 * 7 * 45, "bf16");
    x.data.set(halvesOf(random(2 * 7 * 45, 1), "bf16").data);
    const out = halvesOf(random(2 * 7 * 45, 18), "f16");
    const positions = Int32Array.from({ length: 14 }, (_, n) => (n * 11) % 30);
    const form = {
      cos: halvesOf(tables.cos.subarray(0, 30 * 7), "f16"),
      sin: tables.sin.subarray(0, 30 * 7),
      rotaryDim: 14,
    };
    return {
      act: () =>
        copies(heed.rotary(x, { numHeads: 3, headDim: 15, batch: 2, layout: "bhld", positions, ...form, out })),
      state: () => [x.data.slice(), out.data.slice()],
    };
  },
  "rotary by sections": (heed) => {
    const out = random(q.length, 18);
    const positions = Int32Array.from({ length: 3 * 14 }, (_, n) => (n * 11) % 40);
    const form = { frequencies: random(8, 3), attentionScale: 1.2, sections: [2, 3, 3], positions };
    return {
      act: () => copies(heed.rotary(q, { ...heads, batch: 2, ...form, out })),
      state: () => [out.slice()],
    };
  },

  linear: (heed) => {
    const out = random(14 * 23, 19);
    const weight = { data: random(23 * 64, 20), shape: [23, 64] };
    return {
      act: () => copies(heed.linear(q, weight, random(23, 21), { out })),
      state: () => [out.slice()],
    };
  },
  "linear, packed": (heed) => {
    const packedWeight = heed.packLinear({ data: random(23 * 64, 20), shape: [64, 23] }, undefined, {
      transposed: true,
    });
    return stateless(() => copies(heed.linear(q, packedWeight, random(23, 21))));
  },
  packLinear: (heed) =>
    stateless(() => {
      using packedWeight = heed.packLinear({ data: random(23 * 64, 20), shape: [23, 64] }, random(23, 21));
      return copies(heed.linear(q, packedWeight));
    }),

  "linear with a gate and a residual, in place": (heed) => {
    const out = randomTensor(heed, 14 * 11, 19);
    const weight = { data: random(22 * 64, 20), shape: [22, 64] };
    // What is written in place may be half done where the call fails, so nothing is compared then.
    return stateless(() => {
      out.data.set(random(14 * 11, 19));
      return copies(heed.linear(q, weight, random(22, 21), { activation: "geglu", residual: out, out }));
    });
  },
  "linear over int8, with an activation": (heed) => {
    const packedWeight = heed.packLinear({ data: random(23 * 64, 20), shape: [23, 64] }, random(23, 21), {
      dtype: "int8",
    });
    const out = random(14 * 23, 19);
    return {
      act: () =>
        copies(heed.linear(q, packedWeight, undefined, { activation: "gelu", out, residual: random(14 * 23) })),
      state: () => [out.slice()],
    };
  },
  "linear over int4, with a gate": (heed) => {
    const packedWeight = heed.packLinear({ data: random(46 * 33, 20), shape: [46, 33] }, undefined, { dtype: "q4" });
    return stateless(() => [
      ...copies(heed.linear(random(33, 2), packedWeight, random(46, 21), { activation: "swiglu" })),
      ...copies(heed.linear(random(3 * 33, 2), packedWeight, undefined, { activation: "silu" })),
    ]);
  },
  "linear in 16 bits": (heed) => {
    const [weight, bias] = [
      { ...halvesOf(random(23 * 64, 20), "bf16"), shape: [64, 23] },
      halvesOf(random(23, 21), "f16"),
    ];
    const [x, out, residual] = [
      halvesOf(q, "f16"),
      halvesOf(random(14 * 23), "bf16"),
      halvesOf(random(14 * 23, 3), "f16"),
    ];
    return {
      act: () => {
        heed.linear(x, weight, bias, { transposed: true, activation: "silu", residual, out });
        return copies({ out: out.data });
      },
      state: () => copies({ out: out.data }),
    };
  },
  "packLinear of 16 bits": (heed) =>
    stateless(() =>
      (["f32", "int8", "q4"] as const).flatMap((dtype) => {
        const weight = { ...halvesOf(random(23 * 64, 20), "f16"), shape: [23, 64] };
        using packedWeight = heed.packLinear(weight, halvesOf(random(23, 21), "bf16"), { dtype });
        return copies(heed.linear(q, packedWeight));
      }),
    ),
  "packLinear of blocks": (heed) =>
    stateless(() => {
      const data = Uint8Array.from({ length: 5 * 2 * 18 }, (_, n) => (n % 18 === 1 ? 0x2c : (n * 37) % 256));
      using packedWeight = heed.packLinear({ data, dtype: "q4_0", shape: [5, 64] }, random(5, 21));
      return copies(heed.linear(q, packedWeight));
    }),
};
