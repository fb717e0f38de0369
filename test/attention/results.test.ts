import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinations } from "../support/combinations.ts";
import { type Problem, problemOf } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { runs } from "../support/sweep.ts";

function attend(heed: Heed, { q, k, v, options }: Problem) {
  return heed.attention(q, k, v, { ...options, lse: true });
}

forEachBuild((_, open) => {
  const heed = open();

  describe("where results go and arguments stand", () => {
    it("writes into out and lse, and returns them", () => {
      const { q, k, v, options } = problemOf({});
      const fresh = heed.attention(q, k, v, { ...options, lse: true });
      const out = new Float32Array(fresh.out.length).fill(NaN);
      const lse = new Float32Array(fresh.lse.length).fill(NaN);
      const result = heed.attention(q, k, v, { ...options, out, lse });
      expect(result.out).toBe(out);
      expect(result.lse).toBe(lse);
      expect(out).toEqual(fresh.out);
      expect(lse).toEqual(fresh.lse);
      expect(heed.attention(q, k, v, options).lse).toBeUndefined();
      expect(heed.attention(q, k, v, { ...options, lse: false }).lse).toBeUndefined();
    });

    it("gives fresh arrays that share nothing with the arguments, each other or linear memory", () => {
      const { q, k, v, options } = problemOf({ seqLenQ: 29 });
      const before = [q.slice(), k.slice(), v.slice()];
      const first = heed.attention(q, k, v, { ...options, lse: true });
      const copy = first.out.slice();
      const second = heed.attention(k, q, v, { ...options, lse: true });
      const buffers = [q, k, v, first.out, first.lse, second.out, second.lse].map(({ buffer }) => buffer);
      expect(new Set(buffers).size).toBe(7);
      expect(first.out).toEqual(copy);
      expect([q, k, v]).toEqual(before);
    });

    it("may write over q", () => {
      const { q, k, v, options } = problemOf({});
      const { out } = heed.attention(q, k, v, options);
      heed.attention(q, k, v, { ...options, out: q });
      expect(q).toEqual(out);
    });

    it("gives the same bits for tensors, views of linear memory and arrays", () => {
      const property = fc.property(combinations, (problem) => {
        const { q, k, v, options } = problem;
        const plain = attend(heed, problem);
        const tensors = [q, k, v, plain.out, plain.lse].map(({ length }) => heed.tensor(length));
        const [tq, tk, tv, out, lse] = tensors as [(typeof tensors)[0], ...typeof tensors];
        try {
          tq.data.set(q);
          tk!.data.set(k);
          tv!.data.set(v);
          const result = heed.attention(tq, tk!, tv!, { ...options, out: out!, lse: lse! });
          expect(result.out).toBe(out);
          expect(out!.data).toEqual(plain.out);
          expect(lse!.data).toEqual(plain.lse);
          expect(heed.attention(tq.data, tk!.data, tv!.data, options).out).toEqual(plain.out);
        } finally {
          for (const tensor of tensors) tensor.dispose();
        }
      });
      fc.assert(property, { seed: 20261126, numRuns: runs(60) });
    });

    it("reads a tensor as bias, slopes and sinks, and a mask in linear memory", () => {
      const { q, k, v, options } = problemOf({});
      const bias = heed.tensor(29);
      const slopes = heed.tensor(4);
      const mask = heed.tensor(8);
      bias.data.set(floats(29, uniform(8)));
      slopes.data.set([0.1, 0.2, 0.3, 0.4]);
      new Uint8Array(mask.data.buffer, mask.data.byteOffset, 29).fill(1, 3);
      const { out } = heed.attention(q, k, v, {
        ...options,
        bias: { data: bias, shape: [29] },
        alibiSlopes: slopes,
        sinks: slopes,
        keepMask: { data: new Uint8Array(mask.data.buffer, mask.data.byteOffset, 29), shape: [29] },
      });
      const plain = heed.attention(q, k, v, {
        ...options,
        bias: { data: bias.data.slice(), shape: [29] },
        alibiSlopes: slopes.data.slice(),
        sinks: slopes.data.slice(),
        keepMask: { data: Uint8Array.from({ length: 29 }, (_, j) => Number(j >= 3)), shape: [29] },
      });
      expect(out).toEqual(plain.out);
      for (const tensor of [bias, slopes, mask]) tensor.dispose();
    });

    it("takes subarrays", () => {
      const { q, k, v, options } = problemOf({});
      const shifted = (rows: Float32Array) => Float32Array.of(NaN, ...rows, NaN).subarray(1, rows.length + 1);
      const { out } = heed.attention(shifted(q), shifted(k), shifted(v), options);
      expect(out).toEqual(heed.attention(q, k, v, options).out);
    });
  });

  describe("the same bits", () => {
    it("from run to run and from instance to instance, whatever ran before", () => {
      const problem = problemOf({ seqLenKv: 150 }, { causal: true, softcap: 7 });
      const first = attend(heed, problem);
      attend(heed, problemOf({ headDim: 77 }));
      expect(attend(heed, problem)).toEqual(first);
      expect(attend(open(), problem)).toEqual(first);
    });

    it("in both layouts", () => {
      const problem = problemOf({ numHeads: 4, numKvHeads: 2, seqLenKv: 150 }, { causal: true });
      const transposed = (rows: Float32Array, heads: number, dim = 24) => {
        const length = rows.length / (2 * heads * dim);
        return rows.map((_, at) => {
          const [b, h] = [Math.floor(at / (heads * length * dim)), Math.floor(at / (length * dim)) % heads];
          const row = Math.floor(at / dim) % length;
          return rows[((b * length + row) * heads + h) * dim + (at % dim)]!;
        });
      };
      const { q, k, v, options } = problem;
      const blhd = attend(heed, problem);
      const bhld = heed.attention(transposed(q, 4), transposed(k, 2), transposed(v, 2), {
        ...options,
        layout: "bhld",
        lse: true,
      });
      expect(bhld.out).toEqual(transposed(blhd.out, 4));
      expect(bhld.lse).toEqual(blhd.lse);
    });

    it("for the default queryOffset and the number it stands for", () => {
      const plain = attend(heed, problemOf({}, { causal: true }));
      expect(attend(heed, problemOf({}, { causal: true, queryOffset: 16 }))).toEqual(plain);
      const lengths = { causal: true, kvLengths: Int32Array.of(20, 4) };
      const ragged = attend(heed, problemOf({}, lengths));
      expect(attend(heed, problemOf({}, { ...lengths, queryOffset: Int32Array.of(7, -9) }))).toEqual(ragged);
    });

    it("for packed sequences and each of them alone", () => {
      const cuSeqlensQ = Int32Array.of(0, 5, 20);
      const { q, k, v, options } = problemOf({ batch: 1, seqLenQ: 20, seqLenKv: 20 }, { causal: true });
      const row = 4 * 24;
      const { out } = heed.attention(q, k, v, { ...options, cuSeqlensQ });
      const parts = [
        [0, 5],
        [5, 20],
      ].map((range) => {
        const [from, to] = range.map((at) => at * row);
        return heed.attention(q.subarray(from, to), k.subarray(from, to), v.subarray(from, to), options).out;
      });
      expect(out).toEqual(Float32Array.from(parts.flatMap((part) => [...part])));
    });
  });
});
