import { checkAbsent, checkChoice, wrongKind, wrongValue } from "../check.ts";
import type { FloatRows } from "../memory/data.ts";
import { type Names, elements, readOptions } from "../options.ts";
import {
  type Fused,
  type ImportOptions,
  type Imported,
  type Projection,
  type Sizes,
  fusedOf,
  headsOf,
  layerOf,
  projectionOf,
} from "./imported.ts";
import { type NamedTensor, NamedTensors, type StateDict, sized } from "./state-dict.ts";

/** What `fromHuggingFace` takes besides the state dict. @category Importers */
export interface HuggingFaceOptions<N extends number | undefined = number | undefined> extends ImportOptions<N> {
  /**
   * How the rows of q, k and v follow each other where they stand in one matrix: `"whole"` for all of q, then k, then
   * v; `"grouped"` for the query heads, the key and the value of each KV head. Default as the family has it.
   */
  qkvOrder?: "whole" | "grouped" | undefined;
  /**
   * Names below the prefix that are not refused, because the caller computes with them, such as
   * `"relative_attention_bias.weight"` of T5. Default none.
   */
  ignore?: readonly string[] | undefined;
}

const OPTIONS: Names<HuggingFaceOptions> = { prefix: 0, numHeads: 0, qkvOrder: 0, ignore: elements };

/**
 * How model families name q, k and v, or the one matrix of the three, and, in one way or several, out. The first whose
 * tensor is there counts.
 */
const FAMILIES: readonly (readonly [inputs: string, ...outs: string[]])[] = [
  // Llama, Mistral, Qwen2, OPT, CLIP, Whisper …
  ["q_proj k_proj v_proj", "o_proj", "out_proj", "dense"],
  // BERT; ViT; ViT and ALBERT
  ["self.query self.key self.value", "output.dense"],
  ["attention.query attention.key attention.value", "output.dense"],
  ["query key value", "output.dense", "dense"],
  // DistilBERT
  ["q_lin k_lin v_lin", "out_lin"],
  // T5
  ["q k v", "o"],
  // GPT-2; Qwen, GPT BigCode
  ["c_attn", "c_proj"],
  // Phi-3
  ["qkv_proj", "o_proj"],
  // MPT, DBRX; ModernBERT
  ["Wqkv", "out_proj", "Wo"],
  // timm, DINOv2, Qwen2-VL; BLIP
  ["qkv", "proj", "projection"],
  // Baichuan
  ["W_pack", "o_proj"],
  // GPT-NeoX, BLOOM, Falcon
  ["query_key_value", "dense"],
  // InternLM2
  ["wqkv", "wo"],
];

/** Those of one matrix whose rows are grouped by KV head. */
const GROUPED = /^(query_key_value|wqkv)$/;

/** Angles of rotary embedding, which the layer computes from `rotary`; ids of positions; the header of a file. */
const BUFFERS = /(^|\.)((original_)?inv_freq|(cos|sin)_cached|position_ids)$|^__metadata__$/;
/** The norm of BERT's residual block, around attention. */
const NORMS = /^(output\.)?LayerNorm\.(weight|bias|gamma|beta)$/;

/** Whether a tensor is the causal mask of a GPT, `bias` [1, 1, n, n], or the score of masked keys. */
function isCausalMask(name: string, tensor: unknown): boolean {
  if (name === "masked_bias") return true;
  const shape: unknown = name === "bias" && (tensor as { shape?: unknown } | null)?.shape;
  return Array.isArray(shape) && shape.length > 1 && shape.at(-1) === shape.at(-2);
}

/**
 * The attention of a Hugging Face transformer below `prefix`, by the names of its family: q_proj, k_proj, v_proj and
 * o_proj, out_proj or dense; query, key, value and output.dense of BERT and ViT; q_lin … out_lin of DistilBERT; q, k, v
 * and o of T5, whose scale is 1. Or q, k and v in one matrix [q + k + v, embedDim], where the shape of out says how wide
 * q is:
 *
 * | matrix | out | families | rows |
 * |---|---|---|---|
 * | c_attn | c_proj | GPT-2 (transposed), Qwen, GPT BigCode | whole |
 * | qkv_proj | o_proj | Phi-3 | whole |
 * | Wqkv | out_proj, Wo | MPT, DBRX; ModernBERT | whole |
 * | qkv | proj, projection | timm, DINOv2; BLIP | whole |
 * | W_pack | o_proj | Baichuan | whole |
 * | query_key_value | dense | GPT-NeoX, BLOOM, Falcon | grouped |
 * | wqkv | wo | InternLM2 | grouped |
 *
 * `qkvOrder` says what whole and grouped mean, and changes it. Grouped rows need `numHeads`.
 *
 * Biases and the sinks of GPT-OSS are read where they are there. The number of heads, and whether q and k are rotated
 * (`rotary`), stand in the model's config and not in its weights; the number of KV heads follows from the shapes. Below
 * the prefix may stand angles of rotary embedding, causal masks and BERT's LayerNorm besides; any other tensor is
 * refused, because the model computes something with it.
 *
 * @throws TypeError for a tensor that is missing or of the wrong kind, RangeError for a wrong shape and for a tensor
 * that heed's attention does not have
 * @example
 * import { MultiHeadAttention, load } from "heed";
 *
 * const heed = await load();
 * const tensor = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b)), shape });
 * const stateDict = {
 *   "model.layers.0.self_attn.qkv_proj.weight": tensor(16, 8),
 *   "model.layers.0.self_attn.o_proj.weight": tensor(8, 8),
 * };
 * const options = MultiHeadAttention.fromHuggingFace(stateDict, { prefix: "model.layers.0.self_attn", numHeads: 2 });
 * const layer = heed.createMultiHeadAttention({ ...options, causal: true, rotary: { base: 500_000 } });
 * console.log(layer.headDim, layer.numKvHeads); // → 4 1
 */
