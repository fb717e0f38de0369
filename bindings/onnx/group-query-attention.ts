import { wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import { outputsOf } from "./outputs.ts";
import { GroupQueryCache, type OnnxCache, type OnnxCacheData } from "./group-query-cache.ts";
import { given, zeros } from "./halves.ts";
import { biasOf } from "./masks.ts";
import { normalizeQueryKey, rotateQueryKey } from "./query-key.ts";
import {
  type Rows,
  type ScoreOptions,
  attend,
  shapedFloats,
  columns,
  padRows,
  rowsOf,
  scores,
  scoresIn,
  softcapOf,
  tensorOf,
} from "./rows.ts";
import {
  type OnnxFloats,
  type OnnxIntegers,
  type OnnxLike,
  type OnnxNumber,
  type OnnxTensor,
  CACHE,
  F32,
  FLOATS,
  INTEGERS,
  Operands,
  checkEach,
  checkShape,
  required,
} from "./operands.ts";

/** Inputs of the operator GroupQueryAttention of com.microsoft. @category Grouped-query attention */
export interface OnnxGroupQueryAttentionInputs<
  Query extends OnnxFloats = OnnxTensor,
  Cache extends OnnxCacheData = Query["data"],
> {
  /**
   * [batch, length, num_heads·head_size]; or q, k and v packed, [batch, length, (num_heads +
   * 2·kv_num_heads)·head_size]. All floats have its type, but for the past and the scales.
   */
  query: Query;
  /** [batch, kv_length, kv_num_heads·head_size] */
  key?: OnnxFloats | undefined;
  value?: OnnxFloats | undefined;
  /**
   * [batch, kv_num_heads, past_length, head_size]; past_length may have room for the new rows. Floats of any one type, or
   * Int8Arrays with k_scale and v_scale.
   */
  past_key?: OnnxCache<Cache> | undefined;
  past_value?: OnnxCache<Cache> | undefined;
  /** [batch]: how many keys each sequence has with those of this call, minus 1. */
  seqlens_k: OnnxIntegers;
  /** One integer: how many keys the longest sequence has with those of this call. */
  total_sequence_length: OnnxIntegers;
  /** [max_positions, rotary_dim / 2] */
  cos_cache?: OnnxFloats | undefined;
  sin_cache?: OnnxFloats | undefined;
  /** [batch, length] */
  position_ids?: OnnxIntegers | undefined;
  /** [batch or 1, num_heads or 1, length, total_sequence_length] */
  attention_bias?: OnnxFloats | undefined;
  /** [num_heads]: one more logit in the denominator of each head's softmax. */
  head_sink?: OnnxFloats | undefined;
  /** [head_size], both or none: rows of q and k are normalised (RMSNorm with this weight) before they are rotated. */
  q_norm_weight?: OnnxFloats | undefined;
  k_norm_weight?: OnnxFloats | undefined;
  /** What an int8 of past_key counts for: one number, or kv_num_heads·head_size of them, [1, kv_num_heads, 1, head_size]. */
  k_scale?: OnnxTensor | undefined;
  v_scale?: OnnxTensor | undefined;
}

/** Attributes of com.microsoft.GroupQueryAttention, by their own names. @category Grouped-query attention */
export interface OnnxGroupQueryAttentionAttributes {
  num_heads: OnnxNumber;
  kv_num_heads: OnnxNumber;
  scale?: OnnxNumber | undefined;
  softcap?: OnnxNumber | undefined;
  /** Default 1. */
  causal?: OnnxNumber | undefined;
  /** How many keys a query sees, that at its own position included; −1 = all. */
  local_window_size?: OnnxNumber | undefined;
  do_rotary?: OnnxNumber | undefined;
  rotary_interleaved?: OnnxNumber | undefined;
  /** 1 = one more logit of 0 in the denominator of every head's softmax. */
  smooth_softmax?: OnnxNumber | undefined;
  /** What output_qk is: 1 the scores before the softmax, 2 after it. */
  qk_output?: OnnxNumber | undefined;
  qk_norm_epsilon?: OnnxNumber | undefined;
  /**
   * 1 = past_key and past_value have past_length rows for ever, at least local_window_size of them: what no query can see
   * any more is given up in blocks of past_length − local_window_size + 1 tokens.
   */
  sliding_window_cache?: OnnxNumber | undefined;
  /** "NONE", "PER_TENSOR" or "PER_CHANNEL": how many scales there are. */
  k_quant_type?: string | undefined;
  v_quant_type?: string | undefined;
  /** Of quantised caches only 8 is supported. */
  kv_cache_bit_width?: OnnxNumber | undefined;
}

/**
 * Each output is made when it is first read. Do not change the inputs before that.
 *
 * @category Grouped-query attention
 */
export interface OnnxGroupQueryAttentionOutputs<
  Query extends OnnxFloats = OnnxTensor,
  Cache extends OnnxCacheData = Query["data"],
> {
  /** [batch, length, num_heads·head_size] */
  readonly output: OnnxLike<Query>;
  /**
   * [batch, kv_num_heads, the longer of past_length and total_sequence_length, head_size]; with sliding_window_cache
   * past_length rows, of which the first are the latest keys of the sequence and the rest are 0. Of the type of the past,
   * or of query where there is none.
   */
  readonly present_key: OnnxCache<Cache>;
  readonly present_value: OnnxCache<Cache>;
  /**
   * [batch, num_heads, length, total_sequence_length]; 0 where a query does not see a key. With sliding_window_cache it
   * has no columns.
   */
  readonly output_qk: OnnxLike<Query>;
}

const INPUTS = {
  query: FLOATS,
  key: FLOATS,
  value: FLOATS,
  past_key: CACHE,
  past_value: CACHE,
  seqlens_k: INTEGERS,
  total_sequence_length: INTEGERS,
  cos_cache: FLOATS,
  sin_cache: FLOATS,
  position_ids: INTEGERS,
  attention_bias: FLOATS,
  head_sink: FLOATS,
  k_scale: F32,
  v_scale: F32,
  q_norm_weight: FLOATS,
  k_norm_weight: FLOATS,
};
/** What has the type of query, key and value. */
const SAME_TYPE = ["cos_cache", "sin_cache", "attention_bias", "head_sink", "q_norm_weight", "k_norm_weight"];
const ATTRIBUTES = [
  "num_heads",
  "kv_num_heads",
  "scale",
  "softcap",
  "causal",
  "local_window_size",
  "do_rotary",
  "rotary_interleaved",
  "smooth_softmax",
  "qk_output",
  "qk_norm_epsilon",
  "sliding_window_cache",
  "k_quant_type",
  "v_quant_type",
  "kv_cache_bit_width",
];

/**
 * The operator GroupQueryAttention of com.microsoft
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention):
 * causal attention over a cache whose sequences may differ in length.
 *
 * @throws TypeError or RangeError for inputs and attributes that do not fit, by name
 * @example
 * import { load } from "heed";
 * import { onnxGroupQueryAttention } from "heed/onnx";
 *
 * const heed = await load();
 * const tensor = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape });
 * const inputs = {
 *   query: tensor(1, 1, 8 * 64), // one token after twenty
 *   key: tensor(1, 1, 2 * 64),
 *   value: tensor(1, 1, 2 * 64),
 *   past_key: tensor(1, 2, 20, 64),
 *   past_value: tensor(1, 2, 20, 64),
 *   seqlens_k: { data: Int32Array.of(20), shape: [1] },
 *   total_sequence_length: { data: Int32Array.of(21), shape: [] },
 * };
 * const { output, present_key } = onnxGroupQueryAttention(heed, inputs, { num_heads: 8, kv_num_heads: 2 });
 * console.log(output.shape, present_key.shape); // → [ 1, 1, 512 ] [ 1, 2, 21, 64 ]
 * @category Grouped-query attention
 */
export function onnxGroupQueryAttention<
  const Query extends OnnxFloats = OnnxTensor,
  Cache extends OnnxCacheData = Query["data"],
>(
  heed: Heed,
  inputs: OnnxGroupQueryAttentionInputs<Query, Cache>,
  attributes: OnnxGroupQueryAttentionAttributes,
): OnnxGroupQueryAttentionOutputs<Query, Cache> {
  const operands = new Operands(heed, inputs, INPUTS, attributes, ATTRIBUTES);
  const form = operands.formOf("query", "key", "value", ...SAME_TYPE);
  const numHeads = operands.heads("num_heads");
  const numKvHeads = operands.heads("kv_num_heads");
  if (numHeads % numKvHeads !== 0) throw wrongValue("attributes.kv_num_heads", `a divisor of ${numHeads}`, numKvHeads);
  const rows = projections(operands, numHeads, numKvHeads);
  const { batch, length } = rows.q;
  const cache = new GroupQueryCache(operands, rows.k, rows.v, form);
  const { total, kvLengths } = lengthsOf(operands, batch, rows.k.length);

  // The new rows stand behind the past. Those of a prompt start at 0, even where padding follows them.
  const isPrompt = length === total;
  const startsOf = (some: Rows) => kvLengths.map((keys) => (isPrompt ? 0 : keys - some.length));
  const [startsQ, startsK] = [startsOf(rows.q), startsOf(rows.k)];
  cache.check(startsK, total, rows.k.length);
  const normalized = normalizeQueryKey(operands, rows);
  const { q, k } = rotateQueryKey(heed, operands, normalized, startsQ, startsK, total, cache.form);
  const { keys, values, firsts, presentKey, presentValue } = cache.extend(k, rows.v, startsK, kvLengths, total);
  const options: ScoreOptions = {
    ...scoreOptions(operands, numHeads, keys.length, { batch: q.batch, seqLenQ: length, total }),
    queryOffset: startsQ.map((start, b) => start - firsts[b]!),
    kvLengths: kvLengths.map((end, b) => end - firsts[b]!),
  };
  const qkOutput = operands.count("qk_output", 0, 0, 2);
  return outputsOf({
    output: () => attend(heed, q, keys, values, options, form).packed,
    present_key: presentKey,
    present_value: presentValue,
    output_qk: () => {
      if (cache.isWindow) return tensorOf(zeros(0, form), [q.batch, numHeads, length, 0], form);
      const { data } = scores(heed, q, keys, options, qkOutput === 2 ? "softmax" : "masked");
      const visible = (data.length === 0 ? data : columns(data, keys.length, 0, total)).map((score) =>
        score === -Infinity ? 0 : score,
      );
      return scoresIn(form, { data: visible, shape: [q.batch, numHeads, length, total] });
    },
  }) as OnnxGroupQueryAttentionOutputs<Query, Cache>;
}

/** q, k and v: an input each, or packed into query. */
function projections(operands: Operands, numHeads: number, numKvHeads: number): { q: Rows; k: Rows; v: Rows } {
  const query = required(operands, "query", [3]);
  if (operands.has("key") || operands.has("value")) {
    const [key, value] = [required(operands, "key", [3]), required(operands, "value", [3])];
    const q = rowsOf("query", query, numHeads);
    checkShape("key", key.shape, [q.batch, "kv_length", numKvHeads * q.dim]);
    checkShape("value", value.shape, key.shape);
    return { q, k: rowsOf("key", key, numKvHeads), v: rowsOf("value", value, numKvHeads) };
  }
  const [batch, length, width] = query.shape as [number, number, number];
  const dim = width / (numHeads + 2 * numKvHeads);
  if (!Number.isInteger(dim)) {
    throw wrongValue("query.shape[2]", `a multiple of ${numHeads + 2 * numKvHeads} (heads of q, k and v)`, width);
  }
  const take = (firstHead: number, heads: number) => {
    const data = columns(query.data, width, firstHead * dim, heads * dim);
    return rowsOf("query", { data, shape: [batch, length, heads * dim], form: query.form }, heads);
  };
  return { q: take(0, numHeads), k: take(numHeads, numKvHeads), v: take(numHeads + numKvHeads, numKvHeads) };
}

/** How many keys there are with those of this call: `total` in the longest sequence, kvLengths in each. */
function lengthsOf(operands: Operands, batch: number, kvLength: number): { total: number; kvLengths: Int32Array } {
  required(operands, "seqlens_k", [1, 2]);
  required(operands, "total_sequence_length", [0, 1, 2]);
  const lastKeys = operands.integers("seqlens_k", [1, 2])!;
  const total = operands.integer("total_sequence_length")!;
  if (lastKeys.length !== batch) throw wrongValue("seqlens_k.shape", `[${batch}]`, `[${lastKeys.length}]`);
  if (total < kvLength) throw wrongValue("total_sequence_length", `at least ${kvLength} (rows of key)`, total);
  checkEach("seqlens_k", lastKeys, 0, total - 1, "total_sequence_length − 1");
  return { total, kvLengths: lastKeys.map((keys) => keys + 1) };
}

/** The options of attention that attributes, head_sink and attention_bias settle. `present`: keys that are there. */
function scoreOptions(
  operands: Operands,
  numHeads: number,
  present: number,
  sizes: { batch: number; seqLenQ: number; total: number },
): ScoreOptions {
  const causal = operands.flag("causal", true);
  const window = operands.count("local_window_size", -1, -1);
  if (window === 0) throw wrongValue("attributes.local_window_size", "-1, or at least 1 key", window);
  if (!causal && window > 0) throw wrongValue("attributes.local_window_size", "-1 (causal is 0)", window);
  const sink = operands.floats("head_sink", [1]);
  if (sink) checkShape("head_sink", sink.shape, [numHeads]);
  const smooth = operands.flag("smooth_softmax") ? new Float32Array(numHeads) : undefined;
  const bias = biasOf(operands, sizes, numHeads);
  return {
    causal,
    scale: operands.number("scale", 0) || undefined,
    softcap: softcapOf(operands),
    // local_window_size counts the key at the query's own position, `left` does not.
    window: window > 0 ? { left: window - 1 } : undefined,
    sinks: sink ? given(sink.data, sink.form) : smooth,
    // What the bias does not have belongs to keys that no query sees.
    bias: bias && sizes.batch * sizes.seqLenQ > 0 ? shapedFloats(padRows(bias, present, 0)) : undefined,
  };
}
