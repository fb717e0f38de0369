// The operator RotaryEmbedding of ONNX (https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html) and of com.microsoft on heed.rotary.

import type { Heed } from "../../bindings/heed.ts";
import type { CaseRef, Value } from "./load.ts";
import { type Values, number } from "./onnx.ts";
import type { Rows } from "./rows.ts";

export function rotaryEmbedding(heed: Heed, inputs: Values, attrs: CaseRef["attrs"]): Record<string, Float32Array> {
  const { cos_cache: cosines, sin_cache: sines, position_ids: ids } = inputs;
  const { shape, data } = (inputs.X ?? inputs.input)!;
  const [cos, sin] = [cosines!.data, sines!.data];
  const half = cosines!.shape.at(-1)!;
  const batch = shape[0]!;
  const width = shape.at(-1)!;
  // Without num_heads, three dimensions are heads as wide as the tables.
  const numHeads = shape.length === 4 ? shape[1]! : number(attrs, "num_heads", 0) || width / (2 * half);
  const layout = shape.length === 4 ? "bhld" : "blhd";
  const headDim = shape.length === 4 ? width : width / numHeads;
  const positions = positionsOf(ids, data.length / (numHeads * headDim));
  const interleaved = number(attrs, "interleaved", 0) === 1;
  const sizes = { numHeads, headDim, rotaryDim: 2 * half, batch };
  const { out } = heed.rotary(data, { ...sizes, layout, cos, sin, positions, interleaved });
  return { Y: out, output: out };
}

/** One position for the first row; one for each row; or, without any, a row of the tables for each row. */
function positionsOf(ids: Value | undefined, rows: number): number | Int32Array {
  if (!ids) return Int32Array.from({ length: rows }, (_, row) => row);
  return ids.shape.length < 2 ? ids.data[0]! : Int32Array.from(ids.data);
}

/** Every row rotated as tables say. */
export function rotated(
  heed: Heed,
  rows: Rows,
  cos: Value,
  sin: Value,
  positions: Int32Array,
  interleaved: boolean,
): Rows {
  const { heads: numHeads, dim: headDim, batch } = rows;
  const sizes = { numHeads, headDim, rotaryDim: 2 * cos.shape[1]!, batch };
  const tables = { cos: cos.data, sin: sin.data };
  const { out } = heed.rotary(rows.data, { ...sizes, ...tables, layout: "bhld", positions, interleaved });
  return { ...rows, data: out };
}
