import { readOptions } from "../options.ts";
import { type Imported, type Projection, layerOf } from "./imported.ts";
import { NamedTensors, type StateDict, product, sized, weightOf } from "./state-dict.ts";

/** The state of dropout's random numbers, and the header of a file. */
const SEEDS = /(^|[._/])seed_generator|^__metadata__$/;

/**
 * The layer of keras.layers.MultiHeadAttention or GroupQueryAttention
 * (https://keras.io/api/layers/attention_layers/multi_head_attention/): kernels query, key and value [inFeatures,
 * heads, dim] and attention_output [heads, dim, outFeatures]; biases [heads, dim] and [outFeatures]. Names are written
 * as in `query/kernel`, `query.kernel` or `query/kernel:0`. The shapes settle every size. Below the prefix the state of
 * dropout's seed generator may stand besides; any other tensor is refused.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape and for a tensor
 * that heed's attention does not have
 * @example
 * import { MultiHeadAttention, load } from "heed";
 *
 * const heed = await load();
 * const tensor = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape });
 * const weights = {
 *   "query/kernel": tensor(8, 2, 4),
 *   "key/kernel": tensor(8, 2, 4),
 *   "value/kernel": tensor(8, 2, 4),
 *   "attention_output/kernel": tensor(2, 4, 8),
 * };
 * const layer = heed.createMultiHeadAttention(MultiHeadAttention.fromKeras(weights));
 * console.log(layer.numHeads, layer.headDim); // → 2 4
 */
export function fromKeras(weights: StateDict, options: { prefix?: string | undefined } = {}): Imported<number> {
  const { prefix } = readOptions<{ prefix?: string | undefined }>("fromKeras", options, { prefix: 0 });
  const tensors = new NamedTensors("weights", weights, prefix, (name) => SEEDS.test(name), "/.");
  const [q, [, numHeads, headDim]] = projection(tensors, "query", 1, "[inFeatures, heads, dim]");
  const [k, [, numKvHeads]] = projection(
    tensors,
    "key",
    1,
    "[inFeatures, heads, dim of query]",
    undefined,
    undefined,
    headDim,
  );
  const [v, [, , valueDim]] = projection(tensors, "value", 1, "[inFeatures, heads of key, dim]", undefined, numKvHeads);
  const outShape = "[heads of query, dim of value, outFeatures]";
  const [out] = projection(tensors, "attention_output", 2, outShape, numHeads, valueDim);
  tensors.refuseOthers();
  return { ...layerOf([q, k, v], out), numHeads, headDim, numKvHeads, valueDim };
}

/** How the versions of Keras write the name of a kernel or bias. */
function spellings(name: string, kind: "kernel" | "bias"): string[] {
  return ["/", "."].flatMap((separator) => [`${name}${separator}${kind}`, `${name}${separator}${kind}:0`]);
}

/**
 * A projection as a matrix, and the shape of its kernel.
 *
 * @param inputs how many dimensions of the kernel are features of the input; the others are those of the bias
 * @param what the shape of the kernel in words, for errors
 * @param sizes those of the kernel that are known
 */
function projection(
  tensors: NamedTensors,
  name: string,
  inputs: 1 | 2,
  what: string,
  ...sizes: [number?, number?, number?]
): [Projection, Shape] {
  const kernel = sized(tensors.get(...spellings(name, "kernel")), what, sizes[0], sizes[1], sizes[2]);
  const { data, shape } = kernel;
  const [inShape, outShape] = [shape.slice(0, inputs), shape.slice(inputs)];
  const bias = sized(tensors.find(...spellings(name, "bias")), "the last sizes of the kernel", ...outShape);
  const [inFeatures, outFeatures] = [product(inShape), product(outShape)];
  const weight = weightOf(kernel, data, [inFeatures, outFeatures]);
  const flatBias = bias && weightOf(bias, bias.data, [outFeatures]);
  return [{ weight, bias: flatBias, transposed: true }, shape as Shape];
}

/** The shape of a kernel. */
type Shape = [number, number, number];
