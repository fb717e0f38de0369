// What f16 and int8 do to the values of a cache, and to the result.
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { largest, maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Dtype, roundF16, roundInt8 } from "../support/kv-model.ts";
import { floats, uniform } from "../support/random.ts";
import { reference } from "../support/reference.ts";

/** A row as it comes back out of a cache: the result for a query that sees it alone. */
function stored(heed: Heed, row: ArrayLike<number>, dtype: Dtype): number[] {
  using cache = heed.createKvCache({ numKvHeads: 1, headDim: 1, valueDim: row.length, capacity: 1, dtype });
  cache.append(Float32Array.of(0), Float32Array.from(row));
  return Array.from(cache.attention(Float32Array.of(1), { numHeads: 1 }).out);
}

const { f16Edges, f16Ties } = (() => {
  const below = (x: number) => x * (1 - 2 ** -23);
  const above = (x: number) => x * (1 + 2 ** -22);
  const grid = [1, 1024, 2047, 2048, 3071, 4095].flatMap((n) => [-24, -20, -14, -10, 0, 4].map((e) => n * 2 ** e));
  const ties = grid.flatMap((x) => {
    const step = 2 ** (Math.max(Math.floor(Math.log2(x)), -14) - 10);
    return [x + step / 2, below(x + step / 2), above(x + step / 2)];
  });
  const edges = [0, 2 ** -24, 2 ** -25, above(2 ** -25), 2 ** -26, 2 ** -149, 2 ** -14, below(2 ** -14), 65504];
  return { f16Edges: [...edges, 65519, 65520, 65536, 1e6, 3e38], f16Ties: ties };
})();

forEachBuild((_, open) => {
  const heed = open();

  describe("f16", () => {
    it("rounds to nearest, ties to even, subnormals too, and saturates", () => {
      const next = uniform(3);
      const random = Array.from({ length: 4000 }, () => 2 ** (44 * next() - 27));
      const row = [...f16Edges, ...f16Ties, ...random].flatMap((x) => [Math.fround(x), -Math.fround(x)]);
      const wrong = stored(heed, row, "f16").flatMap((x, n) => (x === roundF16(row[n]!) ? [] : [[row[n], x]]));
      expect(wrong).toEqual([]);
    });

    it("saturates where values are infinite or no numbers, and leaves the others", () => {
      const row = [1, Infinity, NaN, -Infinity, -2, 3, NaN, 4, Infinity, -5];
      expect(stored(heed, row, "f16")).toEqual([1, 65504, 65504, -65504, -2, 3, 65504, 4, 65504, -5]);
    });
  });

  describe("int8", () => {
    it.each([1, 1e-3, 1e4, 1e-30, 1e-38, 1e-40, 1e30, 3e38])(
      "is off by half a step at most, for rows as large as %s",
      (size) => {
        for (let length = 1; length < 40; length++) {
          const row = floats(length, uniform(length)).map((x) => (x / 2) * size);
          const most = largest(row);
          const step = most / 127;
          // Beside the half step: byte·scale rounded once, scale itself, times up to 127, and byte·scale in subnormals.
          const slack = most * 2 ** -22 + 128 * 2 ** -149;
          const got = stored(heed, row, "int8");
          got.forEach((x, n) => expect(Math.abs(x - row[n]!)).toBeLessThanOrEqual(step / 2 + slack));
          expect(largest(got)).toBeGreaterThanOrEqual(most * (1 - 2 ** -22) - 128 * 2 ** -149);
        }
      },
    );

    it("has a scale for each head and token, so that a large one spoils no other", () => {
      using cache = heed.createKvCache({ numKvHeads: 2, headDim: 8, capacity: 9, dtype: "int8" });
      const v = floats(3 * 2 * 8, uniform(5)).map((x, at) => x * 10 ** Math.floor(at / 8));
      cache.append(new Float32Array(48), v);
      for (let token = 0; token < 3; token++) {
        const window = { left: 0, right: 0 };
        const { out } = cache.attention(new Float32Array(16), { numHeads: 2, queryOffset: token, window });
        const expected = [0, 1].flatMap((head) => {
          const at = (token * 2 + head) * 8;
          return roundInt8(Array.from(v.subarray(at, at + 8)));
        });
        out.forEach((x, n) =>
          expect(Math.abs(x - expected[n]!)).toBeLessThanOrEqual(Math.abs(expected[n]!) * 2 ** -22),
        );
      }
    });

    it("of a row of zeros is zeros, of a row with NaN is NaN there", () => {
      expect(stored(heed, [0, -0, 0], "int8").every((x) => x === 0)).toBe(true);
      expect(stored(heed, [1, NaN, 3], "int8")[1]).toBeNaN();
    });
  });

  /*
   * Each stored element is off by at most ε, half an ulp of f16 (≤ 2⁻¹¹ of the largest magnitude) or half a step of
   * int8 (1/254 of it). Errors of different elements are independent and as often up as down, with a deviation of at
   * most σ = ε, so that
   *
   *     a score sⱼ     σₛ = scale·|q|₂·σₖ
   *     lse            ∂lse/∂sⱼ = wⱼ               σ = σₛ·√Σwⱼ²
   *     out            ∂out/∂sⱼ = wⱼ·(vⱼ − out)    σ ≤ σₛ·√Σwⱼ²·2 max|v|,  and from v itself  σᵥ·√Σwⱼ²
   *
   * Σwⱼ² = exp(lse at twice the scale − 2·lse). Six deviations are passed once in 10⁹ elements.
   */
  describe("the error against unrounded k and v is within six deviations of what rounding brings", () => {
    const relative = { f32: 0, f16: 2 ** -11, int8: 1 / 254 };
    it.each<[Dtype, Dtype]>([
      ["f16", "f16"],
      ["int8", "int8"],
      ["int8", "f16"],
      ["f16", "int8"],
    ])("k %s, v %s", (kType, vType) => {
      const dims = { numKvHeads: 2, headDim: 64, batch: 2 };
      const options = { ...dims, numHeads: 4, causal: true, scale: 1 / 8 };
      const next = uniform(11);
      const [k, v] = [0, 1].map(() => floats(2 * 400 * 2 * 64, next)) as [Float32Array, Float32Array];
      const q = floats(2 * 3 * 4 * 64, next);
      using cache = heed.createKvCache({ ...dims, capacity: 400, dtype: { k: kType, v: vType } });
      cache.append(k, v);
      const { out, lse } = cache.attention(q, { numHeads: 4, causal: true, lse: true });

      const exact = reference(q, k, v, options);
      const twice = reference(q, k, v, { ...options, scale: 2 / 8 });
      const squares = Math.sqrt(twice.lse.reduce((most, x, n) => Math.max(most, Math.exp(x - 2 * exact.lse[n]!)), 0));
      let longest = 0;
      for (let at = 0; at < q.length; at += 64) longest = Math.max(longest, Math.hypot(...q.subarray(at, at + 64)));
      const ofScore = (longest / 8) * largest(k) * relative[kType];
      const ofValue = largest(v) * relative[vType];
      const bound = { out: 6 * squares * (2 * largest(v) * ofScore + ofValue), lse: 6 * squares * ofScore };
      expect(maxError(lse, exact.lse)).toBeLessThanOrEqual(bound.lse);
      expect(maxError(out, exact.out)).toBeLessThanOrEqual(bound.out);
    });
  });
});
