import { safetensors } from "@jax-js/loaders";
import { type Heed, MultiHeadAttention, type StateDict } from "heed";

/** An attention layer of a checkpoint: where its tensors stand, and whose names they have. */
export interface Found {
  prefix: string;
  kind: "torch" | "Hugging Face";
}

/** The tensors of a safetensors file as f32; those of other types, which no attention layer has, are left out. */
export function readTensors(bytes: Uint8Array<ArrayBuffer>): Map<string, { data: Float32Array; shape: number[] }> {
  const tensors = new Map<string, { data: Float32Array; shape: number[] }>();
  for (const [name, { data, shape, dtype }] of Object.entries(safetensors.parse(bytes).tensors)) {
    if (data instanceof Float32Array) tensors.set(name, { data, shape });
    else if (dtype === "F16" || dtype === "F64")
      tensors.set(name, { data: Float32Array.from(data as ArrayLike<number>), shape });
  }
  return tensors;
}

/** The tensor that a layer of each kind begins with. */
const SIGNS: readonly (readonly [sign: RegExp, kind: Found["kind"]])[] = [
  [/(?:in_proj_weight|(?<![a-z])q_proj_weight)$/, "torch"],
  [/(?:q_proj|self\.query|attention\.query|q_lin|c_attn)\.weight$/, "Hugging Face"],
];

/** The attention layers of a checkpoint, in the order of its names. */
export function findLayers(names: Iterable<string>): Found[] {
  const found: Found[] = [];
  for (const name of names) {
    for (const [sign, kind] of SIGNS) {
      const match = sign.exec(name);
      if (match) found.push({ prefix: name.slice(0, match.index), kind });
    }
  }
  return found;
}

/** One of the layers, its weights packed. */
export function openLayer(
  heed: Heed,
  tensors: StateDict,
  { prefix, kind }: Found,
  numHeads: number,
): MultiHeadAttention {
  const options = { prefix, numHeads };
  return heed.createMultiHeadAttention(
    kind === "torch"
      ? MultiHeadAttention.fromTorch(tensors, options)
      : MultiHeadAttention.fromHuggingFace(tensors, options),
  );
}
