import { checkFinite, checkInteger, wrongKind, wrongValue } from "../check.ts";
import { type Names, MOST_DIMENSIONS, list, readOptions } from "../options.ts";
import { type Imported, type Sizes, fusedOf, layerOf } from "./imported.ts";
import { NamedTensors, type StateTensor, sized } from "./state-dict.ts";

/** The attributes of com.microsoft.Attention that its weights need, by their own names. @category Importers */
export interface OnnxAttributes {
  num_heads: number;
  qkv_hidden_sizes?: readonly number[] | undefined;
  scale?: number | undefined;
  unidirectional?: number | undefined;
  /** Only 0 is supported. */
  do_rotary?: number | undefined;
  /** Only −10000 and less is supported: the layer gives padding no weight. */
  mask_filter_value?: number | undefined;
}

const INPUTS: Names<Parameters<typeof fromOnnx>[0]> = { weights: 0, bias: 0, outWeight: 0, outBias: 0 };
const ATTRIBUTES: Names<OnnxAttributes> = {
  num_heads: 0,
  qkv_hidden_sizes: (value) => list(value, MOST_DIMENSIONS),
  scale: 0,
  unidirectional: 0,
  do_rotary: 0,
  mask_filter_value: 0,
};

/**
 * The layer of com.microsoft.Attention of ONNX Runtime
 * (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md): reads its inputs `weights` [embedDim,
 * q + k + v] and `bias`. In such models the projection back is a MatMul of its own: give its weight [v, outDim] and its
 * bias as `outWeight` and `outBias`, or do without.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape or value
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
  inputs: {
    weights: StateTensor;
    bias?: StateTensor | undefined;
    outWeight?: StateTensor | undefined;
    outBias?: StateTensor | undefined;
  },
  attributes: OnnxAttributes,
): Imported<number> {
  const read = readOptions("fromOnnx", attributes, ATTRIBUTES, "attributes");
  const tensors = new NamedTensors("inputs", readOptions("fromOnnx", inputs, INPUTS, "inputs"));
  const numHeads = checkInteger("num_heads", read.num_heads, 1);
  const { scale = 0, unidirectional = 0, do_rotary: rotary = 0, mask_filter_value: filter = -10000 } = read;
  checkFinite("scale", scale);
  checkInteger("unidirectional", unidirectional, 0, 1);
  if (rotary !== 0) throw wrongValue("do_rotary", "0; give the layer `rotary` instead", rotary);
  if (checkFinite("mask_filter_value", filter) > -10000) {
    throw wrongValue("mask_filter_value", "at most -10000, since the layer gives padding no weight", filter);
  }
  const matrix = sized(tensors.get("weights"), "[embedDim, q + k + v]", undefined, undefined);
  const sizes = checkHiddenSizes(read.qkv_hidden_sizes, numHeads, matrix.shape[1]!);
  const [q, , v] = sizes;
  const projections = fusedOf(matrix, tensors.find("bias"), sizes, 1, true);
  const weight = sized(tensors.find("outWeight"), "[v, outDim]", v, undefined);
  const outBias = tensors.find("outBias");
  if (outBias && !weight) throw wrongValue("outBias", "nothing without outWeight", outBias);
  const bias = sized(outBias, "[outDim]", weight?.shape[1]);
  return {
    ...layerOf(projections, weight && { weight, bias, transposed: true }),
    numHeads,
    headDim: q / numHeads,
    numKvHeads: numHeads,
    valueDim: v / numHeads,
    ...(scale !== 0 && { scale }),
    ...(unidirectional !== 0 && { causal: true }),
  };
}

/** The widths of q, k and v: `given`, or a third each of the `total` columns. Those of q and k must be the same. */
function checkHiddenSizes(given: unknown, numHeads: number, total: number): Sizes {
  const sizes: unknown = given === undefined ? [total / 3, total / 3, total / 3] : given;
  if (!Array.isArray(sizes)) throw wrongKind("qkv_hidden_sizes", "an array of 3 integers", sizes);
  (sizes as number[]).forEach((size, i) => {
    if (Number.isInteger(size) && size >= numHeads && size % numHeads === 0) return;
    if (!given) throw wrongValue("weights.shape[1]", `a multiple of ${3 * numHeads} (3 · num_heads)`, total);
    throw wrongValue(`qkv_hidden_sizes[${i}]`, `a multiple of ${numHeads} (num_heads)`, size);
  });
  if (sizes.length !== 3) throw wrongValue("qkv_hidden_sizes", "3 integers", sizes.length);
  const [q, k, v] = sizes as [number, number, number];
  if (k !== q) throw wrongValue("qkv_hidden_sizes[1]", `${q} (that of q)`, k);
  return [q, k, v];
}
