// GroupQueryAttention of com.microsoft against the f64 reference, as in onnx.test.ts.
import { describe, expect, it } from "vitest";
import { onnxGroupQueryAttention } from "../../bindings/onnx/index.ts";
import { maxError } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Plain, expectAttention, ints, swapped, tensor } from "../support/onnx.ts";
import { tablesOf } from "../support/rotary.ts";

type Floats = Float32Array<ArrayBuffer>;

forEachBuild((_, open) => {
  const heed = open();

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
});
