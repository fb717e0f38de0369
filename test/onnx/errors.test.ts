// What heed/onnx refuses, by the name of the input or attribute.
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import {
  onnxAttention,
  onnxGroupQueryAttention,
  onnxMultiHeadAttention,
  onnxRotaryEmbedding,
} from "../../bindings/onnx/index.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";

const shape = (...lengths: number[]) => ({
  data: new Float32Array(lengths.reduce((size, length) => size * length, 1)),
  shape: lengths,
});
const ints = (data: readonly number[], ...lengths: number[]) => ({
  data: Int32Array.from(data),
  shape: lengths.length > 0 ? lengths : [data.length],
});

forEachBuild((_, open) => {
  const heed = open();

  const attention = { Q: shape(1, 2, 3, 4), K: shape(1, 2, 5, 4), V: shape(1, 2, 5, 4) };
  const multi = { query: shape(1, 3, 8), key: shape(1, 5, 8), value: shape(1, 5, 8) };
  const group = {
    ...{ query: shape(1, 3, 16), key: shape(1, 3, 8), value: shape(1, 3, 8) },
    ...{ seqlens_k: ints([2]), total_sequence_length: ints([3]) },
  };
  const tables = { cos_cache: shape(9, 2), sin_cache: shape(9, 2) };
  const contrib = { input: shape(1, 3, 4), weights: shape(4, 24) };
  const rotary = { X: shape(1, 2, 3, 4), ...tables, position_ids: ints([0, 1, 2], 1, 3) };
  const doubles = { data: new Float64Array(24), shape: [1, 2, 3, 4] };

  type Operator = (heed: Heed, inputs: never, attributes: never) => object;
  const A = [onnxAttention as Operator, attention, {}] as const;
  const A3 = [onnxAttention as Operator, { Q: shape(1, 3, 8), K: shape(1, 5, 8), V: shape(1, 5, 8) }, {}] as const;
  const C = [onnxAttention as Operator, contrib, { num_heads: 2 }] as const;
  const M = [onnxMultiHeadAttention as Operator, multi, { num_heads: 2 }] as const;
  const G = [onnxGroupQueryAttention as Operator, group, { num_heads: 4, kv_num_heads: 2 }] as const;
  const R = [onnxRotaryEmbedding as Operator, rotary, {}] as const;
  const past = { past_key: shape(1, 2, 4, 4), past_value: shape(1, 2, 4, 4) };
  const rotates = { do_rotary: 1 };
  const bytes = { data: new Int8Array(32), shape: [1, 2, 4, 4] };
  const int8 = { past_key: bytes, past_value: bytes, k_scale: shape(1), v_scale: shape(1, 2, 1, 4) };
  const oneNaN = { data: Float32Array.from({ length: 8 }, (_, n) => (n < 7 ? 1 : NaN)), shape: [1, 2, 1, 4] };
  const quantised = { k_quant_type: "PER_TENSOR", v_quant_type: "PER_CHANNEL", kv_cache_bit_width: 8 };
  const slides = { sliding_window_cache: 1, local_window_size: 3 };

  describe("refuses", () => {
    it.each<[string, string, Refusal, readonly [Operator, object, object], object, object?]>([
      ["Q missing", "Q", TypeError, A, { Q: undefined }],
      ["Q null", "Q", TypeError, A, { Q: null }],
      ["Q of doubles", "Q.data", TypeError, A, { Q: doubles }],
      ["Q without a shape", "Q.shape", TypeError, A, { Q: { data: new Float32Array(2) } }],
      ["Q of two dimensions", "Q.shape", RangeError, A, { Q: shape(4, 4) }],
      [
        "Q of another length than its shape",
        "Q.data",
        RangeError,
        A,
        { Q: { data: new Float32Array(3), shape: [1, 2, 3, 4] } },
      ],
      ["Q of a broken shape", "Q.shape[1]", RangeError, A, { Q: { data: new Float32Array(3), shape: [1, 0.5, 3, 4] } }],
      ["K of another batch", "K.shape", RangeError, A, { K: shape(2, 2, 5, 4) }],
      ["K of another head size", "K.shape", RangeError, A, { K: shape(1, 2, 5, 3) }],
      ["K of heads that do not divide", "K", RangeError, A, { K: shape(1, 3, 5, 4) }],
      ["V of another length", "V.shape", RangeError, A, { V: shape(1, 2, 4, 4) }],
      ["V of other heads", "V.shape", RangeError, A, { V: shape(1, 1, 5, 4) }],
      ["three dimensions without q_num_heads", "attributes.q_num_heads", TypeError, A3, {}, { kv_num_heads: 2 }],
      ["heads that do not divide Q", "Q.shape[2]", RangeError, A3, {}, { q_num_heads: 3, kv_num_heads: 3 }],
      ["other heads than Q has", "attributes.q_num_heads", RangeError, A, {}, { q_num_heads: 3 }],
      ["past_key alone", "past_value", RangeError, A, { past_key: past.past_key }],
      ["past_value alone", "past_key", RangeError, A, { past_value: past.past_value }],
      ["past_key of another shape", "past_key.shape", RangeError, A, { ...past, past_key: shape(1, 2, 4, 5) }],
      ["past_value of another length", "past_value.shape", RangeError, A, { ...past, past_value: shape(1, 2, 3, 4) }],
      ["a mask of more keys", "attn_mask.shape[1]", RangeError, A, { attn_mask: shape(3, 6) }],
      ["a mask that does not broadcast", "attn_mask.shape[0]", RangeError, A, { attn_mask: shape(2, 5) }],
      ["a mask of integers", "attn_mask.data", TypeError, A, { attn_mask: ints([1, 1, 1, 1, 1]) }],
      [
        "nonpad_kv_seqlen of another batch",
        "nonpad_kv_seqlen.shape",
        RangeError,
        A,
        { nonpad_kv_seqlen: ints([1, 2]) },
      ],
      ["nonpad_kv_seqlen beyond the keys", "nonpad_kv_seqlen[0]", RangeError, A, { nonpad_kv_seqlen: ints([6]) }],
      ["nonpad_kv_seqlen of floats", "nonpad_kv_seqlen.data", TypeError, A, { nonpad_kv_seqlen: shape(1) }],
      ["an input that there is not", "inputs", TypeError, A, { mask: shape(1) }],
      ["an attribute that there is not", "attributes", TypeError, A, {}, { causal: 1 }],
      ["is_causal 2", "attributes.is_causal", RangeError, A, {}, { is_causal: 2 }],
      ["scale a string", "attributes.scale", TypeError, A, {}, { scale: "1" }],
      ["scale NaN", "attributes.scale", RangeError, A, {}, { scale: NaN }],
      ["a mode of 4", "attributes.qk_matmul_output_mode", RangeError, A, {}, { qk_matmul_output_mode: 4 }],
      ["a precision of integers", "attributes.softmax_precision", RangeError, A, {}, { softmax_precision: 7 }],
      ["a window of -2", "attributes.left_window_size", RangeError, A, {}, { left_window_size: -2 }],
      ["sizes that are not the weights'", "weights.shape", RangeError, C, {}, { qkv_hidden_sizes: [8, 8, 4] }],
      ["sizes of two", "attributes.qkv_hidden_sizes", RangeError, C, {}, { qkv_hidden_sizes: [8, 8] }],
      ["sizes no array", "attributes.qkv_hidden_sizes", TypeError, C, {}, { qkv_hidden_sizes: 8 }],
      ["a bias of another size", "bias.shape", RangeError, C, { bias: shape(8) }],
      ["rotary inside of Attention", "attributes.do_rotary", RangeError, C, {}, { do_rotary: 1 }],
      ["a past of another shape", "past.shape", RangeError, C, { past: shape(2, 1, 2, 3, 5) }],
      ["a mask_index of four dimensions", "mask_index.shape", RangeError, C, { mask_index: ints([1], 1, 1, 1, 1) }],
      ["num_heads missing", "attributes.num_heads", TypeError, M, {}, { num_heads: undefined }],
      ["key missing", "key", TypeError, M, { key: undefined }],
      ["value missing", "value", TypeError, M, { value: undefined }],
      ["value beside a packed key", "value", RangeError, M, { key: shape(1, 5, 2, 2, 4) }],
      ["key beside a packed query", "query.shape", RangeError, M, { query: shape(1, 5, 2, 3, 4) }],
      ["a packed key of other heads", "key.shape", RangeError, M, { key: shape(1, 5, 3, 2, 4), value: undefined }],
      ["a bias of another size ", "bias.shape", RangeError, M, { bias: shape(23) }],
      ["a mask of another shape", "key_padding_mask.shape", RangeError, M, { key_padding_mask: ints([1, 1, 1, 1]) }],
      ["starts of packed sequences", "key_padding_mask[2]", RangeError, M, { key_padding_mask: ints([3, 0, 2, 0, 5]) }],
      ["a mask of floats", "key_padding_mask.data", TypeError, M, { key_padding_mask: shape(1, 5) }],
      [
        "an attention_bias that does not broadcast",
        "attention_bias.shape",
        RangeError,
        M,
        { attention_bias: shape(1, 2, 1, 5) },
      ],
      ["past_key without past_value", "past_value", TypeError, M, { past_key: past.past_key }],
      ["more past than there is", "past_sequence_length", RangeError, M, { ...past, past_sequence_length: ints([5]) }],
      [
        "two lengths of the past",
        "past_sequence_length.data",
        RangeError,
        M,
        { ...past, past_sequence_length: ints([1, 2]) },
      ],
      ["cache_indirection", "cache_indirection", RangeError, M, { cache_indirection: ints([1], 1, 1, 1) }],
      ["KV heads that do not divide", "attributes.kv_num_heads", RangeError, G, {}, { kv_num_heads: 3 }],
      ["seqlens_k missing", "seqlens_k", TypeError, G, { seqlens_k: undefined }],
      ["seqlens_k of another batch", "seqlens_k.shape", RangeError, G, { seqlens_k: ints([1, 1]) }],
      ["seqlens_k beyond total_sequence_length", "seqlens_k[0]", RangeError, G, { seqlens_k: ints([3]) }],
      ["total_sequence_length missing", "total_sequence_length", TypeError, G, { total_sequence_length: undefined }],
      [
        "total_sequence_length below the new rows",
        "total_sequence_length",
        RangeError,
        G,
        { total_sequence_length: ints([2]) },
      ],
      [
        "a past that is not there",
        "seqlens_k[0]",
        RangeError,
        G,
        { seqlens_k: ints([4]), total_sequence_length: ints([6]) },
      ],
      [
        "packed rows that do not divide",
        "query.shape[2]",
        RangeError,
        G,
        { query: shape(1, 3, 15), key: undefined, value: undefined },
      ],
      ["value alone", "key", TypeError, G, { key: undefined }],
      [
        "rotary of more rows of query than there are keys",
        "seqlens_k[0]",
        RangeError,
        G,
        {
          ...{ key: shape(1, 1, 8), value: shape(1, 1, 8), seqlens_k: ints([0]), total_sequence_length: ints([1]) },
          ...tables,
        },
        rotates,
      ],
      ["value of another shape", "value.shape", RangeError, G, { value: shape(1, 3, 6) }],
      ["rotary without tables", "cos_cache", TypeError, G, {}, rotates],
      [
        "tables wider than a row",
        "cos_cache.shape[1]",
        RangeError,
        G,
        { cos_cache: shape(9, 3), sin_cache: shape(9, 3) },
        rotates,
      ],
      [
        "tables that end too early",
        "cos_cache.shape[0]",
        RangeError,
        G,
        { cos_cache: shape(2, 2), sin_cache: shape(2, 2) },
        rotates,
      ],
      [
        "sin_cache of another shape",
        "sin_cache.shape",
        RangeError,
        G,
        { cos_cache: shape(9, 2), sin_cache: shape(8, 2) },
        rotates,
      ],
      [
        "position_ids beyond the tables",
        "position_ids[2]",
        RangeError,
        G,
        { ...tables, position_ids: ints([0, 1, 9], 1, 3) },
        rotates,
      ],
      [
        "position_ids of another shape",
        "position_ids.shape",
        RangeError,
        G,
        { ...tables, position_ids: ints([0], 1, 1) },
        rotates,
      ],
      ["a sink of other heads", "head_sink.shape", RangeError, G, { head_sink: shape(2) }],
      ["a window of no key", "attributes.local_window_size", RangeError, G, {}, { local_window_size: 0 }],
      [
        "a window without causal",
        "attributes.local_window_size",
        RangeError,
        G,
        {},
        { local_window_size: 2, causal: 0 },
      ],
      ["q_norm_weight alone", "k_norm_weight", TypeError, G, { q_norm_weight: shape(4) }],
      ["a quantised cache without a scale", "k_scale", TypeError, G, {}, { k_quant_type: "PER_TENSOR" }],
      ["a scale without a quantised cache", "k_scale", RangeError, G, { k_scale: shape(1) }],
      ["scales of another type", "k_scale.data", RangeError, G, { ...int8, k_scale: shape(8) }, quantised],
      ["scales of other channels", "v_scale.data", RangeError, G, { ...int8, v_scale: shape(1, 2, 1, 3) }, quantised],
      ["a scale that is none", "v_scale[7]", RangeError, G, { ...int8, v_scale: oneNaN }, quantised],
      ["floats in a quantised cache", "past_key.data", TypeError, G, { ...int8, ...past }, quantised],
      ["int8 in a cache of floats", "past_key.data", TypeError, G, { ...int8, k_scale: undefined, v_scale: undefined }],
      ["a quantised cache without a past", "past_key", TypeError, G, { ...int8, past_key: undefined }, quantised],
      [
        "K alone quantised",
        "attributes.v_quant_type",
        RangeError,
        G,
        { ...int8, v_scale: undefined },
        { ...quantised, v_quant_type: "NONE" },
      ],
      ["4 bits", "attributes.kv_cache_bit_width", RangeError, G, int8, { ...quantised, kv_cache_bit_width: 4 }],
      ["another type of scales", "attributes.k_quant_type", RangeError, G, int8, { ...quantised, k_quant_type: "ROW" }],
      ["a third output of qk", "attributes.qk_output", RangeError, G, {}, { qk_output: 3 }],
      ["a cache of no window", "attributes.local_window_size", RangeError, G, past, { sliding_window_cache: 1 }],
      ["a cache of a window without a past", "past_key", TypeError, G, {}, slides],
      ["a cache below its window", "past_key.shape[2]", RangeError, G, past, { ...slides, local_window_size: 5 }],
      [
        "a bias for a cache of a window",
        "attention_bias",
        RangeError,
        G,
        { ...past, attention_bias: shape(1) },
        slides,
      ],
      ["scores of a cache of a window", "attributes.qk_output", RangeError, G, past, { ...slides, qk_output: 1 }],
      [
        "a window that starts before the text",
        "seqlens_k[0]",
        RangeError,
        G,
        { ...past, seqlens_k: ints([1]), total_sequence_length: ints([9]) },
        slides,
      ],
      ["X missing", "X", TypeError, R, { X: undefined }],
      ["X of heads that are no whole", "X.shape[2]", RangeError, R, { X: shape(1, 3, 7) }, { num_heads: 2 }],
      ["tables of three dimensions beside ids", "cos_cache.shape", RangeError, R, { cos_cache: shape(1, 3, 2) }],
      ["tables of two dimensions without ids", "cos_cache.shape", RangeError, R, { position_ids: undefined }],
      ["rotary_embedding_dim beside other tables", "cos_cache.shape", RangeError, R, {}, { rotary_embedding_dim: 2 }],
      ["an id beyond the tables", "position_ids[1]", RangeError, R, { position_ids: ints([0, 9, 1], 1, 3) }],
      ["ids of another length", "position_ids.data", RangeError, R, { position_ids: ints([0, 1], 1, 2) }],
      ["packed batches", "attributes.is_packed_batching", RangeError, R, {}, { is_packed_batching: 1 }],
    ])("%s", (_, named, kind, [operator, inputs, attributes], wrong, more = {}) => {
      const { used } = heed.memory;
      const call = () => operator(heed, { ...inputs, ...wrong } as never, { ...attributes, ...more } as never);
      expectRefusal(kind, named, call);
      expect(heed.memory.used).toBe(used);
    });
  });
});
