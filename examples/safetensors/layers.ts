import { type Heed, MultiHeadAttention, type StateDict } from "heed";
import { FLOATS, type FloatTensor, type Header, type Source, bytesSource, readFloats, readHeader } from "./format.ts";

/** An attention layer of a checkpoint: where its tensors stand, and whose names they have. */
export interface Found {
  prefix: string;
  kind: "torch" | "Hugging Face";
}

/**
 * The tensors of a safetensors file whose names begin with `prefix`. Integers and other types that no attention layer has
 * are left out.
 */
export function readTensors(file: Uint8Array | Source, prefix = ""): Map<string, FloatTensor> {
  const source = file instanceof Uint8Array ? bytesSource(file) : file;
  return readSome(source, readHeader(source), prefix);
}

/** {@link readTensors} with a header that is read already. */
export function readSome(source: Source, header: Header, prefix: string): Map<string, FloatTensor> {
  const some = [...header].filter(([name, { dtype }]) => name.startsWith(prefix) && FLOATS.includes(dtype));
  return new Map(some.map(([name, entry]) => [name, readFloats(source, name, entry)]));
}

/** The tensor that a layer of each kind begins with. */
const SIGNS: readonly (readonly [sign: RegExp, kind: Found["kind"]])[] = [
  [/(?:in_proj_weight|(?<![a-z])q_proj_weight)$/, "torch"],
  [
    /(?:q_proj|self\.query|attention\.query|q_lin|c_attn|qkv_proj|(?<![a-z_])[Ww]?qkv|W_pack|query_key_value)\.weight$/,
    "Hugging Face",
  ],
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
