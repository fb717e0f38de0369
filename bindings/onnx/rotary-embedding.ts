import { checkInteger, wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import { MAX_DIM, MAX_HEADS } from "../limits.ts";
import { outputsOf } from "./outputs.ts";
import { type FloatForm, given, zeros } from "./halves.ts";
import { Rows, tensorOf } from "./rows.ts";
import {
  type OnnxFloats,
  type OnnxIntegers,
  type OnnxLike,
  type OnnxNumber,
  FLOATS,
  INTEGERS,
  Operands,
  checkEach,
  checkShape,
  readGiven,
  refuseAttribute,
  required,
} from "./operands.ts";

/** Inputs of RotaryEmbedding: `X` of ai.onnx, opset 23, or `input` of com.microsoft. @category Rotary embedding */
export type OnnxRotaryEmbeddingInputs = ({ X: OnnxFloats } | { input: OnnxFloats }) & {
  /** Cosines [max_positions, rotary_dim / 2]; without position_ids [batch, length, rotary_dim / 2]. Of the type of X. */
  cos_cache: OnnxFloats;
  sin_cache: OnnxFloats;
  /** [batch, length]. For com.microsoft also one element: the position of the first row. */
  position_ids?: OnnxIntegers | undefined;
};

/** Attributes of RotaryEmbedding and com.microsoft.RotaryEmbedding, by their own names. @category Rotary embedding */
export interface OnnxRotaryEmbeddingAttributes {
  interleaved?: OnnxNumber | undefined;
  /** Heads of an input of three dimensions. */
  num_heads?: OnnxNumber | undefined;
  rotary_embedding_dim?: OnnxNumber | undefined;
  /** Only 0 is supported. */
  is_packed_batching?: OnnxNumber | undefined;
  /** Only 1 is supported. */
  scale?: OnnxNumber | undefined;
}

/** The output, in the shape and the type of the input. It is made when it is first read. @category Rotary embedding */
export type OnnxRotaryEmbeddingOutputs<Inputs> = Inputs extends { X: infer X extends OnnxFloats }
  ? { readonly Y: OnnxLike<X> }
  : Inputs extends { input: infer Input extends OnnxFloats }
    ? { readonly output: OnnxLike<Input> }
    : never;

const ATTRIBUTES = ["interleaved", "num_heads", "rotary_embedding_dim", "is_packed_batching", "scale"];

/**
 * The operator RotaryEmbedding of ONNX (https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html) and of
 * com.microsoft.
 *
 * @throws TypeError or RangeError for inputs and attributes that do not fit, by name
 * @example
 * import { load } from "heed";
 * import { onnxRotaryEmbedding } from "heed/onnx";
 *
 * const heed = await load();
 * const tensor = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape });
 * const position_ids = { data: Int32Array.of(7, 8, 9, 10), shape: [1, 4] };
 * const inputs = { X: tensor(1, 2, 4, 8), cos_cache: tensor(16, 4), sin_cache: tensor(16, 4), position_ids };
 * console.log(onnxRotaryEmbedding(heed, inputs).Y.shape); // → [ 1, 2, 4, 8 ]
 * @category Rotary embedding
 */
export function onnxRotaryEmbedding<const Inputs extends OnnxRotaryEmbeddingInputs>(
  heed: Heed,
  inputs: Inputs,
  attributes: OnnxRotaryEmbeddingAttributes = {},
): OnnxRotaryEmbeddingOutputs<Inputs> {
  const read = readGiven("inputs", inputs);
  const contrib = "input" in read;
  const [name, output] = contrib ? (["input", "output"] as const) : (["X", "Y"] as const);
  const kinds = { [name]: FLOATS, cos_cache: FLOATS, sin_cache: FLOATS, position_ids: INTEGERS };
  const operands = new Operands(heed, read, kinds, attributes, ATTRIBUTES);
  refuseAttribute(operands, "is_packed_batching", 0, "sequences come padded");
  refuseAttribute(operands, "scale", 1, "angles are those of the tables");
  const { data, shape } = required(operands, name, [3, 4]);
  const form = operands.formOf(name, "cos_cache", "sin_cache");
  const tables = tablesOf(operands, operands.has("position_ids") ? 2 : 3);
  const attribute = operands.count("num_heads", 0, 0, MAX_HEADS);
  const width = shape.at(-1)!;
  // An input of three dimensions without num_heads has heads as wide as the tables.
  const numHeads =
    shape.length === 4
      ? checkInteger(`${name}.shape[1]`, shape[1], 0, MAX_HEADS)
      : attribute || width / tables.rotaryDim;
  const headDim = shape.length === 4 ? width : width / numHeads;
  if (!Number.isInteger(numHeads) || !Number.isInteger(headDim) || numHeads > MAX_HEADS || headDim > MAX_DIM) {
    throw wrongValue(
      `${name}.shape[${shape.length - 1}]`,
      `a multiple of ${attribute || tables.rotaryDim} (heads), at most ${MAX_DIM} for each`,
      width,
    );
  }
  const rotaryDim = operands.count("rotary_embedding_dim", 0, 0) || tables.rotaryDim;
  if (rotaryDim !== tables.rotaryDim) {
    throw wrongValue("cos_cache.shape", `rows of ${rotaryDim / 2}`, tables.rotaryDim / 2);
  }
  if (rotaryDim > headDim) throw wrongValue("cos_cache.shape", `rows of at most ${headDim / 2}`, rotaryDim / 2);
  const [batch, length] = [shape[0]!, shape.length === 4 ? shape[2]! : shape[1]!];
  if (tables.shape.length === 3) checkShape("cos_cache", tables.shape, [batch, length, rotaryDim / 2]);

  const positions = positionsOf(operands, batch, length, tables.shape[0]!, contrib, data.length === 0);
  const interleaved = operands.flag("interleaved");

  const layout = shape.length === 4 ? "bhld" : "blhd";
  return outputsOf({
    [output]: (): unknown => {
      const rows = new Rows({ batch, heads: numHeads, length, dim: headDim }, layout, data, form);
      return tensorOf(rotateRows(heed, rows, tables, positions, interleaved, form).data, shape, form);
    },
  }) as OnnxRotaryEmbeddingOutputs<Inputs>;
}

/** The inputs cos_cache and sin_cache, which have one shape of `rank` dimensions. */
export function tablesOf(operands: Operands, rank: number) {
  const cos = required(operands, "cos_cache", [rank]);
  const sin = required(operands, "sin_cache", [rank]);
  checkShape("sin_cache", sin.shape, cos.shape);
  const half = checkInteger(`cos_cache.shape[${rank - 1}]`, cos.shape.at(-1), 1);
  const tables = { cos: given(cos.data, cos.form), sin: given(sin.data, sin.form) };
  return { ...tables, shape: cos.shape, rotaryDim: 2 * half };
}

/** The rows in a form, each rotated by the angles of its position. `positions`: [batch·length], or that of the first. */
export function rotateRows(
  heed: Heed,
  rows: Rows,
  { cos, sin, rotaryDim }: ReturnType<typeof tablesOf>,
  positions: number | Int32Array,
  interleaved: boolean,
  form: FloatForm,
): Rows {
  const { heads: numHeads, dim: headDim, batch, layout, data } = rows;
  if (data.length === 0) return new Rows(rows, layout, zeros(0, form), form);
  const out = form === "f32" ? undefined : zeros(data.length, form);
  const options = { numHeads, headDim, batch, layout, positions, cos, sin, rotaryDim, interleaved };
  const result = heed.rotary(given(data, rows.form), { ...options, out: out && given(out, form) });
  return new Rows(rows, layout, out ?? (result.out as Float32Array), form);
}

/** The position of the first row, or of every row. Without position_ids row n has row n of the tables. */
function positionsOf(
  operands: Operands,
  batch: number,
  length: number,
  rows: number,
  contrib: boolean,
  isEmpty: boolean,
): number | Int32Array {
  const ids = operands.integers("position_ids", contrib ? [0, 1, 2] : [2]);
  if (!ids) return Int32Array.from({ length: isEmpty ? 0 : batch * length }, (_, row) => row);
  if (ids.length !== batch * length && (!contrib || ids.length !== 1)) {
    throw wrongValue("position_ids.data", `${contrib ? "1 or " : ""}${batch * length} elements`, ids.length);
  }
  const last = ids.length === 1 ? length - 1 : 0;
  checkEach("position_ids", ids, 0, rows - 1 - last, "rows of cos_cache");
  return ids.length === 1 ? ids[0]! : ids;
}
