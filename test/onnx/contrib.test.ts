// MultiHeadAttention and Attention of com.microsoft against the f64 reference, as in onnx.test.ts.
import { describe, expect, it } from "vitest";
import { onnxAttention, onnxMultiHeadAttention } from "../../bindings/onnx/index.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Plain, expectAttention, ints, joined, plus, swapped, tensor } from "../support/onnx.ts";

forEachBuild((_, open) => {
  const heed = open();

  describe("MultiHeadAttention", () => {
    const [numHeads, dim] = [3, 8];
    const attributes = { num_heads: numHeads };
    const [query, key, value] = [tensor(2, 5, 24), tensor(2, 7, 24), tensor(2, 7, 24)];
    const [q, k, v] = [query, key, value].map((x) => swapped(x, numHeads)) as [Plain, Plain, Plain];
    const run = (inputs: object, more: object = {}) =>
      onnxMultiHeadAttention(heed, { query, key, value, ...inputs }, { ...attributes, ...more });

    it("takes q, k and v apart, packed, and with k and v as they were kept", () => {
      expectAttention(run({}).output, q, k, v, {});
      const narrow = tensor(2, 7, 12);
      expectAttention(run({ value: narrow }).output, q, k, swapped(narrow, numHeads), {});
      expectAttention(run({ key: k, value: v }).output, q, k, v, {});
      expectAttention(run({}, { scale: 0.7 }).output, q, k, v, { scale: 0.7 });
      const qkv = tensor(2, 5, 3, 3, 8);
      const part = (x: Plain, parts: number, n: number) => {
        const data = x.data.filter((_, at) => Math.floor(at / dim) % parts === n);
        return swapped({ data, shape: [2, x.shape[1]!, numHeads * dim] }, numHeads);
      };
      const packed = onnxMultiHeadAttention(heed, { query: qkv }, attributes).output;
      expectAttention(packed, part(qkv, 3, 0), part(qkv, 3, 1), part(qkv, 3, 2), {});
      const kv = tensor(2, 7, 3, 2, 8);
      const half = onnxMultiHeadAttention(heed, { query, key: kv }, attributes).output;
      expectAttention(half, q, part(kv, 2, 0), part(kv, 2, 1), {});
    });

    it("adds the bias of the projections, to q alone where k and v were kept", () => {
      const bias = tensor(72);
      const [bq, bk, bv] = [plus(query, bias.data, 0), plus(key, bias.data, 24), plus(value, bias.data, 48)].map((x) =>
        swapped(x, numHeads),
      ) as [Plain, Plain, Plain];
      expectAttention(run({ bias }).output, bq, bk, bv, {});
      expectAttention(run({ bias, key: k, value: v }).output, bq, k, v, {});
    });

    it("sees the past, and causally what stands before each query", () => {
      const past = { past_key: tensor(2, 3, 4, 8), past_value: tensor(2, 3, 4, 8) };
      const next = { key: tensor(2, 5, 24), value: tensor(2, 5, 24) };
      const all = [
        joined(past.past_key, swapped(next.key, 3)),
        joined(past.past_value, swapped(next.value, 3)),
      ] as const;
      const outputs = run({ ...past, ...next }, { unidirectional: 1 });
      expectAttention(outputs.output, q, ...all, { causal: true, queryOffset: 4 });
      expect([outputs.present_key, outputs.present_value]).toEqual(all);
      expectAttention(run({ ...past, ...next }).output, q, ...all, {});

      // A past with room for nine rows, of which four are there.
      const room = tensor(2, 3, 5, 8);
      const wide = { past_key: joined(past.past_key, room), past_value: joined(past.past_value, room) };
      const shared = run({ ...wide, ...next, past_sequence_length: ints([4]) }, { unidirectional: 1 });
      expect(shared.output).toEqual(outputs.output);
      expect(shared.present_key).toEqual(all[0]);
      const short = run({ ...wide, past_sequence_length: ints([2]), key: tensor(2, 1, 24), value: tensor(2, 1, 24) });
      expect(short.present_key.shape).toEqual([2, 3, 9, 8]);
    });

    const keep = (rows: readonly number[][]) => ({ data: Uint8Array.from(rows.flat()), shape: [2, 1, 1, 7] });
    it.each<[string, { data: Int32Array; shape: number[] }, number[][]]>([
      [
        "lengths",
        ints([4, 7]),
        [
          [1, 1, 1, 1, 0, 0, 0],
          [1, 1, 1, 1, 1, 1, 1],
        ],
      ],
      [
        "ends and starts",
        ints([7, 5, 2, 0]),
        [
          [0, 0, 1, 1, 1, 1, 1],
          [1, 1, 1, 1, 1, 0, 0],
        ],
      ],
      [
        "lengths and padded starts",
        ints([4, 7, 0, 5, 10, 0, 7, 14]),
        [
          [1, 1, 1, 1, 0, 0, 0],
          [1, 1, 1, 1, 1, 1, 1],
        ],
      ],
      [
        "keys, padded in front",
        ints([0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0], 2, 7),
        [
          [0, 0, 1, 1, 1, 1, 1],
          [1, 1, 0, 1, 1, 1, 0],
        ],
      ],
    ])("masks padding given by %s", (_, key_padding_mask, kept) => {
      expectAttention(run({ key_padding_mask }).output, q, k, v, { keepMask: keep(kept) });
      const attention_bias = tensor(1, 3, 5, 7);
      const both = run({ key_padding_mask, attention_bias }).output;
      expectAttention(both, q, k, v, { keepMask: keep(kept), bias: attention_bias });
    });

    it("masks for each query apart, and new keys beside a past", () => {
      const data = Array.from({ length: 70 }, (_, n) => (n % 7 === 0 || n % 3 === 0 ? 1 : 0));
      const keepMask = { data: Uint8Array.from(data), shape: [2, 1, 5, 7] };
      expectAttention(run({ key_padding_mask: ints(data, 2, 5, 7) }).output, q, k, v, { keepMask });
      const past = { past_key: tensor(2, 3, 2, 8), past_value: tensor(2, 3, 2, 8) };
      const mask = [1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0];
      const all = [joined(past.past_key, k), joined(past.past_value, v)] as const;
      const kept = [0, 7].flatMap((at) => [1, 1, ...mask.slice(at, at + 7)]);
      const { output } = run({ ...past, key_padding_mask: ints(mask, 2, 7) });
      expectAttention(output, q, ...all, { keepMask: { data: Uint8Array.from(kept), shape: [2, 1, 1, 9] } });
    });

    it("adds mask_filter_value to padding, as a query that sees nothing else tells", () => {
      const key_padding_mask = ints([0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 0], 2, 7);
      const filter = (value: number) => ({
        data: Float32Array.from(key_padding_mask.data, (keeps) => (keeps ? 0 : value)),
        shape: [2, 1, 1, 7],
      });
      expectAttention(run({ key_padding_mask }).output, q, k, v, { bias: filter(-10000) });
      const mild = run({ key_padding_mask }, { mask_filter_value: -2 }).output;
      expectAttention(mild, q, k, v, { bias: filter(-2) });
      // Row 0 of a causal call that is padded in front sees padding alone.
      const self = { key: tensor(2, 5, 24), value: tensor(2, 5, 24) };
      const left = ints([0, 0, 1, 1, 1, 1, 1, 1, 1, 0], 2, 5);
      const bias = { data: Float32Array.from(left.data, (keeps) => (keeps ? 0 : -10000)), shape: [2, 1, 1, 5] };
      const { output } = run({ ...self, key_padding_mask: left }, { unidirectional: 1 });
      const options = { bias, causal: true, queryOffset: 0 };
      expectAttention(output, q, swapped(self.key, 3), swapped(self.value, 3), options);
    });

    it.each([[[1, 1]], [[2, 1]], [[1, 3]], [[2, 3]]])("adds attention_bias of %j", (shape) => {
      const bias = tensor(...shape, 5, 7);
      expectAttention(run({ attention_bias: bias }).output, q, k, v, { bias });
    });

    it("gives the masked scores", () => {
      const { qk } = run({ key_padding_mask: ints([4, 7]) });
      expect(qk.shape).toEqual([2, 3, 5, 7]);
      const row = Array.from(qk.data.subarray(0, 7), (score) => score < -9000);
      expect(row).toEqual([false, false, false, false, true, true, true]);
      const causal = run({ key: query, value: query }, { unidirectional: 1 }).qk;
      expect(Array.from(causal.data.subarray(5, 10), Number.isFinite)).toEqual([true, true, false, false, false]);
    });
  });

  describe("Attention of com.microsoft", () => {
    const [input, weights, bias] = [tensor(2, 5, 6), tensor(6, 60), tensor(60)];
    const attributes = { num_heads: 3, qkv_hidden_sizes: [24, 24, 12] };
    const project = (start: number, width: number, added = bias.data): Plain => {
      const data = Float32Array.from({ length: 10 * width }, (_, n) => {
        const [row, c] = [Math.floor(n / width), start + (n % width)];
        return Array.from({ length: 6 }, (_, i) => input.data[row * 6 + i]! * weights.data[i * 60 + c]!).reduce(
          (sum, x) => sum + x,
          added[c]!,
        );
      });
      return swapped({ data, shape: [2, 5, width] }, 3);
    };

    it("projects, with bias and without", () => {
      const [q, k, v] = [project(0, 24), project(24, 24), project(48, 12)];
      expectAttention(onnxAttention(heed, { input, weights, bias }, attributes).output, q, k, v, {});
      const none = new Float32Array(60);
      const plain = [project(0, 24, none), project(24, 24, none), project(48, 12, none)] as const;
      expectAttention(onnxAttention(heed, { input, weights }, attributes).output, ...plain, {});
    });

    it("masks, and goes on from its past", () => {
      const even = { num_heads: 3n, unidirectional: 1 };
      const inputs = { input, weights: tensor(6, 60), bias: tensor(60), past: tensor(2, 2, 3, 4, (20 / 3 / 1) | 0) };
      expect(() => onnxAttention(heed, inputs, even)).toThrow(RangeError);
      const square = { input, weights: tensor(6, 72), bias: tensor(72) };
      const past = tensor(2, 2, 3, 4, 8);
      const whole = onnxAttention(heed, { ...square, past, mask_index: ints([7, 9]) }, even);
      expect(whole.present.shape).toEqual([2, 2, 3, 9, 8]);
      expect(whole.present.data.subarray(0, 32)).toEqual(past.data.subarray(0, 32));
      const again = onnxAttention(
        heed,
        { ...square, past, mask_index: ints([7, 9]) },
        { ...even, mask_filter_value: -1e9 },
      );
      expect(again.output).toEqual(whole.output);
    });
  });
});
