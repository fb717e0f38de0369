// heed/onnx against the f64 reference, with what the operators do to their inputs written out plainly here: those of
// ai.onnx.
import { describe, expect, it, vi } from "vitest";
import { type OnnxTensor, onnxAttention, onnxRotaryEmbedding } from "../../bindings/onnx/index.ts";
import { maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { expectAttention, ints, joined, swapped, tensor } from "../support/onnx.ts";
import { tablesOf } from "../support/rotary.ts";

forEachBuild((_, open) => {
  const heed = open();

  describe("Attention", () => {
    const [Q, K, V] = [tensor(2, 6, 4, 8), tensor(2, 3, 5, 8), tensor(2, 3, 5, 10)];
    const past = { past_key: tensor(2, 3, 7, 8), past_value: tensor(2, 3, 7, 10) };

    it("takes and gives three dimensions or four", () => {
      const packed = { Q: tensor(2, 4, 48), K: tensor(2, 5, 24), V: tensor(2, 5, 30) };
      const heads = { q_num_heads: 6, kv_num_heads: 3 };
      const { Y, present_key, present_value } = onnxAttention(heed, packed, heads);
      expect(Y.shape).toEqual([2, 4, 60]);
      expectAttention(Y, swapped(packed.Q, 6), swapped(packed.K, 3), swapped(packed.V, 3), {});
      expect(present_key).toEqual(swapped(packed.K, 3));
      expect(present_value).toEqual(swapped(packed.V, 3));
      const four = onnxAttention(heed, { Q, K, V });
      expect(four.Y.shape).toEqual([2, 6, 4, 10]);
      expectAttention(four.Y, Q, K, V, {});
      // Mixed, as exporters do not write them.
      const mixed = { Q, K: packed.K, V };
      expectAttention(onnxAttention(heed, mixed, { kv_num_heads: 3n }).Y, Q, swapped(packed.K, 3), V, {});
    });

    it("puts query 0 at key 0, behind the past, or the last query at the last key that is no padding", () => {
      const causal = { is_causal: 1 };
      expectAttention(onnxAttention(heed, { Q, K, V }, causal).Y, Q, K, V, { causal: true, queryOffset: 0 });
      const all = [joined(past.past_key, K), joined(past.past_value, V)] as const;
      const withPast = onnxAttention(heed, { Q, K, V, ...past }, causal);
      expectAttention(withPast.Y, Q, ...all, { causal: true, queryOffset: 7 });
      expect([withPast.present_key, withPast.present_value]).toEqual(all);
      for (const data of [Int32Array.of(5, 2), BigInt64Array.of(5n, 2n)]) {
        const { Y } = onnxAttention(heed, { Q, K, V, nonpad_kv_seqlen: { data, shape: [2] } }, causal);
        const kvLengths = Int32Array.of(5, 2);
        expectAttention(Y, Q, K, V, { causal: true, kvLengths, queryOffset: Int32Array.of(1, -2) });
      }
    });

    it("knows windows, softcap and scale", () => {
      const window = { left_window_size: 1, right_window_size: 0 };
      const options = { window: { left: 1, right: 0 }, queryOffset: 0 };
      expectAttention(onnxAttention(heed, { Q, K, V }, window).Y, Q, K, V, options);
      const right = onnxAttention(heed, { Q, K, V }, { left_window_size: -1, right_window_size: 1 });
      expectAttention(right.Y, Q, K, V, { window: { right: 1 }, queryOffset: 0 });
      const capped = onnxAttention(heed, { Q, K, V }, { softcap: 0.5, scale: 2, softmax_precision: 11 });
      expectAttention(capped.Y, Q, K, V, { softcap: 0.5, scale: 2 });
      expectAttention(onnxAttention(heed, { Q, K, V }, { softcap: 0, scale: 0 }).Y, Q, K, V, { scale: 0 });
    });

    it.each([[[5]], [[4, 5]], [[1, 5]], [[6, 4, 5]], [[2, 1, 4, 5]], [[2, 6, 4, 5]], [[]]])(
      "adds a mask of floats and keeps where one of booleans says so, shape %j",
      (shape) => {
        const bias = tensor(...shape);
        expectAttention(onnxAttention(heed, { Q, K, V, attn_mask: bias }).Y, Q, K, V, { bias });
        const keepMask = { data: Uint8Array.from(bias.data, (x) => Number(x > -1)), shape };
        expectAttention(onnxAttention(heed, { Q, K, V, attn_mask: keepMask }).Y, Q, K, V, { keepMask });
      },
    );

    it("drops the keys that a mask does not reach", () => {
      const bias = tensor(4, 3);
      const { Y } = onnxAttention(heed, { Q, K, V, attn_mask: bias });
      expectAttention(Y, Q, K, V, {
        bias: {
          data: Float32Array.from({ length: 20 }, (_, n) => bias.data[Math.floor(n / 5) * 3 + (n % 5)]!),
          shape: [4, 5],
        },
        kvLengths: Int32Array.of(3, 3),
        queryOffset: 0,
      });
      const keepMask = { data: Uint8Array.from([1, 0, 1]), shape: [3] };
      expectAttention(onnxAttention(heed, { Q, K, V, attn_mask: keepMask }).Y, Q, K, V, {
        keepMask: { data: Uint8Array.from([1, 0, 1, 0, 0]), shape: [5] },
      });
    });

    it("makes an output when it is read, and once", () => {
      const attention = vi.spyOn(heed, "attention");
      try {
        const outputs = onnxAttention(heed, { Q, K, V });
        expect(outputs.present_key.data).toBe(K.data);
        expect(attention).not.toHaveBeenCalled();
        expect(outputs.Y).toBe(outputs.Y);
        expect(attention).toHaveBeenCalledOnce();
        expect(Object.keys(outputs)).toEqual(["Y", "present_key", "present_value", "qk_matmul_output"]);
      } finally {
        attention.mockRestore();
      }
    });

    it("gives the scores at each stage", () => {
      const attn_mask = { data: Uint8Array.from({ length: 20 }, (_, n) => Number(n % 3 !== 0)), shape: [4, 5] };
      const attributes = { softcap: 0.7, is_causal: 1 };
      const at = (qk_matmul_output_mode: number) =>
        onnxAttention(heed, { Q, K, V, attn_mask }, { ...attributes, qk_matmul_output_mode }).qk_matmul_output;
      const [raw, capped, masked, weights] = [0, 1, 2, 3].map(at) as [OnnxTensor, OnnxTensor, OnnxTensor, OnnxTensor];
      for (const { shape } of [raw, capped, masked, weights]) expect(shape).toEqual([2, 6, 4, 5]);
      for (let n = 0; n < 2 * 6 * 4; n++) {
        const [b, h, i] = [Math.floor(n / 24), Math.floor(n / 4) % 6, n % 4];
        const score = Array.from({ length: 5 }, (_, j) => {
          const [q, k] = [(b * 6 + h) * 4 + i, (b * 3 + Math.floor(h / 2)) * 5 + j];
          const products = Array.from({ length: 8 }, (_, d) => Q.data[q * 8 + d]! * K.data[k * 8 + d]!);
          return products.reduce((sum, x) => sum + x, 0) / Math.sqrt(8);
        });
        const sees = (j: number) => j <= i && attn_mask.data[i * 5 + j] === 1;
        const cap = score.map((x) => 0.7 * Math.tanh(x / 0.7));
        const total = cap.reduce((sum, x, j) => sum + (sees(j) ? Math.exp(x) : 0), 0);
        const row = ({ data }: OnnxTensor) => data.subarray(n * 5, n * 5 + 5);
        // Eight products of at most 3, their sum and what follows, half an ulp each.
        const bound = 12 * 2 ** -24 * 24;
        expect(maxError(row(raw), score)).toBeLessThan(bound);
        expect(maxError(row(capped), cap)).toBeLessThan(bound);
        expect(
          maxError(
            row(masked),
            cap.map((x, j) => (sees(j) ? x : -Infinity)),
          ),
        ).toBeLessThan(bound);
        expect(
          maxError(
            row(weights),
            cap.map((x, j) => (sees(j) ? Math.exp(x) / total : 0)),
          ),
        ).toBeLessThan(bound);
      }
    });
  });

  describe("RotaryEmbedding", () => {
    const { cos, sin } = tablesOf(20, 4);
    const tables = { cos_cache: { data: cos, shape: [20, 4] }, sin_cache: { data: sin, shape: [20, 4] } };

    it("turns rows of three and four dimensions by their ids, one id and the tables' own rows", () => {
      const four = tensor(2, 3, 5, 10);
      const options = { numHeads: 3, headDim: 10, batch: 2, layout: "bhld", cos, sin, rotaryDim: 8 } as const;
      const ids = [0, 1, 2, 3, 4, 19, 0, 7, 7, 2];
      const position_ids = { data: Int32Array.from(ids), shape: [2, 5] };
      const byIds = onnxRotaryEmbedding(heed, { X: four, ...tables, position_ids }, { rotary_embedding_dim: 8 });
      const turned = heed.rotary(four.data, { ...options, positions: Int32Array.from(ids) }).out;
      expect(byIds.Y).toEqual({ data: turned, shape: [2, 3, 5, 10] });

      const three = swapped(four);
      const packed = { data: three.data, shape: [2, 5, 30] };
      const Y = onnxRotaryEmbedding(heed, { X: packed, ...tables, position_ids }, { num_heads: 3 }).Y;
      expect(Y).toEqual({ data: swapped({ data: turned, shape: [2, 3, 5, 10] }).data, shape: [2, 5, 30] });

      for (const one of [ints([3]), { data: Int32Array.of(3), shape: [] }]) {
        const { output } = onnxRotaryEmbedding(heed, { input: four, ...tables, position_ids: one }, { interleaved: 1 });
        expect(output.data).toEqual(heed.rotary(four.data, { ...options, positions: 3, interleaved: true }).out);
      }
      const own = { data: cos.slice(0, 40), shape: [2, 5, 4] };
      const rows = onnxRotaryEmbedding(heed, {
        X: four,
        cos_cache: own,
        sin_cache: { ...own, data: sin.slice(0, 40) },
      }).Y;
      const positions = Int32Array.from({ length: 10 }, (_, n) => n);
      expect(rows.data).toEqual(heed.rotary(four.data, { ...options, positions }).out);
    });
  });
});
