// heed/onnx against the f64 reference, with what the operators do to their inputs written out plainly here.
import { describe, expect, it, vi } from "vitest";
import {
  type OnnxTensor,
  onnxAttention,
  onnxGroupQueryAttention,
  onnxMultiHeadAttention,
  onnxRotaryEmbedding,
} from "../bindings/onnx/index.ts";
import { floorOf, maxError } from "./budget.ts";
import { forEachBuild } from "./builds.ts";
import { naive } from "./naive.ts";
import { floats, uniform } from "./random.ts";
import { type PlainOptions, reference } from "./reference.ts";
import { tablesOf } from "./rotary.ts";

type Floats = Float32Array<ArrayBuffer>;
interface Plain {
  data: Floats;
  shape: number[];
}

let seed = 0;
const tensor = (...shape: number[]): Plain => ({
  data: floats(
    shape.reduce((size, length) => size * length, 1),
    uniform(++seed),
  ),
  shape,
});
const ints = (data: readonly number[], ...shape: number[]) => ({
  data: Int32Array.from(data),
  shape: shape.length > 0 ? shape : [data.length],
});

/** [b, m, n, dim] as [b, n, m, dim]; of three dimensions, m is split off the last one. */
function swapped({ data, shape }: Plain, m?: number): Plain {
  const [b, rows, heads, dim] =
    m === undefined ? (shape as [number, number, number, number]) : [shape[0]!, shape[1]!, m, shape[2]! / m];
  const to = new Float32Array(data.length);
  for (let n = 0; n < b * rows * heads; n++) {
    const [batch, row, head] = [Math.floor(n / (rows * heads)), Math.floor(n / heads) % rows, n % heads];
    to.set(data.subarray(n * dim, (n + 1) * dim), ((batch * heads + head) * rows + row) * dim);
  }
  return { data: to, shape: [b, heads, rows, dim] };
}

/** a before b along dimension 2. */
function joined(a: Plain, b: Plain): Plain {
  const [batch, heads, rows, dim] = a.shape as [number, number, number, number];
  const length = rows + b.shape[2]!;
  const data = new Float32Array(batch * heads * length * dim);
  for (let n = 0; n < batch * heads; n++) {
    data.set(a.data.subarray(n * rows * dim, (n + 1) * rows * dim), n * length * dim);
    data.set(b.data.subarray(n * (length - rows) * dim, (n + 1) * (length - rows) * dim), (n * length + rows) * dim);
  }
  return { data, shape: [batch, heads, length, dim] };
}

/** x[…, i] + bias[start + i] */
const plus = ({ data, shape }: Plain, bias: Floats, start: number): Plain => ({
  data: data.map((x, at) => x + bias[start + (at % shape.at(-1)!)]!),
  shape,
});

