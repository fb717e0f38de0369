import { wrongKind, wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import { outputsOf } from "./outputs.ts";
import { biasOf } from "./masks.ts";
import { normalized, rotatedRows } from "./query-key.ts";
import { Rows, type ScoreOptions, attend, columns, scores, written } from "./rows.ts";
import { type OnnxIntegers, type OnnxNumber, type OnnxTensor, Operands, checkShape } from "./operands.ts";

/** Inputs of com.microsoft's GroupQueryAttention. */
export interface OnnxGroupQueryAttentionInputs {
  /** [batch, length, num_heads·head_size]; or q, k and v packed, [batch, length, (num_heads + 2·kv_num_heads)·head_size]. */
  query: OnnxTensor;
  /** [batch, kv_length, kv_num_heads·head_size] */
  key?: OnnxTensor | undefined;
  value?: OnnxTensor | undefined;
  /** [batch, kv_num_heads, past_length, head_size], or with room for the rows to come. */
  past_key?: OnnxTensor | undefined;
  past_value?: OnnxTensor | undefined;
  /** [batch]: keys of each sequence with those of this call, − 1. */
  seqlens_k: OnnxIntegers;
  /** One integer: the most keys of a sequence. */
  total_sequence_length: OnnxIntegers;
  /** [max_positions, rotary_dim / 2] */
  cos_cache?: OnnxTensor | undefined;
  sin_cache?: OnnxTensor | undefined;
  /** [batch, length] */
  position_ids?: OnnxIntegers | undefined;
  /** [batch or 1, num_heads or 1, length, total_sequence_length] */
  attention_bias?: OnnxTensor | undefined;
  /** [num_heads]: a logit in the denominator of each head. */
  head_sink?: OnnxTensor | undefined;
  /** [head_size], both or none: rows of q and of k are divided by their root mean square and multiplied by this, before they are rotated. */
  q_norm_weight?: OnnxTensor | undefined;
  k_norm_weight?: OnnxTensor | undefined;
  /** Refused: caches are of f32 here. */
  k_scale?: undefined;
  v_scale?: undefined;
}

export interface OnnxGroupQueryAttentionAttributes {
  num_heads: OnnxNumber;
  kv_num_heads: OnnxNumber;
  scale?: OnnxNumber | undefined;
  softcap?: OnnxNumber | undefined;
  /** Default 1. */
  causal?: OnnxNumber | undefined;
  /** Keys that a query sees, itself included; −1 = all. */
  local_window_size?: OnnxNumber | undefined;
  do_rotary?: OnnxNumber | undefined;
  rotary_interleaved?: OnnxNumber | undefined;
  /** One more logit of 0 in the denominator. */
  smooth_softmax?: OnnxNumber | undefined;
  /** What output_qk is: 1 the scores before the softmax, 2 after it. */
  qk_output?: OnnxNumber | undefined;
  qk_norm_epsilon?: OnnxNumber | undefined;
  /** Only 0. */
  sliding_window_cache?: OnnxNumber | undefined;
  /** Only "NONE". */
  k_quant_type?: string | undefined;
  v_quant_type?: string | undefined;
  kv_cache_bit_width?: OnnxNumber | undefined;
}

/** Each is made when it is first read; until then leave the inputs as they are. */
export interface OnnxGroupQueryAttentionOutputs {
  /** [batch, length, num_heads·head_size] */
  readonly output: OnnxTensor;
  /** [batch, kv_num_heads, the longer of past_length and total_sequence_length, head_size] */
  readonly present_key: OnnxTensor;
  readonly present_value: OnnxTensor;
  /** [batch, num_heads, length, total_sequence_length]; 0 where a query does not see a key. */
  readonly output_qk: OnnxTensor;
}

const INPUTS = [
  "query",
  "key",
  "value",
  "past_key",
  "past_value",
  "seqlens_k",
  "total_sequence_length",
  "cos_cache",
  "sin_cache",
  "position_ids",
  "attention_bias",
  "head_sink",
  "k_scale",
  "v_scale",
  "q_norm_weight",
  "k_norm_weight",
];
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
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention): causal attention over a
 * cache whose sequences may differ in length.
 *
 * @throws TypeError or RangeError for inputs and attributes that do not fit, by name
 */
export function onnxGroupQueryAttention(
  heed: Heed,
  inputs: OnnxGroupQueryAttentionInputs,
  attributes: OnnxGroupQueryAttentionAttributes,
): OnnxGroupQueryAttentionOutputs {
  const operands = new Operands(inputs, INPUTS, attributes, ATTRIBUTES);
  refuseOthers(operands);
  const numHeads = operands.count("num_heads", 1);
  const numKvHeads = operands.count("kv_num_heads", 1);
  if (numHeads % numKvHeads !== 0) throw wrongValue("attributes.kv_num_heads", `a divisor of ${numHeads}`, numKvHeads);
  const given = projections(operands, numHeads, numKvHeads);
  const { batch, length } = given.q;
  const past = pastOf(operands, given.k);
  const { total, kvLengths } = lengthsOf(operands, batch, given.k.length);

  // A prompt may be padded behind: then its rows stand from 0 on all the same.
  const startsOf = (rows: Rows) => kvLengths.map((keys) => (length === total ? 0 : keys - rows.length));
  const [startsQ, startsK] = [startsOf(given.q), startsOf(given.k)];
  checkStarts(startsK, past.key?.length ?? 0);
  const { q, k } = rotatedRows(heed, operands, normalized(operands, given), startsQ, startsK, total);
  const present = Math.max(total, past.key?.length ?? 0);
  const keys = written(past.key, k, startsK, present);
  const values = written(past.value, given.v, startsK, present);
  const options: ScoreOptions = {
    ...scoreOptions(operands, numHeads, present, { batch: q.batch, seqLenQ: length, total }),
    queryOffset: startsQ,
    kvLengths,
  };
  const qkOutput = operands.count("qk_output", 0, 0);
  if (qkOutput > 2) throw wrongValue("attributes.qk_output", "0, 1 or 2", qkOutput);
  return outputsOf<OnnxGroupQueryAttentionOutputs>({
    output: () => attend(heed, q, keys, values, options).packed,
    present_key: () => keys.unpacked,
    present_value: () => values.unpacked,
    output_qk: () => {
      const { data } = scores(heed, q, keys, options, qkOutput === 2 ? "softmax" : "masked");
      const all = columns(data, present, 0, total);
      return { data: all.map((score) => (score === -Infinity ? 0 : score)), shape: [q.batch, numHeads, length, total] };
    },
  });
}