export function fromHuggingFace<const N extends number | undefined = undefined>(
  stateDict: StateDict,
  options: HuggingFaceOptions<N> = {},
): Imported<N> {
  const read = readOptions<HuggingFaceOptions<N>>("fromHuggingFace", options, OPTIONS);
  const { prefix, numHeads, ignore = [] } = read;
  const heads = headsOf<N>(numHeads);
  if (!Array.isArray(ignore) || ignore.some((name) => typeof name !== "string")) {
    throw wrongKind("ignore", "an array of strings", ignore);
  }
  // Until the family is known, the norms of BERT are left alone; a missing tensor never blames a causal mask.
  let isBert = true;
  const tensors = new NamedTensors(
    "stateDict",
    stateDict,
    prefix,
    (name, tensor) =>
      BUFFERS.test(name) || ignore.includes(name) || (isBert ? NORMS.test(name) : isCausalMask(name, tensor)),
  );
  tensors.get(...FAMILIES.map(firstWeight));
  const [inputs, ...outs] = FAMILIES.find((family) => tensors.find(firstWeight(family)))!;
  const names = inputs.split(" ");
  const [projections, out] =
    names.length > 1 ? readApart(tensors, names, outs, read) : readFused(tensors, inputs, outs, read);
  const sinks = sized(tensors.find("sinks"), "[numHeads]", undefined);
  isBert = names[0]!.endsWith("query");
  tensors.refuseOthers();
  return {
    ...heads,
    ...layerOf(projections, out),
    // T5 has no biases; another model with its names would have the default.
    ...(names[0] === "q" && !projections[0].bias && { scale: 1 }),
    ...(sinks && { sinks: floatsOf(sinks) }),
  };
}

/** The floats of a tensor, with their dtype where they have 16 bits. */
function floatsOf({ data, dtype }: NamedTensor): FloatRows {
  return (dtype ? { data, dtype } : data) as FloatRows;
}

/** The name of the tensor by which a family is known. */
function firstWeight([inputs]: (typeof FAMILIES)[number]): string {
  return `${inputs.split(" ")[0]!}.weight`;
}

/** q, k and v of the families that store them apart, and out. */
function readApart(
  tensors: NamedTensors,
  [q, k, v]: readonly string[],
  outs: readonly string[],
  options: object,
): [Fused, Projection] {
  checkAbsent(options, ["qkvOrder"], "nothing, since q, k and v stand apart");
  const projection = (what: string, ...names: string[]) => projectionOf(tensors, names, what, [undefined, undefined]);
  return [
    [
      projection("[numHeads·headDim, embedDim]", q!),
      projection("[numKvHeads·headDim, kvDim]", k!),
      projection("[numKvHeads·headDim, kvDim]", v!),
    ],
    projection("[outDim, numHeads·headDim]", ...outs),
  ];
}

/**
 * q, k and v of the families that store them in one matrix, and out.
 *
 * Whole rows are [q; k; v]: `query_pos` in modeling_phi3.py, `chunk` in modeling_mpt.py, `reshape(B, N, 3, …)` in timm.
 * Grouped rows are [queries; key; value] for each KV head: `_split_heads` of modeling_falcon.py, and
 * modeling_gpt_neox.py, where each head is such a group (https://github.com/huggingface/transformers).
 */
function readFused(
  tensors: NamedTensors,
  name: string,
  outs: readonly string[],
  { numHeads, qkvOrder = GROUPED.test(name) ? "grouped" : "whole" }: HuggingFaceOptions,
): [Fused, Projection] {
  const isGrouped = checkChoice("qkvOrder", qkvOrder, ["whole", "grouped"]) === "grouped";
  const matrix = sized(tensors.get(`${name}.weight`), "[q + k + v, embedDim]", undefined, undefined);
  const [rows, columns] = matrix.shape as [number, number];
  // The Conv1D of GPT-2 stores [embedDim, q + k + v].
  const transposed = name === "c_attn" && rows < columns ? true : undefined;
  const what = transposed ? "[numHeads·headDim, outDim]" : "[outDim, numHeads·headDim]";
  const out = projectionOf(tensors, outs, what, [undefined, undefined], transposed);
  const q = out.weight.shape[transposed ? 0 : 1]!;
  const kv = transposed ? q : (rows - q) / 2;
  if (isGrouped && numHeads === undefined) {
    throw wrongKind("numHeads", `an integer, since the rows of ${name} are grouped by heads`, numHeads);
  }
  const headDim = numHeads === undefined ? 1 : q / numHeads;
  if (!Number.isInteger(headDim)) throw wrongValue("numHeads", `a divisor of ${q} (inFeatures of out)`, numHeads);
  if (!(q > 0 && kv > 0 && Number.isInteger(kv / headDim) && Number.isInteger(q / kv))) {
    const expected = `q + k + v, where q has the ${q} inFeatures of out, and k and v a divisor of its heads`;
    throw wrongValue(`${matrix.name}.shape[0]`, expected, rows);
  }
  const groups = isGrouped ? kv / headDim : 1;
  const sizes: Sizes = [q / groups, kv / groups, kv / groups];
  return [fusedOf(matrix, tensors.find(`${name}.bias`), sizes, groups, transposed), out];
}
