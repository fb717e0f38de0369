import { checkInteger, wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import { MAX_HEADS } from "../limits.ts";
import {
  type ContribAttentionAttributes,
  type ContribAttentionInputs,
  type ContribAttentionOutputs,
  contribAttention,
} from "./contrib-attention.ts";
import { outputsOf } from "./outputs.ts";
import { appendRows, pastOf } from "./past.ts";
import type { Floats } from "./halves.ts";
import {
  type Rows,
  type ScoreOptions,
  attend,
  shapedFloats,
  padRows,
  rowsOf,
  scores,
  scoresIn,
  softcapOf,
} from "./rows.ts";
import {
  type OnnxBooleans,
  type OnnxFloats,
  type OnnxIntegers,
  type OnnxLike,
  type OnnxNumber,
  type OnnxTensor,
  type Operand,
  FLOATS,
  INTEGERS,
  MASK,
  Operands,
  checkEach,
  checkShape,
  elementsOf,
  readGiven,
  required,
} from "./operands.ts";

/** Inputs of the operator Attention of ai.onnx, opsets 23 to 25. @category Attention */
export interface OnnxAttentionInputs<Query extends OnnxFloats = OnnxTensor, Value extends OnnxFloats = OnnxTensor> {
  /** [batch, q_num_heads, q_length, head_size], or [batch, q_length, q_num_heads·head_size]. */
  Q: Query;
  /** [batch, kv_num_heads, kv_length, head_size], or [batch, kv_length, kv_num_heads·head_size]. Of the type of Q. */
  K: OnnxFloats;
  /** Like K, with v_head_size, and of any type. */
  V: Value;
  /**
   * Booleans (true = the key is seen) or floats that are added to the scores. Broadcasts to [batch, q_num_heads,
   * q_length, total_length].
   */
  attn_mask?: OnnxBooleans | OnnxFloats | undefined;
  /** [batch, kv_num_heads, past_length, head_size], of the types of K and of V. */
  past_key?: OnnxFloats | undefined;
  past_value?: OnnxFloats | undefined;
  /** [batch]: how many keys of each sequence are no padding. */
  nonpad_kv_seqlen?: OnnxIntegers | undefined;
}

/** Attributes of the operator Attention of ai.onnx, by their own names. @category Attention */
export interface OnnxAttentionAttributes {
  is_causal?: OnnxNumber | undefined;
  q_num_heads?: OnnxNumber | undefined;
  kv_num_heads?: OnnxNumber | undefined;
  scale?: OnnxNumber | undefined;
  softcap?: OnnxNumber | undefined;
  /** The type in which to compute the softmax. It is checked, and everything is computed in f32. */
  softmax_precision?: OnnxNumber | undefined;
  /** What qk_matmul_output is: 0 the scores, 1 after softcap, 2 after masks, 3 after softmax. */
  qk_matmul_output_mode?: OnnxNumber | undefined;
  left_window_size?: OnnxNumber | undefined;
  right_window_size?: OnnxNumber | undefined;
}

/** Each output is made when it is first read. Do not change the inputs before that. @category Attention */
export interface OnnxAttentionOutputs<Query extends OnnxFloats = OnnxTensor, Value extends OnnxFloats = OnnxTensor> {
  /** In the form and the type of Q. */
  readonly Y: OnnxLike<Query>;
  /** [batch, kv_num_heads, total_length, head_size]; may be K itself. */
  readonly present_key: OnnxLike<Query>;
  readonly present_value: OnnxLike<Value>;
  /** [batch, q_num_heads, q_length, total_length], of the type of Q. */
  readonly qk_matmul_output: OnnxLike<Query>;
}

const INPUTS = {
  Q: FLOATS,
  K: FLOATS,
  V: FLOATS,
  attn_mask: MASK,
  past_key: FLOATS,
  past_value: FLOATS,
  nonpad_kv_seqlen: INTEGERS,
};
const ATTRIBUTES = [
  "is_causal",
  "q_num_heads",
  "kv_num_heads",
  "scale",
  "softcap",
  "softmax_precision",
  "qk_matmul_output_mode",
  "left_window_size",
  "right_window_size",
];
const STAGES = ["scores", "softcap", "masked", "softmax"] as const;
/** The numbers of float, float16, double and bfloat16 in TensorProto. */
const FLOAT_TYPES = [1, 10, 11, 16];

/**
 * The operator Attention of ONNX (opsets 23 to 25, https://onnx.ai/onnx/operators/onnx__Attention.html); or, with the
 * inputs `input` and `weights`, the operator Attention of com.microsoft.
 *
 * @throws TypeError or RangeError for inputs and attributes that do not fit, by name
 * @example
 * import { load } from "heed";
 * import { onnxAttention } from "heed/onnx";
 *
 * const heed = await load();
 * const tensor = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape });
 * const inputs = { Q: tensor(1, 8, 4, 64), K: tensor(1, 2, 4, 64), V: tensor(1, 2, 4, 64) };
 * const { Y } = onnxAttention(heed, inputs, { is_causal: 1 });
 * console.log(Y.shape); // → [ 1, 8, 4, 64 ]
 * @category Attention
 */
export function onnxAttention<const Query extends OnnxFloats = OnnxTensor, const Value extends OnnxFloats = OnnxTensor>(
  heed: Heed,
  inputs: OnnxAttentionInputs<Query, Value>,
  attributes?: OnnxAttentionAttributes,
): OnnxAttentionOutputs<Query, Value>;
export function onnxAttention<const Input extends OnnxFloats = OnnxTensor>(
  heed: Heed,
  inputs: ContribAttentionInputs<Input>,
  attributes: ContribAttentionAttributes,
): ContribAttentionOutputs<Input>;
export function onnxAttention(heed: Heed, given: object, attributes: object = {}): object {
  const inputs = readGiven("inputs", given);
  if ("weights" in inputs || "input" in inputs) return contribAttention(heed, inputs, attributes);
  const operands = new Operands(heed, inputs, INPUTS, attributes, ATTRIBUTES);
  const [Q, K, V] = [required(operands, "Q", [3, 4]), required(operands, "K", [3, 4]), required(operands, "V", [3, 4])];
  const form = operands.formOf("Q", "K", "past_key");
  operands.formOf("V", "past_value");
  const numHeads = headsOf(operands, "q_num_heads", "Q", Q);
  const numKvHeads = headsOf(operands, "kv_num_heads", "K", K);
  if (numHeads % numKvHeads !== 0) {
    throw wrongValue("K", `heads that divide ${numHeads} (heads of Q)`, numKvHeads);
  }
  const q = rowsOf("Q", Q, numHeads);
  const k = rowsOf("K", K, numKvHeads);
  const v = rowsOf("V", V, numKvHeads);
  checkShape("K", k.shape, [q.batch, numKvHeads, "kv_length", q.dim]);
  checkShape("V", v.shape, [q.batch, numKvHeads, k.length, "v_head_size"]);
  const past = pastOf(operands, k, v, (name) => wrongValue(name, "a tensor beside the other", "none"));
  const [keys, values] = [appendRows(past.key, k), appendRows(past.value, v)];

  const options: ScoreOptions = {
    ...positionOptions(operands, q, keys.length, past.key?.length),
    ...maskOptions(operands, [q.batch, numHeads, q.length, keys.length]),
    scale: operands.number("scale", undefined),
    softcap: softcapOf(operands),
  };
  const stage = STAGES[operands.count("qk_matmul_output_mode", 0, 0, 3)]!;
  const precision = operands.count("softmax_precision", 0, 1);
  if (!FLOAT_TYPES.includes(precision)) throw wrongValue("attributes.softmax_precision", "1, 10, 11 or 16", precision);

  return outputsOf({
    Y: () => {
      const out = attend(heed, q, keys, values, options, form);
      return Q.shape.length === 3 ? out.packed : out.unpacked;
    },
    present_key: () => keys.unpacked,
    present_value: () => values.unpacked,
    qk_matmul_output: () => scoresIn(form, scores(heed, q, keys, options, stage)),
  });
}

/** The heads of a tensor: from its shape where that has four dimensions, else from the attribute. */
function headsOf(operands: Operands, attribute: string, name: string, { shape }: Operand): number {
  if (shape.length === 3) return operands.heads(attribute);
  const heads = checkInteger(`${name}.shape[1]`, shape[1], 1, MAX_HEADS);
  const given = operands.count(attribute, 0, heads);
  if (given !== 0 && given !== heads) throw wrongValue(`attributes.${attribute}`, `${heads} (heads of ${name})`, given);
  return heads;
}

/**
 * The options that say which keys a query sees by its position. Query 0 stands behind the past. Without a past the last
 * query stands at the last key of nonpad_kv_seqlen; without that too, query 0 stands at key 0.
 */
function positionOptions(operands: Operands, q: Rows, keys: number, past: number | undefined): ScoreOptions {
  const options: ScoreOptions = { causal: operands.flag("is_causal"), queryOffset: past ?? 0 };
  const nonpad = operands.integers("nonpad_kv_seqlen", [1]);
  if (nonpad) {
    if (nonpad.length !== q.batch) throw wrongValue("nonpad_kv_seqlen.shape", `[${q.batch}]`, `[${nonpad.length}]`);
    checkEach("nonpad_kv_seqlen", nonpad, 0, keys, "keys");
    options.kvLengths = nonpad;
    if (past === undefined) options.queryOffset = nonpad.map((length) => length - q.length);
  }
  const [left, right] = [operands.count("left_window_size", -1, -1), operands.count("right_window_size", -1, -1)];
  if (left >= 0 || right >= 0) {
    options.window = { left: left < 0 ? undefined : left, right: right < 0 ? undefined : right };
  }
  return options;
}

/** The options of attn_mask, which broadcasts to `target`. A mask of fewer keys than there are drops the others. */
function maskOptions(operands: Operands, target: readonly number[]): ScoreOptions {
  const mask = operands.tensor("attn_mask", [0, 1, 2, 3, 4]);
  if (!mask) return {};
  const { data, shape, form } = mask as Operand<Uint8Array | Floats>;
  const keys = target[3]!;
  shape.forEach((size, i) => {
    const dimension = i + 4 - shape.length;
    const targetSize = target[dimension]!;
    if (dimension === 3 ? size > keys : size !== 1 && size !== targetSize) {
      const expected = dimension === 3 ? `at most ${keys} (keys)` : `1 or ${targetSize} (of [${target.join(", ")}])`;
      throw wrongValue(`attn_mask.shape[${i}]`, expected, size);
    }
  });
  if (elementsOf(target) === 0) return {};
  if (data instanceof Uint8Array) return { keepMask: padRows({ data, shape, form }, keys, 0) };
  return { bias: shapedFloats(padRows({ data, shape, form }, keys, -Infinity)) };
}
