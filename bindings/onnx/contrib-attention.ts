import { wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import type { OnnxPadding } from "./masks.ts";
import { attendWithPast } from "./multi-head-attention.ts";
import { outputsOf } from "./outputs.ts";
import { Rows, columns } from "./rows.ts";
import { type OnnxIntegers, type OnnxNumber, type OnnxTensor, Operands, checkShape } from "./operands.ts";

/** Inputs of com.microsoft's Attention, which projects as well. */
export interface ContribAttentionInputs {
  /** [batch, length, input_hidden] */
  input: OnnxTensor;
  /** [input_hidden, hidden + hidden + v_hidden] */
  weights: OnnxTensor;
  /** [hidden + hidden + v_hidden] */
  bias?: OnnxTensor | undefined;
  /** [batch], [2·batch], [3·batch + 2], [batch, total_length] or [batch, length, total_length]; 0 = padding. */
  mask_index?: OnnxPadding | undefined;
  /** k and v, [2, batch, num_heads, past_length, head_size]. */
  past?: OnnxTensor | undefined;
  /** [batch or 1, num_heads or 1, length, total_length] */
  attention_bias?: OnnxTensor | undefined;
  /** How many rows of past are there, where it has room for those to come as well. */
  past_sequence_length?: OnnxIntegers | undefined;
}

export interface ContribAttentionAttributes {
  num_heads: OnnxNumber;
  scale?: OnnxNumber | undefined;
  unidirectional?: OnnxNumber | undefined;
  mask_filter_value?: OnnxNumber | undefined;
  qkv_hidden_sizes?: readonly number[] | Int32Array | BigInt64Array | undefined;
  past_present_share_buffer?: OnnxNumber | undefined;
  /** Only 0. */
  do_rotary?: OnnxNumber | undefined;
  rotary_embedding_dim?: OnnxNumber | undefined;
}

/** Each is made when it is first read; until then leave the inputs as they are. */
export interface ContribAttentionOutputs {
  /** [batch, length, v_hidden] */
  readonly output: OnnxTensor;
  /** k and v, [2, batch, num_heads, total_length, head_size], or as long as past where that has room. */
  readonly present: OnnxTensor;
}

const INPUTS = ["input", "weights", "bias", "mask_index", "past", "attention_bias", "past_sequence_length"];
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

/** The operator Attention of com.microsoft. */
export function contribAttention(heed: Heed, inputs: object, attributes: object): ContribAttentionOutputs {
  const operands = new Operands(inputs, INPUTS, attributes, ATTRIBUTES);
  operands.refuseAttribute("do_rotary", 0, "apply onnxRotaryEmbedding, or use onnxGroupQueryAttention");
  const numHeads = operands.count("num_heads", 1);
  const input = operands.required("input", [3]);
  const [batch, length, width] = input.shape as [number, number, number];
  const weights = operands.required("weights", [2]);
  const of = weights.shape[1]!;
  const sizes = operands.list("qkv_hidden_sizes") ?? [of / 3, of / 3, of / 3];
  if (sizes.length !== 3 || sizes[0] !== sizes[1] || sizes.some((size) => !Number.isInteger(size / numHeads))) {
    throw wrongValue(
      "attributes.qkv_hidden_sizes",
      `three multiples of ${numHeads}, of q and k the same`,
      `[${sizes.join(", ")}]`,
    );
  }
  const total = sizes.reduce((sum, size) => sum + size, 0);
  checkShape("weights", weights.shape, [width, total]);
  const bias = operands.floats("bias", [1]);
  if (bias) checkShape("bias", bias.shape, [total]);
  const bare = { data: weights.data, shape: weights.shape };
  const { out } = heed.linear(input.data, bare, bias?.data, { transposed: true });
  const [q, k, v] = sizes.map((size, n) => {
    const start = sizes.slice(0, n).reduce((sum, before) => sum + before, 0);
    const data = columns(out, total, start, size);
    return Rows.of("input", { data, shape: [batch, length, size] }, numHeads);
  }) as [Rows, Rows, Rows];

  const past = operands.floats("past", [5]);
  if (past) checkShape("past", past.shape, [2, batch, numHeads, "past_length", q.dim]);
  if (past && v.dim !== q.dim) throw wrongValue("past", "q, k and v of one size", `v of ${v.dim}`);
  const pastRows = (n: 0 | 1): Rows | undefined => {
    if (!past) return undefined;
    const half = past.data.length / 2;
    const sizes = { batch, heads: numHeads, length: past.shape[3]!, dim: q.dim };
    return new Rows(sizes, "bhld", past.data.subarray(n * half, (n + 1) * half));
  };
  const all = attendWithPast(heed, operands, "mask_index", { q, k, v }, { key: pastRows(0), value: pastRows(1) });
  return outputsOf<ContribAttentionOutputs>({
    output: () => all.output,
    present: () => {
      const [key, value] = [all.present_key, all.present_value];
      checkShape("present", value.shape, key.shape);
      const data = new Float32Array(2 * key.data.length);
      data.set(key.data);
      data.set(value.data, key.data.length);
      return { data, shape: [2, ...key.shape] };
    },
  });
}
