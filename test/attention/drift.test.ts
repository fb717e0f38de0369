// Rounding does not grow with the number of keys (assembly/attention/totals.ts): where every key has the same score and
// the same value, the result is that value within 2e-6, for 10⁶ keys as for one.
import { describe, expect, it } from "vitest";
import type { Dtype, Heed, Tensor } from "../../bindings/index.ts";
import { type Build, forEachBuild } from "../support/builds.ts";

const BOUND = 2e-6;
const DIM = 8;

/** Values of which one f32 sum of equal terms is far off: low bits near ½, of both signs, and common fractions. */
const VALUES = Float32Array.of(0.1, -1 / 3, 1.4843749, 1.0078117, 1.4921874, Math.SQRT1_2, -3.1415927, 1.9999999);

/** A row of VALUES for each key. */
function valuesOf(keys: number): Float32Array {
  const v = new Float32Array(keys * DIM);
  for (let at = 0; at < v.length; at += DIM) v.set(VALUES, at);
  return v;
}

/** Checks that every row of `out` is `row`, VALUES unless they are given. */
function expectRows(out: Float32Array, row: Float32Array = VALUES): void {
  const off = out.reduce((most, x, at) => Math.max(most, Math.abs(x / row[at % row.length]! - 1)), 0);
  expect(off).toBeLessThanOrEqual(BOUND);
}

function expectNear(actual: ArrayLike<number>, expected: number): void {
  let off = 0;
  for (let n = 0; n < actual.length; n++) off = Math.max(off, Math.abs(actual[n]! / expected - 1));
  expect(off).toBeLessThanOrEqual(BOUND);
}

/** Numbers of keys: the debug build checks every step, and would take a minute a test for the larger two. */
const keyCounts = (name: Build) => (name === "debug" ? [4096] : [4096, 131_072, 1_000_000]);

function tensorOf(heed: Heed, array: Float32Array): Tensor {
  const tensor = heed.tensor(array.length);
  tensor.data.set(array);
  return tensor;
}

forEachBuild((name, open) => {
  const heed = open();
  const one = { numHeads: 1, headDim: DIM, lse: true } as const;

  describe.each(keyCounts(name))("%i equal keys", (keys) => {
    const zeros = new Float32Array(keys * DIM);
    const v = valuesOf(keys);

    // Up to four rows decode, by one kernel for a single row and another for a pair; five and more are prefill.
    it.each(keys === 1_000_000 ? [1, 2, 5] : [1, 2, 3, 4, 5, 16, 33])("attention of %i rows", (rows) => {
      const q = new Float32Array(rows * DIM);
      const inPieces = heed.attention(q, zeros, v, one);
      expectRows(inPieces.out);
      expectNear(inPieces.lse, Math.log(keys));
      using qThere = tensorOf(heed, q);
      using kThere = tensorOf(heed, zeros);
      using vThere = tensorOf(heed, v);
      const whole = heed.attention(qThere, kThere, vThere, one);
      expect(whole.out).toEqual(inPieces.out);
      expect(whole.lse).toEqual(inPieces.lse);
    });

    it("attention of several KV heads", () => {
      const heads = Math.ceil(2 ** 22 / (2 * DIM * keys));
      const q = new Float32Array(heads * DIM);
      const k = new Float32Array(heads * keys * DIM);
      expectRows(heed.attention(q, k, valuesOf(heads * keys), { numHeads: heads, headDim: DIM }).out);
    });

    it("the sum l, where one key has a larger score", () => {
      for (const rows of [1, 5]) {
        const k = zeros.slice();
        k[DIM * (keys >> 1)] = 3;
        const q = new Float32Array(rows * DIM);
        for (let row = 0; row < rows; row++) q[row * DIM] = 1;
        const { out, lse } = heed.attention(q, k, v, { ...one, scale: 1 });
        expectRows(out);
        const exact = Math.log(keys - 1 + Math.exp(3));
        for (const x of lse) expect(Math.abs(x - exact)).toBeLessThanOrEqual(BOUND);
      }
    });

    it("scores that rise from key to key", () => {
      for (const rows of [1, 5]) {
        const k = zeros.slice();
        for (let key = 0; key < keys; key++) k[key * DIM] = (20 * key) / keys;
        const { out } = heed.attention(new Float32Array(rows * DIM).fill(1), k, v, { ...one, scale: 1 });
        expectRows(out);
      }
    });

    it("a mask of keys", () => {
      const mask = { data: new Uint8Array(keys).map((_, key) => (key * 7919) % 3 && 1), shape: [keys] };
      for (const rows of [1, 5, 33]) {
        if (rows * keys > 8_000_000) continue;
        expectRows(heed.attention(new Float32Array(rows * DIM), zeros, v, { ...one, keepMask: mask }).out);
      }
    });

    it("masked values that are not finite, so that every row is done again carefully", () => {
      const data = new Uint8Array(keys).fill(1);
      data[77] = 0;
      const spoilt = v.slice();
      spoilt[77 * DIM] = NaN;
      for (const rows of [1, 5]) {
        const { out } = heed.attention(new Float32Array(rows * DIM), zeros, spoilt, {
          ...one,
          bias: { data: new Float32Array(keys).map((_, key) => (key === 77 ? -Infinity : 0)), shape: [keys] },
        });
        expectRows(out);
      }
    });

    it.each<Dtype>(["f32", "f16", "int8"])("a cache of %s", (dtype) => {
      using single = heed.createKvCache({ numKvHeads: 1, headDim: DIM, capacity: 1, dtype });
      single.append(new Float32Array(DIM), VALUES);
      const stored = single.attention(new Float32Array(DIM), { numHeads: 1 }).out;
      using cache = heed.createKvCache({ numKvHeads: 1, headDim: DIM, capacity: keys, dtype });
      cache.append(zeros, v);
      for (const rows of keys === 1_000_000 ? [1, 2, 5] : [1, 2, 3, 4, 5, 17]) {
        const { out, lse } = cache.attention(new Float32Array(rows * DIM), { numHeads: 1, lse: true });
        expectRows(out, stored);
        expectNear(lse, Math.log(keys));
      }
    });

    it("attentionWeights: each weight, the mean of heads, and the sums over rows", () => {
      const { weights, entropy } = heed.attentionWeights(new Float32Array(DIM), zeros, {
        numHeads: 1,
        headDim: DIM,
        entropy: true,
      });
      expectNear(weights, 1 / keys);
      expectNear(entropy, Math.log(keys));
      const heads = keys === 4096 ? 12 : 1;
      const q = new Float32Array(heads * DIM);
      const grouped = { numHeads: heads, numKvHeads: 1, headDim: DIM };
      expectNear(heed.attentionWeights(q, zeros, { ...grouped, reduce: "mean" }).weights, 1 / keys);
      // Here the rows are many and the keys few.
      const few = heed.attentionWeights(zeros, new Float32Array(10 * DIM), {
        ...grouped,
        numHeads: 1,
        reduce: "keySum",
      });
      expectNear(few.weights, Math.fround(0.1) * keys);
    });

    it("merge of as many parts as a thousand", () => {
      const parts = Array.from({ length: 1000 }, () => ({ out: VALUES, lse: Float32Array.of(Math.log(keys)) }));
      const { out, lse } = heed.merge(parts, { numHeads: 1, headDim: DIM });
      expectRows(out);
      expectNear(lse, Math.log(keys) + Math.log(1000));
    });
  });

  if (name === "debug") {
    it("131 072 and 10⁶ equal keys", ({ skip }) => {
      skip("too slow with every check; the simd and relaxed builds do them");
    });
  }
});
