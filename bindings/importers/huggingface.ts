import { readOptions } from "../options.ts";
import { type ImportOptions, type Imported, type ImportedLayer, headsOf, sideBySide } from "./imported.ts";
import { NamedTensors, type StateDict, checkSizes } from "./state-dict.ts";

/**
 * How model families name q, k, v and out: Llama, Mistral, Qwen2, OPT, CLIP …; BERT; two forms of ViT, the second with
 * ALBERT; DistilBERT.
 */
const FAMILIES = [
  { q: "q_proj", k: "k_proj", v: "v_proj", out: ["o_proj", "out_proj", "dense"] },
  { q: "self.query", k: "self.key", v: "self.value", out: ["output.dense"] },
  { q: "attention.query", k: "attention.key", v: "attention.value", out: ["output.dense"] },
  { q: "query", k: "key", v: "value", out: ["output.dense", "dense"] },
  { q: "q_lin", k: "k_lin", v: "v_lin", out: ["out_lin"] },
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
  // Until the family is known, what any family has beside its weights is left alone.
  let isBert: boolean | null = null;
  const tensors = new NamedTensors(
    "stateDict",
    stateDict,
    prefix,
    (name, tensor) =>
      BUFFERS.test(name) || (isBert !== false && NORMS.test(name)) || (isBert !== true && isCausalMask(name, tensor)),
  );
  const family = FAMILIES.find(({ q }) => tensors.find(`${q}.weight`)) ?? FAMILIES[0];
  const isGpt2 = tensors.find("c_attn.weight") !== undefined;
  const layer = isGpt2 ? fromGpt2(tensors) : fromProjections(tensors, family);
  isBert = !isGpt2 && family.q.endsWith("query");
  tensors.refuseOthers();
  return { ...heads, ...layer };
}

/** The families that store q, k and v apart. */
function fromProjections(tensors: NamedTensors, family: (typeof FAMILIES)[number]): Omit<ImportedLayer, "numHeads"> {
  const linear = (shape: string, ...names: string[]) => {
    const weight = tensors.get(...names.map((name) => `${name}.weight`));
    checkSizes(weight, shape, undefined, undefined);
    const bias = tensors.find(...names.map((name) => `${name}.bias`));
    if (bias) checkSizes(bias, "[outFeatures]", weight.shape[0]);
    return { weight, bias };
  };
  const otherFamilies = FAMILIES.map(({ q }) => q).filter((q) => q !== family.q);
  const q = linear("[numHeads·headDim, embedDim]", family.q, ...otherFamilies);
  const k = linear("[numKvHeads·headDim, kvDim]", family.k);
  const v = linear("[numKvHeads·headDim, kvDim]", family.v);
  const out = linear("[outDim, numHeads·headDim]", ...family.out);
  const sinks = tensors.find("sinks");
  if (sinks) checkSizes(sinks, "[numHeads]", undefined);
  return {
    embedDim: q.weight.shape[1]!,
    kvDim: { k: k.weight.shape[1]!, v: v.weight.shape[1]! },
    outDim: out.weight.shape[0]!,
    ...(sinks && { sinks: sinks.data }),
    weights: { q, k, v, out },
  };
}

/** GPT-2: `c_attn` is [embedDim, 3·embedDim], with q, k and v side by side. */
function fromGpt2(tensors: NamedTensors): Omit<ImportedLayer, "numHeads"> {
  const matrix = tensors.get("c_attn.weight");
  const [embedDim] = checkSizes(matrix, "[embedDim, 3·embedDim]", undefined, undefined) as [number];
  checkSizes(matrix, "[embedDim, 3·embedDim]", embedDim, 3 * embedDim);
  const bias = tensors.find("c_attn.bias");
  const weight = tensors.get("c_proj.weight");
  checkSizes(weight, "[embedDim, embedDim]", embedDim, embedDim);
  const outBias = tensors.find("c_proj.bias");
  if (outBias) checkSizes(outBias, "[embedDim]", embedDim);
  const out = { weight, bias: outBias, transposed: true };
  return sideBySide(matrix, bias, [embedDim, embedDim, embedDim], out);
}