function checkStarts(starts: Int32Array, room: number): void {
  const wrong = starts.findIndex((start) => start < 0 || start > room);
  if (wrong >= 0) throw wrongValue(`seqlens_k[${wrong}]`, `a past of 0 to ${room} keys`, starts[wrong]);
}

function refuseOthers(operands: Operands): void {
  operands.refuseInputs("caches are of f32 here", "k_scale", "v_scale");
  operands.refuseAttribute("k_quant_type", "NONE", "caches are of f32 here");
  operands.refuseAttribute("v_quant_type", "NONE", "caches are of f32 here");
  operands.refuseAttribute("sliding_window_cache", 0, "caches hold whole sequences here");
}

/** q, k and v of their own, or packed into query. */
function projections(operands: Operands, numHeads: number, numKvHeads: number): { q: Rows; k: Rows; v: Rows } {
  const query = operands.required("query", [3]);
  if (operands.has("key") || operands.has("value")) {
    const [key, value] = [operands.required("key", [3]), operands.required("value", [3])];
    const q = Rows.of("query", query, numHeads);
    checkShape("key", key.shape, [q.batch, "kv_length", numKvHeads * q.dim]);
    checkShape("value", value.shape, key.shape);
    return { q, k: Rows.of("key", key, numKvHeads), v: Rows.of("value", value, numKvHeads) };
  }
  const [batch, length, width] = query.shape as [number, number, number];
  const dim = width / (numHeads + 2 * numKvHeads);
  if (!Number.isInteger(dim)) {
    throw wrongValue("query.shape[2]", `a multiple of ${numHeads + 2 * numKvHeads} (heads of q, k and v)`, width);
  }
  const take = (from: number, heads: number) => {
    const data = columns(query.data, width, from * dim, heads * dim);
    return Rows.of("query", { data, shape: [batch, length, heads * dim] }, heads);
  };
  return { q: take(0, numHeads), k: take(numHeads, numKvHeads), v: take(numHeads + numKvHeads, numKvHeads) };
}

function pastOf(operands: Operands, k: Rows): { key: Rows | undefined; value: Rows | undefined } {
  const [key, value] = [operands.floats("past_key", [4]), operands.floats("past_value", [4])];
  if (!key && !value) return { key: undefined, value: undefined };
  if (!key || !value) throw wrongKind(key ? "past_value" : "past_key", "{ data, shape } beside the other", undefined);
  checkShape("past_key", key.shape, [k.batch, k.heads, "past_length", k.dim]);
  checkShape("past_value", value.shape, key.shape);
  return { key: Rows.of("past_key", key, k.heads), value: Rows.of("past_value", value, k.heads) };
}

/** The most keys, and those of each sequence. */
function lengthsOf(operands: Operands, batch: number, kvLength: number): { total: number; kvLengths: Int32Array } {
  const last = operands.integers("seqlens_k", [1, 2]);
  if (!last) throw wrongKind("seqlens_k", "{ data, shape }", undefined);
  if (last.length !== batch) throw wrongValue("seqlens_k.shape", `[${batch}]`, `[${last.length}]`);
  const total = operands.integer("total_sequence_length");
  if (total === undefined) throw wrongKind("total_sequence_length", "{ data, shape }", undefined);
  if (total < kvLength) throw wrongValue("total_sequence_length", `at least ${kvLength} (rows of key)`, total);
  const wrong = last.findIndex((keys) => keys < 0 || keys >= total);
  if (wrong >= 0) {
    throw wrongValue(`seqlens_k[${wrong}]`, `from 0 to ${total - 1} (total_sequence_length − 1)`, last[wrong]);
  }
  return { total, kvLengths: last.map((keys) => keys + 1) };
}

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
    softcap: operands.number("softcap", 0) || undefined,
    // The key of a query itself is one of them.
    window: window > 0 ? { left: window - 1 } : undefined,
    sinks: sink?.data ?? smooth,
    bias: bias && withRoom(bias, present),
  };
}

/** The bias for keys up to `present`, of which those from its own end on are never read. */
function withRoom({ data, shape }: OnnxTensor, present: number): OnnxTensor {
  const own = shape[3]!;
  if (own === present) return { data, shape };
  const rows = data.length / own;
  const wider = new Float32Array(rows * present);
  for (let row = 0; row < rows; row++) wider.set(data.subarray(row * own, (row + 1) * own), row * present);
  return { data: wider, shape: [...shape.slice(0, 3), present] };
}
