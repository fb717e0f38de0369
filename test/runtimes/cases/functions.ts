// The other functions of an instance: rotary embedding, KV caches, attention weights and merge.
import { load } from "heed";
import { maxError } from "../../support/distance.ts";
import { problemOf } from "../../support/problems.ts";
import { floats, uniform } from "../../support/random.ts";
import { goldenCalls, goldenHashes, hashOf } from "../golden-bits.ts";
import { angleBits, anglesHash } from "../golden.ts";
import { type Cases, expect, expectRight, expectWithin, sizes, withHeed } from "./expect.ts";

export const functionCases: Cases = {
  "rotary embedding": () =>
    withHeed((heed) => {
      const x = Float32Array.of(1, 0, 0, 1);
      const { out } = heed.rotary(x, { numHeads: 1, headDim: 2, positions: Int32Array.of(0, 1) });
      // Row 0 stays; row 1 turns by one radian.
      expectWithin(maxError(out, [1, 0, -Math.sin(1), Math.cos(1)]), 2 ** -23, "the rotated rows");
    }),

  "the bits of rotary embedding": () =>
    withHeed((heed) => expect(angleBits(heed) === anglesHash, `${anglesHash}, got ${angleBits(heed)}`)),

  ...Object.fromEntries(
    Object.entries(goldenCalls).map(([name, call]) => [
      `the same bits everywhere: ${name}`,
      async () => {
        const heed = await load({ variant: "simd" });
        const hash = hashOf(await call(heed));
        heed.dispose();
        expect(hash === goldenHashes[name], `${goldenHashes[name]}, got ${hash}`);
      },
    ]),
  ),

  // Whole numbers with a largest magnitude of 127: every type holds them exactly.
  ...Object.fromEntries(
    (["f32", "f16", "int8"] as const).map((dtype) => [
      `a KV cache of ${dtype}`,
      () =>
        withHeed((heed) => {
          const whole = (rows: number) =>
            Float32Array.from({ length: rows * 2 * 8 }, (_, i) => (i % 8 === 0 ? 127 : ((i * 37) % 255) - 127));
          const [k, v] = [whole(140), whole(140).map((x) => -x)] as [
            Float32Array<ArrayBuffer>,
            Float32Array<ArrayBuffer>,
          ];
          const q = floats(4 * 8, uniform(7));
          const cache = heed.createKvCache({ numKvHeads: 2, headDim: 8, capacity: 200, dtype });
          for (const [from, to] of [
            [0, 139],
            [139, 140],
          ] as const)
            cache.append(k.subarray(from * 16, to * 16), v.subarray(from * 16, to * 16));
          expect(cache.length === 140, "140 tokens");
          const got = cache.attention(q, { numHeads: 4, causal: true, scale: 0.01, lse: true });
          expectRight({ q, k, v, options: { numHeads: 4, numKvHeads: 2, headDim: 8, causal: true, scale: 0.01 } }, got);
          cache.dispose();
        }),
    ]),
  ),

  "attention weights": () =>
    withHeed((heed) => {
      const { q, k, options } = problemOf({ batch: 1, numHeads: 1, seqLenQ: 5, seqLenKv: 9, headDim: 12 });
      const { weights } = heed.attentionWeights(q, k, { numHeads: 1, headDim: 12 });
      // Values that are the rows of an identity matrix come out as the weights.
      const identity = Float32Array.from({ length: 81 }, (_, i) => Number(i % 10 === 0));
      expectRight({ q, k, v: identity, options: { ...options, valueDim: 9 } }, { out: weights });
    }),

  "parts, merged": () =>
    withHeed((heed) => {
      const { q, k, v, options } = problemOf({ ...sizes, batch: 1 });
      const row = 4 * 12;
      const parts = [
        [0, 4],
        [4, 9],
      ].map(([from, to]) => {
        const [keys, values] = [k, v].map((rows) => rows.subarray(from! * row, to! * row)) as [typeof k, typeof v];
        return heed.attention(q, keys, values, { ...options, lse: true });
      });
      expectRight({ q, k, v, options }, heed.merge(parts, { numHeads: 4, headDim: 12 }));
    }),
};
