import type { LinearWeights } from "../layer/linear-weights.ts";
import { readOptions } from "../options.ts";
import type { Imported } from "./imported.ts";
import { NamedTensors, type StateDict, checkSizes } from "./state-dict.ts";

/** The state of dropout's random numbers, and the header of a file. */
const SEEDS = /(^|[._/])seed_generator|^__metadata__$/;

/** One of q, k and v, and the sizes that its kernel settles. */
interface Projection {
  linear: LinearWeights;
  heads: number;
  dim: number;
  inFeatures: number;
}

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
  const [q, k, v] = [projection(tensors, "query"), projection(tensors, "key"), projection(tensors, "value")];
  const keyKernel = tensors.get(...spellings("key", "kernel"));
  checkSizes(keyKernel, "[inFeatures, heads, dim of query]", undefined, undefined, q.dim);
  const valueKernel = tensors.get(...spellings("value", "kernel"));
  checkSizes(valueKernel, "[inFeatures, heads of key, dim]", undefined, k.heads, undefined);
  const kernel = tensors.get(...spellings("attention_output", "kernel"));
  const outDim = checkSizes(kernel, "[heads of query, dim of value, outFeatures]", q.heads, v.dim, undefined)[2]!;
  const bias = tensors.find(...spellings("attention_output", "bias"));
  if (bias) checkSizes(bias, "[outFeatures]", outDim);
  tensors.refuseOthers();
  const weight = { data: kernel.data, shape: [q.heads * v.dim, outDim] };
  return {
    numHeads: q.heads,
    embedDim: q.inFeatures,
    headDim: q.dim,
    numKvHeads: k.heads,
    valueDim: v.dim,
    kvDim: { k: k.inFeatures, v: v.inFeatures },
    outDim,
    weights: { q: q.linear, k: k.linear, v: v.linear, out: { weight, bias, transposed: true } },
  };
}

/** How the versions of Keras write the name of a kernel or bias. */
function spellings(name: string, kind: "kernel" | "bias"): string[] {
  return ["/", "."].flatMap((separator) => [`${name}${separator}${kind}`, `${name}${separator}${kind}:0`]);
}

/** One of q, k and v: a kernel [inFeatures, heads, dim] and, where it is there, a bias [heads, dim]. */
function projection(tensors: NamedTensors, name: string): Projection {
  const kernel = tensors.get(...spellings(name, "kernel"));
  const sizes = checkSizes(kernel, "[inFeatures, heads, dim]", undefined, undefined, undefined);
  const [inFeatures, heads, dim] = sizes as [number, number, number];
  const bias = tensors.find(...spellings(name, "bias"));
  if (bias) checkSizes(bias, "[heads, dim]", heads, dim);
  const weight = { data: kernel.data, shape: [inFeatures, heads * dim] };
  const flatBias = bias && { data: bias.data, shape: [heads * dim] };
  return { linear: { weight, bias: flatBias, transposed: true }, heads, dim, inFeatures };
}
