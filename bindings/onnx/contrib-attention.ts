import { checkInteger, wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import type { OnnxPadding } from "./masks.ts";
import { attendWithPast } from "./multi-head-attention.ts";
import { outputsOf } from "./outputs.ts";
import { stack, stackedPastOf } from "./past.ts";
import { given } from "./halves.ts";
import { Rows, columns, rowsOf, shapedFloats } from "./rows.ts";
import {
  type OnnxFloats,
  type OnnxIntegers,
  type OnnxLike,
  type OnnxNumber,
  type OnnxTensor,
  FLOATS,
  INTEGERS,
  Operands,
  PADDING,
  checkShape,
  refuseAttribute,
  required,
  shown,
} from "./operands.ts";

/** Inputs of the operator Attention of com.microsoft, which projects its input to q, k and v. @category Attention */
export interface ContribAttentionInputs<Input extends OnnxFloats = OnnxTensor> {
  /** [batch, length, input_hidden]. All floats have its type. */
  input: Input;
  /** [input_hidden, hidden + hidden + v_hidden] */
  weights: OnnxFloats;
  /** [hidden + hidden + v_hidden] */
  bias?: OnnxFloats | undefined;
  /**
   * [batch], [2·batch], [3·batch + 2], [batch, total_length] or [batch, length, total_length]; 0 = padding. [batch, 1]
   * and [1, 1] are no mask, as in ONNX Runtime.
   */
  mask_index?: OnnxPadding | undefined;
  /** Keys and values, [2, batch, num_heads, past_length, head_size]. */
  past?: OnnxFloats | undefined;
  /** [batch or 1, num_heads or 1, length, total_length] */
  attention_bias?: OnnxFloats | undefined;
  /** How many rows of past are filled, where it has room for the new rows too. */
  past_sequence_length?: OnnxIntegers | undefined;
}

/** Attributes of com.microsoft.Attention, by their own names. @category Attention */
export interface ContribAttentionAttributes {
  num_heads: OnnxNumber;
  scale?: OnnxNumber | undefined;
  unidirectional?: OnnxNumber | undefined;
  mask_filter_value?: OnnxNumber | undefined;
  qkv_hidden_sizes?: readonly number[] | Int32Array | BigInt64Array | undefined;
  past_present_share_buffer?: OnnxNumber | undefined;
  /** Only 0 is supported. */
  do_rotary?: OnnxNumber | undefined;
  rotary_embedding_dim?: OnnxNumber | undefined;
}

/** Each output is made when it is first read. Do not change the inputs before that. @category Attention */
export interface ContribAttentionOutputs<Input extends OnnxFloats = OnnxTensor> {
  /** [batch, length, v_hidden] */
  readonly output: OnnxLike<Input>;
  /**
   * Keys and values, [2, batch, num_heads, total_length, head_size]; as long as past where that has room for the new
   * rows.
   */
  readonly present: OnnxLike<Input>;
}

const INPUTS = {
  input: FLOATS,
  weights: FLOATS,
  bias: FLOATS,
  mask_index: PADDING,
  past: FLOATS,
  attention_bias: FLOATS,
  past_sequence_length: INTEGERS,
};
const ATTRIBUTES = [
  "num_heads",
  "scale",
  "unidirectional",
  "mask_filter_value",
  "qkv_hidden_sizes",
  "past_present_share_buffer",
  "do_rotary",
  "rotary_embedding_dim",
];

/**
 * The operator Attention of com.microsoft, see `onnxAttention`.
 *
 * @throws TypeError or RangeError for inputs and attributes that do not fit, by name
 */
export function contribAttention(heed: Heed, inputs: object, attributes: object): object {
  const operands = new Operands(heed, inputs, INPUTS, attributes, ATTRIBUTES);
  const form = operands.formOf("input", "weights", "bias", "past", "attention_bias");
  refuseAttribute(operands, "do_rotary", 0, "apply onnxRotaryEmbedding, or use onnxGroupQueryAttention");
  operands.count("rotary_embedding_dim", 0, 0);
  operands.flag("past_present_share_buffer");
  const numHeads = operands.heads("num_heads");
  const input = required(operands, "input", [3]);
  const [batch, length, width] = input.shape as [number, number, number];
  checkInteger("input.shape[2]", width, 1);
  const weights = required(operands, "weights", [2]);
  const sizes = hiddenSizes(operands, numHeads, weights.shape[1]!);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  checkShape("weights", weights.shape, [width, total]);
  const bias = operands.floats("bias", [1]);
  if (bias) checkShape("bias", bias.shape, [total]);
  const { out } =
    batch * length === 0
      ? { out: new Float32Array(0) }
      : heed.linear(given(input.data, form), shapedFloats(weights), bias && given(bias.data, form), {
          transposed: true,
        });
  const [q, k, v] = sizes.map((size, n) => {
    const start = sizes.slice(0, n).reduce((sum, before) => sum + before, 0);
    const data = columns(out, total, start, size);
    return rowsOf("input", { data, shape: [batch, length, size], form: "f32" }, numHeads);
  }) as [Rows, Rows, Rows];

  const past = stackedPastOf(operands, q, v);
  const { output, presentKey, presentValue } = attendWithPast(heed, operands, "mask_index", { q, k, v }, form, past);
  return outputsOf({ output, present: () => stack(presentKey(), presentValue()) });
}

/**
 * The widths of q, k and v: qkv_hidden_sizes, or a third each of the `total` columns. Those of q and k are the same.
 */
function hiddenSizes(operands: Operands, numHeads: number, total: number): number[] {
  const sizes = operands.list("qkv_hidden_sizes") ?? [total / 3, total / 3, total / 3];
  const isMultiple = (size: number) => size > 0 && Number.isInteger(size / numHeads);
  if (sizes.length !== 3 || sizes[0] !== sizes[1] || !sizes.every(isMultiple)) {
    const expected = `three multiples of ${numHeads}, of q and k the same`;
    throw wrongValue("attributes.qkv_hidden_sizes", expected, shown(sizes));
  }
  return sizes;
}
