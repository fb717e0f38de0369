import { wrongKind, wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import { type OnnxPadding, biasOf, maskOptions } from "./masks.ts";
import { outputsOf } from "./outputs.ts";
import { type FloatForm, widened } from "./halves.ts";
import { type Past, appendRows, firstRows, pastOf, writeRows } from "./past.ts";
import { type ScoreOptions, Rows, attend, columns, inForm, rowsOf, scores } from "./rows.ts";
import {
  type OnnxFloats,
  type OnnxIntegers,
  type OnnxLike,
  type OnnxNumber,
  type OnnxTensor,
  type Operand,
  FLOATS,
  INTEGERS,
  Operands,
  PADDING,
  checkShape,
  required,
} from "./operands.ts";

/** Inputs of the operator MultiHeadAttention of com.microsoft. @category Multi-head attention */
export interface OnnxMultiHeadAttentionInputs<Query extends OnnxFloats = OnnxTensor> {
  /** [batch, length, hidden]; or q, k and v packed, [batch, length, num_heads, 3, head_size]. All floats have its type. */
  query: Query;
  /**
   * [batch, kv_length, hidden]; k and v packed, [batch, kv_length, num_heads, 2, head_size]; or [batch, num_heads,
   * kv_length, head_size].
   */
  key?: OnnxFloats | undefined;
  /** [batch, kv_length, v_hidden], or [batch, num_heads, kv_length, v_head_size]. */
  value?: OnnxFloats | undefined;
  /** [hidden + hidden + v_hidden]: added to q, k and v; to q alone where key has four dimensions. */
  bias?: OnnxFloats | undefined;
  /**
   * [batch], [3·batch + 2], [batch, kv_length], [batch, total_length] or [batch, length, total_length]; 0 = padding.
   */
  key_padding_mask?: OnnxPadding | undefined;
  /** [batch or 1, num_heads or 1, length, total_length] */
  attention_bias?: OnnxFloats | undefined;
  /** [batch, num_heads, past_length, head_size] */
  past_key?: OnnxFloats | undefined;
  past_value?: OnnxFloats | undefined;
  /** How many rows of past_key are filled, where it has room for the new rows too. */
  past_sequence_length?: OnnxIntegers | undefined;
  /** Refused: the caller reorders beams. */
  cache_indirection?: undefined;
}

/** Attributes of com.microsoft.MultiHeadAttention, by their own names. @category Multi-head attention */
export interface OnnxMultiHeadAttentionAttributes {
  num_heads: OnnxNumber;
  scale?: OnnxNumber | undefined;
  unidirectional?: OnnxNumber | undefined;
  /** What is added to the scores of padding. Default −10000. */
  mask_filter_value?: OnnxNumber | undefined;
}

/** Each output is made when it is first read. Do not change the inputs before that. @category Multi-head attention */
export interface OnnxMultiHeadAttentionOutputs<Query extends OnnxFloats = OnnxTensor> {
  /** [batch, length, v_hidden] */
  readonly output: OnnxLike<Query>;
  /** [batch, num_heads, total_length, head_size]; as long as past_key where that has room for the new rows. */
  readonly present_key: OnnxLike<Query>;
  readonly present_value: OnnxLike<Query>;
  /** The scores, masked, before the softmax: [batch, num_heads, length, total_length]. Always f32. */
  readonly qk: OnnxTensor;
}

const INPUTS = {
  query: FLOATS,
  key: FLOATS,
  value: FLOATS,
  bias: FLOATS,
  key_padding_mask: PADDING,
  attention_bias: FLOATS,
  past_key: FLOATS,
  past_value: FLOATS,
  past_sequence_length: INTEGERS,
  cache_indirection: INTEGERS,
};
const ATTRIBUTES = ["num_heads", "scale", "unidirectional", "mask_filter_value"];

/**
 * The operator MultiHeadAttention of com.microsoft
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention).
 *
 * @throws TypeError or RangeError for inputs and attributes that do not fit, by name
 * @example
 * import { load } from "heed";
 * import { onnxMultiHeadAttention } from "heed/onnx";
 *
 * const heed = await load();
 * const rows = { data: new Float32Array(2 * 5 * 32), shape: [2, 5, 32] }; // [batch, length, hidden]
 * const { output } = onnxMultiHeadAttention(heed, { query: rows, key: rows, value: rows }, { num_heads: 4 });
 * console.log(output.shape); // → [ 2, 5, 32 ]
 * @category Multi-head attention
 */
export function onnxMultiHeadAttention<const Query extends OnnxFloats = OnnxTensor>(
  heed: Heed,
  inputs: OnnxMultiHeadAttentionInputs<Query>,
  attributes: OnnxMultiHeadAttentionAttributes,
): OnnxMultiHeadAttentionOutputs<Query> {
  const operands = new Operands(heed, inputs, INPUTS, attributes, ATTRIBUTES);
  operands.refuseInputs("beams are reordered by the caller", "cache_indirection");
  const form = operands.formOf("query", "key", "value", "bias", "attention_bias", "past_key", "past_value");
  const rows = projections(operands, operands.heads("num_heads"));
  const { output, presentKey, presentValue, qk } = attendWithPast(heed, operands, "key_padding_mask", rows, form);
  return outputsOf({
    output,
    present_key: () => presentKey().unpacked,
    present_value: () => presentValue().unpacked,
    qk,
  }) as OnnxMultiHeadAttentionOutputs<Query>;
}

/**
 * What MultiHeadAttention and Attention of com.microsoft have in common once q, k and v are there: the past, the
 * masks, the attributes and the outputs. `mask` is the name of the input for padding. k and v are rounded to the type of
 * `form`, as the present has them; q is not.
 */
export function attendWithPast(
  heed: Heed,
  operands: Operands,
  mask: "key_padding_mask" | "mask_index",
  { q, ...given }: { q: Rows; k: Rows; v: Rows },
  form: FloatForm,
  past: Past = pastOf(operands, given.k, given.v),
): { output: () => OnnxTensor<unknown>; presentKey: () => Rows; presentValue: () => Rows; qk: () => OnnxTensor } {
  const [k, v] = [inForm(given.k, form), inForm(given.v, form)];
  const room = past.key?.length ?? 0;
  const length = operands.integer("past_sequence_length") ?? room;
  if (length < 0 || length > room) throw wrongValue("past_sequence_length", `from 0 to ${room}`, length);
  const total = length + k.length;
  const [keys, values] = [appendRows(firstRows(past.key, length), k), appendRows(firstRows(past.value, length), v)];
  const sizes = { batch: q.batch, seqLenQ: q.length, past: length, total };
  const bias = biasOf(operands, sizes, q.heads);
  const masks = maskOptions(operands, mask, sizes, bias);
  const options: ScoreOptions = {
    scale: operands.number("scale", 0) || undefined,
    causal: operands.flag("unidirectional"),
    queryOffset: length,
    ...masks.options,
  };
  // Where the past has room for the new rows and more, the present has the length of the past.
  const present = (before: Rows | undefined, next: Rows, all: Rows) =>
    room > total ? writeRows(before, next, () => length, room) : all;
  return {
    output: () => attend(heed, q, keys, values, options, form).packed,
    presentKey: () => present(past.key, k, keys),
    presentValue: () => present(past.value, v, values),
    qk: () => scores(heed, q, keys, { ...options, keepMask: undefined, ...masks.scoreOptions() }, "masked"),
  };
}

/** q, k and v with the bias added, from any of the forms in which they may come. */
function projections(operands: Operands, numHeads: number): { q: Rows; k: Rows; v: Rows } {
  const query = required(operands, "query", operands.has("key") ? [3] : [3, 5]);
  const bias = operands.floats("bias", [1]);
  if (query.shape.length === 5) {
    operands.refuseInputs("query has k and v", "key", "value");
    const [q, k, v] = splitParts("query", query, numHeads, 3);
    return addBias({ q: q!, k: k!, v: v! }, bias);
  }
  const key = operands.floats("key", [3, 4, 5]);
  if (!key)
    throw wrongKind("key", `{ data, shape } (query is not [batch, length, ${numHeads}, 3, head_size])`, undefined);
  const q = rowsOf("query", query, numHeads);
  if (key.shape.length === 5) {
    operands.refuseInputs("key has v", "value");
    const [k, v] = splitParts("key", key, numHeads, 2);
    checkShape("key", key.shape, [q.batch, "kv_length", numHeads, 2, q.dim]);
    return addBias({ q, k: k!, v: v! }, bias);
  }
  const value = required(operands, "value", [key.shape.length]);
  const k = rowsOf("key", key, numHeads);
  const v = rowsOf("value", value, numHeads);
  checkShape("key", k.shape, [q.batch, numHeads, "kv_length", q.dim]);
  checkShape("value", v.shape, [q.batch, numHeads, k.length, "v_head_size"]);
  // A key of four dimensions was projected and biased in an earlier call, for cross-attention.
  return addBias({ q, k, v }, bias, key.shape.length === 4 ? "q" : "all");
}

/** The parts of a tensor [batch, length, num_heads, parts, head_size]. */
function splitParts(name: string, { data, shape, form }: Operand, numHeads: number, parts: number): Rows[] {
  const [batch, length, , , dim] = shape as [number, number, number, number, number];
  checkShape(name, shape, [batch, length, numHeads, parts, dim]);
  return Array.from({ length: parts }, (_, n) =>
    rowsOf(
      name,
      { data: columns(data, parts * dim, n * dim, dim), shape: [batch, length, numHeads * dim], form },
      numHeads,
    ),
  );
}

/** In f32 q + bias[0 … hidden], k + bias[hidden … 2·hidden] and v + bias[2·hidden …]; or the first of these alone. */
function addBias(
  { q, k, v }: { q: Rows; k: Rows; v: Rows },
  bias: Operand | undefined,
  to: "q" | "all" = "all",
): { q: Rows; k: Rows; v: Rows } {
  if (!bias) return { q, k, v };
  const hidden = q.heads * q.dim;
  checkShape("bias", bias.shape, [2 * hidden + v.heads * v.dim]);
  const added = widened(bias.data, bias.form);
  const biased = (rows: Rows, start: number): Rows => {
    const width = rows.heads * rows.dim;
    const data = widened(rows.dataIn("blhd"), rows.form).map((x, i) => x + added[start + (i % width)]!);
    return new Rows(rows, "blhd", data);
  };
  if (to === "q") return { q: biased(q, 0), k, v };
  return { q: biased(q, 0), k: biased(k, hidden), v: biased(v, 2 * hidden) };
}