/** Expects an output to be attention from q to k and v, all [batch, heads, length, dim], within the budget of plain f32. */
function expectAttention(got: OnnxTensor, q: Plain, k: Plain, v: Plain, given: Partial<PlainOptions>): void {
  const [batch, numHeads, length, headDim] = q.shape as [number, number, number, number];
  const sizes = { batch, numHeads, headDim, numKvHeads: k.shape[1]!, valueDim: v.shape[3]!, layout: "bhld" as const };
  const options: PlainOptions = { ...given, ...sizes };
  const exact = reference(q.data, k.data, v.data, options);
  const plain = naive(q.data, k.data, v.data, options);
  const budget = Math.max(
    2 * maxError(plain.out, exact.out),
    floorOf({ q: q.data, k: k.data, v: v.data, options }, exact).out,
  );
  const isPacked = got.shape.length === 3;
  const rows = isPacked ? swapped({ data: Float32Array.from(got.data), shape: [...got.shape] }, numHeads) : got;
  expect(rows.shape).toEqual([batch, numHeads, length, v.shape[3]]);
  expect(maxError(rows.data, exact.out)).toBeLessThanOrEqual(budget);
}

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

  describe("GroupQueryAttention", () => {
    const attributes = { num_heads: 4, kv_num_heads: 2 };
    const lengths = (total: number, ...keys: number[]) => ({
      seqlens_k: ints(keys.map((n) => n - 1)),
      total_sequence_length: ints([total]),
    });
    const make = (length: number, batch = 2, dim = 16) => ({
      query: tensor(batch, length, 4 * dim),
      key: tensor(batch, length, 2 * dim),
      value: tensor(batch, length, 2 * dim),
    });
    const rowsOf = ({ query, key, value }: ReturnType<typeof make>) =>
      [swapped(query, 4), swapped(key, 2), swapped(value, 2)] as const;
    const pastOf = (length: number, batch = 2) => ({
      past_key: tensor(batch, 2, length, 16),
      past_value: tensor(batch, 2, length, 16),
    });
    /** The rows of `past` up to starts[b], then those of `next`, then zeros. */
    const put = (past: Plain, next: Plain, starts: number[], length: number): Plain => {
      const data = new Float32Array(2 * 2 * length * 16);
      for (let n = 0; n < 4; n++) {
        const start = starts[n >> 1]! * 16;
        const [from, rows] = [past.shape[2]! * 16, next.shape[2]! * 16];
        data.set(past.data.subarray(n * from, n * from + start), n * length * 16);
        data.set(next.data.subarray(n * rows, (n + 1) * rows), n * length * 16 + start);
      }
      return { data, shape: [2, 2, length, 16] };
    };

    it("is causal over a prompt, which may be padded behind", () => {
      const given = make(5);
      const outputs = onnxGroupQueryAttention(heed, { ...given, ...lengths(5, 5, 3) }, attributes);
      const [q, k, v] = rowsOf(given);
      const options = { causal: true, queryOffset: 0, kvLengths: Int32Array.of(5, 3) };
      expectAttention(outputs.output, q, k, v, options);
      expect([outputs.present_key, outputs.present_value]).toEqual([k, v]);
      const both = onnxGroupQueryAttention(heed, { ...given, ...lengths(5, 5, 5) }, { ...attributes, causal: 0 });
      expectAttention(both.output, q, k, v, {});
    });

    it("takes q, k and v packed", () => {
      const { query, key, value } = make(5);
      const packed = new Float32Array(2 * 5 * 128);
      for (let row = 0; row < 10; row++) {
        packed.set(query.data.subarray(row * 64, row * 64 + 64), row * 128);
        packed.set(key.data.subarray(row * 32, row * 32 + 32), row * 128 + 64);
        packed.set(value.data.subarray(row * 32, row * 32 + 32), row * 128 + 96);
      }
      const of = (inputs: object) =>
        onnxGroupQueryAttention(heed, { ...inputs, ...lengths(5, 5, 5) } as never, attributes).output;
      expect(of({ query: { data: packed, shape: [2, 5, 128] } })).toEqual(of({ query, key, value }));
    });

    it.each([
      [1, 9, [9, 5]],
      [1, 10, [10, 5]],
      [3, 9, [9, 7]],
      [3, 12, [12, 7]],
    ])("goes on from a ragged past, %i new rows to %i", (length, total, keys) => {
      const [given, past] = [make(length), pastOf(9)];
      const starts = keys.map((n) => n - length);
      const [q, k, v] = rowsOf(given);
      const size = Math.max(9, total);
      const all = [put(past.past_key, k, starts, size), put(past.past_value, v, starts, size)] as const;
      const outputs = onnxGroupQueryAttention(heed, { ...given, ...past, ...lengths(total, ...keys) }, attributes);
      const options = { causal: true, queryOffset: Int32Array.from(starts), kvLengths: Int32Array.from(keys) };
      expectAttention(outputs.output, q, ...all, options);
      expect([outputs.present_key, outputs.present_value]).toEqual(all);
      const attention_bias = tensor(1, 4, length, total);
      const bias = {
        data: Float32Array.from({ length: 4 * length * size }, (_, n) =>
          n % size < total ? attention_bias.data[Math.floor(n / size) * total + (n % size)]! : 0,
        ),
        shape: [1, 4, length, size],
      };
      const inputs = { ...given, ...past, ...lengths(total, ...keys), attention_bias };
      const capped = onnxGroupQueryAttention(heed, inputs, { ...attributes, softcap: 2, scale: 0.3 });
      expectAttention(capped.output, q, ...all, { ...options, bias, softcap: 2, scale: 0.3 });
    });

    it("knows windows of keys with the query's own, sinks and the smooth softmax", () => {
      const given = make(7);
      const [q, k, v] = rowsOf(given);
      const options = { causal: true, queryOffset: 0 };
      const run = (inputs: object, more: object) =>
        onnxGroupQueryAttention(heed, { ...given, ...lengths(7, 7, 7), ...inputs }, { ...attributes, ...more }).output;
      expectAttention(run({}, { local_window_size: 3 }), q, k, v, { ...options, window: { left: 2 } });
      expectAttention(run({}, { local_window_size: -1n }), q, k, v, options);
      const head_sink = tensor(4);
      expectAttention(run({ head_sink }, {}), q, k, v, { ...options, sinks: head_sink.data });
      expectAttention(run({}, { smooth_softmax: 1 }), q, k, v, { ...options, sinks: new Float32Array(4) });
    });

    it.each([0, 1])("rotates behind the past, or by position_ids, interleaved: %i", (rotary_interleaved) => {
      const { cos, sin } = tablesOf(20, 6);
      const tables = { cos_cache: { data: cos, shape: [20, 6] }, sin_cache: { data: sin, shape: [20, 6] } };
      const rotary = { ...attributes, do_rotary: 1, rotary_interleaved };
      const turned = ({ data, shape }: Plain, positions: number[]): Plain => {
        const [batch, numHeads, , headDim] = shape as [number, number, number, number];
        const form = { cos, sin, rotaryDim: 12, interleaved: rotary_interleaved === 1, layout: "bhld" as const };
        return {
          data: heed.rotary(data, { ...form, batch, numHeads, headDim, positions: Int32Array.from(positions) }).out,
          shape,
        };
      };
      const check = (length: number, total: number, keys: number[], positions: number[], ids?: number[]) => {
        const [given, past] = [make(length), pastOf(9)];
        const [q, k, v] = rowsOf(given);
        const starts = keys.map((n) => (length === total ? 0 : n - length));
        const position_ids = ids && { data: BigInt64Array.from(ids, BigInt), shape: [2, length] };
        const inputs = { ...given, ...past, ...lengths(total, ...keys), ...tables, position_ids };
        const outputs = onnxGroupQueryAttention(heed, inputs, rotary);
        const all = [
          put(past.past_key, turned(k, positions), starts, Math.max(9, total)),
          put(past.past_value, v, starts, Math.max(9, total)),
        ] as const;
        const options = { causal: true, queryOffset: Int32Array.from(starts), kvLengths: Int32Array.from(keys) };
        expectAttention(outputs.output, turned(q, positions), ...all, options);
        expect(outputs.present_key).toEqual(all[0]);
      };
      check(2, 9, [9, 5], [7, 8, 3, 4]);
      check(2, 9, [9, 5], [1, 0, 19, 3], [1, 0, 19, 3]);
      check(3, 3, [3, 2], [0, 1, 2, 0, 1, 2]);
      // Of a prompt the first element counts.
      check(3, 3, [3, 2], [5, 6, 7, 5, 6, 7], [5, 0, 0, 9, 9, 9]);
    });

    it("divides the rows of q and k by their root mean square where they come with weights", () => {
      const given = make(5);
      const [ofQ, ofK] = [tensor(16), tensor(16)];
      const [q, k, v] = rowsOf(given);
      const norm = ({ data, shape }: Plain, weight: Floats): Plain => ({
        data: data.map((x, at) => {
          const row = Array.from(data.subarray(at - (at % 16), at - (at % 16) + 16));
          return (x / Math.sqrt(row.reduce((sum, y) => sum + y * y, 0) / 16 + 0.5)) * weight[at % 16]!;
        }),
        shape,
      });
      const inputs = { ...given, ...lengths(5, 5, 5), q_norm_weight: ofQ, k_norm_weight: ofK };
      const { output } = onnxGroupQueryAttention(heed, inputs, { ...attributes, qk_norm_epsilon: 0.5 });
      expectAttention(output, norm(q, ofQ.data), norm(k, ofK.data), v, { causal: true, queryOffset: 0 });
    });

    it("gives the scores before the softmax or the weights after it", () => {
      const given = { ...make(3), ...pastOf(9), ...lengths(6, 6, 6) };
      const before = onnxGroupQueryAttention(heed, given, { ...attributes, qk_output: 1 }).output_qk;
      const after = onnxGroupQueryAttention(heed, given, { ...attributes, qk_output: 2 }).output_qk;
      for (const { shape } of [before, after]) expect(shape).toEqual([2, 4, 3, 6]);
      for (let at = 0; at < after.data.length; at += 6) {
        const scores = Array.from(before.data.subarray(at, at + 6), (score) => score || -Infinity);
        const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
        const weights = scores.map((score) => Math.exp(score) / total);
        // Scores of at most 16·3·¼, half an ulp each, and four roundings of the weights.
        expect(maxError(after.data.subarray(at, at + 6), weights)).toBeLessThan((12 + 4) * 2 ** -24);
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
