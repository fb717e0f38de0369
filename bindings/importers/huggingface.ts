import { readOptions } from "../options.ts";
import {
  type ImportOptions,
  type Imported,
  type Layer,
  headsOf,
  layerOf,
  projectionOf,
  sideBySide,
} from "./imported.ts";
import type { FloatRows } from "../memory/data.ts";
import { type NamedTensor, NamedTensors, type StateDict, sized } from "./state-dict.ts";

/**
 * How model families name q, k, v and, in one way or several, out: Llama, Mistral, Qwen2, OPT, CLIP …; BERT; two forms
 * of ViT, the second with ALBERT; DistilBERT.
 */
const FAMILIES = [
  ["q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "dense"],
  ["self.query", "self.key", "self.value", "output.dense"],
  ["attention.query", "attention.key", "attention.value", "output.dense"],
  ["query", "key", "value", "output.dense", "dense"],
  ["q_lin", "k_lin", "v_lin", "out_lin"],
] as const;

/** Angles of rotary embedding, which the layer computes from `rotary`; ids of positions; the header of a file. */
const BUFFERS = /(^|\.)((original_)?inv_freq|(cos|sin)_cached|position_ids)$|^__metadata__$/;
/** The norm of BERT's residual block, around attention. */
const NORMS = /^(output\.)?LayerNorm\.(weight|bias|gamma|beta)$/;

/** Whether a tensor is the causal mask of GPT-2, GPT-Neo or GPT-J, `bias` [1, 1, n, n], or the score of masked keys. */
function isCausalMask(name: string, tensor: unknown): boolean {
  if (name === "masked_bias") return true;
  const shape: unknown = name === "bias" && (tensor as { shape?: unknown } | null)?.shape;
  return Array.isArray(shape) && shape.length > 1 && shape.at(-1) === shape.at(-2);
}

/**
 * The attention of a Hugging Face transformer below `prefix`: q_proj, k_proj, v_proj and o_proj or out_proj; query,
 * key, value and output.dense of BERT and ViT; q_lin … out_lin of DistilBERT; c_attn and c_proj of GPT-2. Biases and
 * the sinks of GPT-OSS are read where they are there. The number of heads, and whether q and k are rotated (`rotary`),
 * stand in the model's config and not in its weights. Below the prefix may stand angles of rotary embedding, causal
 * masks and BERT's LayerNorm besides; any other tensor is refused, because the model computes something with it.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape and for a tensor
 * that heed's attention does not have
 * @example
 * import { MultiHeadAttention, load } from "heed";
 *
 * const heed = await load();
 * const tensor = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape });
 * const stateDict = {
 *   "model.layers.0.self_attn.q_proj.weight": tensor(8, 8),
 *   "model.layers.0.self_attn.k_proj.weight": tensor(4, 8),
 *   "model.layers.0.self_attn.v_proj.weight": tensor(4, 8),
 *   "model.layers.0.self_attn.o_proj.weight": tensor(8, 8),
 * };
 * const options = MultiHeadAttention.fromHuggingFace(stateDict, { prefix: "model.layers.0.self_attn", numHeads: 2 });
 * const layer = heed.createMultiHeadAttention({ ...options, numKvHeads: 1, causal: true, rotary: { base: 500_000 } });
 * console.log(layer.headDim, layer.numKvHeads); // → 4 1
 */
export function fromHuggingFace<const N extends number | undefined = undefined>(
  stateDict: StateDict,
  options: ImportOptions<N> = {},
): Imported<N> {
  const { prefix, numHeads } = readOptions<ImportOptions<N>>("fromHuggingFace", options, { prefix: 0, numHeads: 0 });
  const heads = headsOf<N>(numHeads);
  // Until the family is known, the norms of BERT are left alone; a missing tensor never blames a causal mask.
  let isBert = true;
  const tensors = new NamedTensors(
    "stateDict",
    stateDict,
    prefix,
    (name, tensor) => BUFFERS.test(name) || (isBert ? NORMS.test(name) : isCausalMask(name, tensor)),
  );
  const family = FAMILIES.find(([q]) => tensors.find(`${q}.weight`)) ?? FAMILIES[0];
  const isGpt2 = tensors.find("c_attn.weight") !== undefined;
  const layer = isGpt2 ? fromGpt2(tensors) : fromProjections(tensors, family);
  isBert = !isGpt2 && family[0].endsWith("query");
  tensors.refuseOthers();
  return { ...heads, ...layer };
}

/** The families that store q, k and v apart. */
function fromProjections(tensors: NamedTensors, [qName, kName, vName, ...outNames]: (typeof FAMILIES)[number]): Layer {
  const projection = (what: string, ...names: string[]) => projectionOf(tensors, names, what, [undefined, undefined]);
  const otherFamilies = FAMILIES.map(([q]) => q).filter((q) => q !== qName);
  const q = projection("[numHeads·headDim, embedDim]", qName, ...otherFamilies);
  const k = projection("[numKvHeads·headDim, kvDim]", kName);
  const v = projection("[numKvHeads·headDim, kvDim]", vName);
  const out = projection("[outDim, numHeads·headDim]", ...outNames);
  const sinks = sized(tensors.find("sinks"), "[numHeads]", undefined);
  return { ...layerOf([q, k, v], out), outDim: out.weight.shape[0]!, ...(sinks && { sinks: floatsOf(sinks) }) };
}

/** The floats of a tensor, with their dtype where they have 16 bits. */
function floatsOf({ data, dtype }: NamedTensor): FloatRows {
  return (dtype ? { data, dtype } : data) as FloatRows;
}

/** GPT-2: `c_attn` is [embedDim, 3·embedDim], with q, k and v side by side. */
function fromGpt2(tensors: NamedTensors): Layer {
  const matrix = tensors.get("c_attn.weight");
  const embedDim = matrix.shape[0]!;
  const projections = sideBySide(matrix, tensors.find("c_attn.bias"), [embedDim, embedDim, embedDim]);
  return layerOf(projections, projectionOf(tensors, ["c_proj"], "[embedDim, embedDim]", [embedDim, embedDim], true));
}
