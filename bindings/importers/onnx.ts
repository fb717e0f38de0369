import { checkInteger, checkObject, wrongKind, wrongValue } from "../check.ts";
import type { Weight } from "../layer/linear-weights.ts";
import { type Imported, sideBySide } from "./imported.ts";
import { NamedTensors, checkSizes } from "./state-dict.ts";

/** The attributes of com.microsoft.Attention that its weights need, by their own names. @category Importers */
export interface OnnxAttributes {
  num_heads: number;
  qkv_hidden_sizes?: readonly number[] | undefined;
  scale?: number | undefined;
  unidirectional?: number | undefined;
  do_rotary?: number | undefined;
}

/**
 * The layer of com.microsoft.Attention of ONNX Runtime
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md): reads its inputs `weights` [embedDim,
 * q + k + v] and `bias`. In such models the projection back is a MatMul of its own: give its weight [v, outDim] and its
 * bias as `outWeight` and `outBias`, or do without.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape and for do_rotary
 * @example
 * import { MultiHeadAttention, load } from "heed";
 *
 * const heed = await load();
 * const tensor = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape });
 * const inputs = { weights: tensor(8, 24), bias: tensor(24) };
 * const layer = heed.createMultiHeadAttention(MultiHeadAttention.fromOnnx(inputs, { num_heads: 2 }));
 * console.log(layer.numHeads, layer.headDim); // → 2 4
 */
export function fromOnnx(
  inputs: { weights: Weight; bias?: Weight | undefined; outWeight?: Weight | undefined; outBias?: Weight | undefined },
  attributes: OnnxAttributes,
): Imported<number> {
  checkObject("attributes", attributes);
  const { num_heads, qkv_hidden_sizes: hiddenSizes, scale, unidirectional, do_rotary } = attributes;
  const tensors = new NamedTensors("inputs", inputs);
  const numHeads = checkInteger("num_heads", num_heads, 1);
  if (do_rotary) throw wrongValue("do_rotary", "0; give the layer `rotary` instead", do_rotary);
  const matrix = tensors.get("weights");
  const total = checkSizes(matrix, "[embedDim, q + k + v]", undefined, undefined)[1]!;
  const sizes = checkHiddenSizes(hiddenSizes, numHeads, total);
  const [q, , v] = sizes;
  const outWeight = tensors.find("outWeight");
  if (outWeight) checkSizes(outWeight, "[v, outDim]", v, undefined);
  const out = outWeight && { weight: outWeight, bias: tensors.find("outBias"), transposed: true };
  return {
    numHeads,
    ...sideBySide(matrix, tensors.find("bias"), sizes, out),
    headDim: q / numHeads,
    numKvHeads: numHeads,
    valueDim: v / numHeads,
    ...(scale && { scale }),
    ...(unidirectional && { causal: true }),
  };
}

/** The widths of q, k and v: `given`, or a third each of the `total` columns. Those of q and k must be the same. */
function checkHiddenSizes(given: unknown, numHeads: number, total: number): [number, number, number] {
  const sizes = given ?? [total / 3, total / 3, total / 3];
  if (!Array.isArray(sizes)) throw wrongKind("qkv_hidden_sizes", "an array of 3 integers", sizes);
  if (sizes.length !== 3) throw wrongValue("qkv_hidden_sizes", "3 integers", sizes.length);
  for (const [i, size] of (sizes as number[]).entries()) {
    if (!Number.isInteger(size) || size < numHeads || size % numHeads !== 0) {
      const title = given ? `qkv_hidden_sizes[${i}]` : "weights.shape[1]";
      throw wrongValue(title, `a multiple of ${given ? numHeads : 3 * numHeads} (num_heads)`, given ? size : total);
    }
  }
  const [q, k, v] = sizes as [number, number, number];
  if (k !== q) throw wrongValue("qkv_hidden_sizes[1]", `${q} (that of q)`, k);
  return [q, k, v];
}
