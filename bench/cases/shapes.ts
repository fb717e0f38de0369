// The shapes of every table.
import type { Dtype } from "heed";
import { type Shape, shape } from "../harness/problem.ts";

const PADDED = [128, 93, 57, 128, 31, 110, 74, 45];

/** Attention; those marked quick are part of `--quick`. */
export const SHAPES: readonly Shape[] = [
  shape("1×12×128×128×64"),
  shape("1×12×512×512×64", { quick: true }),
  shape("1×12×384×384×32"),
  shape("1×8×1024×1024×64"),
  shape("1×8×2048×2048×128"),
  shape("8×12×64×64×64"),
  shape("1×8×1024×1024×80"),
  shape("1×16×197×197×64"),
  shape("1×32/8×512×512×128"),
  shape("1×8×1024×1024×64", { causal: true, quick: true }),
  shape("1×8×2048×2048×128", { causal: true }),
  shape("1×4×4096×4096×64", { window: 256 }),
  shape("8×12×128×128×64", { kvLengths: PADDED }),
  shape("8×12×128×128×64", { keyMask: true }),
  shape("1×12×2×2048×64"),
  shape("1×12×4×2048×64", { quick: true }),
  shape("1×12×8×2048×64"),
  shape("1×12×16×2048×64"),
];

/** One query against 4096 keys of 32 heads, and the same with groups of four query heads. */
export const MHA = "1×32×1×4096×128";
export const GQA = "1×32/8×1×4096×128";
/** One query of four heads against many keys of one KV head. */
export const LONG = "1×4/1×1×65536×128";
/** One query against keys that fit the processor's cache. */
export const SMALL = "1×12×1×1024×64";

/** Decoding: one query a head against a resident KV cache, for each type of the cache. */
export const DECODE_CASES: readonly { dims: string; dtypes: readonly Dtype[] }[] = [
  { dims: SMALL, dtypes: ["f32"] },
  { dims: MHA, dtypes: ["f32", "f16", "int8"] },
  { dims: GQA, dtypes: ["f32"] },
];

/** Attention weights of one query: a cache that fits the processor's, one that does not, and groups of query heads. */
export const WEIGHTS_SHAPES: readonly string[] = [SMALL, MHA, GQA];

/** What is asked of the weights: a whole row of each head, or the largest of their mean. */
export const WEIGHTS_CASES = [
  { what: "weights of one row", selection: {} },
  { what: "10 largest of the mean of", selection: { reduce: "mean", topK: 10 } },
] as const;

/** Linear layers: rows × inFeatures × outFeatures. A single row is what decoding multiplies. */
export const PRODUCTS = [
  [512, 768, 768],
  [512, 768, 3072],
  [512, 3072, 768],
  [1, 768, 768],
] as const;

/** The whole layer: self-attention over `seqLen` tokens of `width` floats. */
export const LAYER = { seqLen: 512, width: 768, numHeads: 12 };

/** Where heed is compared with its bare tile: nearly all of it is products. */
export const MICRO_SHAPE = shape("1×8×2048×2048×128");

/** A call that several threads share. */
export interface ThreadCase {
  what: string;
  kind: "attention" | "decode" | "linear";
  work: { shape: Shape } | { product: readonly [rows: number, inFeatures: number, outFeatures: number] };
  /** Two threads on two cores must be this many times as fast as one. */
  atLeast: number;
  /** Part of `--quick`. */
  quick: boolean;
}

function threadCase(one: Shape, atLeast: number, kind: "attention" | "decode" = "attention"): ThreadCase {
  const what = kind === "decode" ? `decode ${one.name}` : one.name;
  return { what, kind, work: { shape: one }, atLeast, quick: one.quick ?? false };
}

/** On several threads: what must gain, and small shapes that must not lose. */
export const THREAD_CASES: readonly ThreadCase[] = [
  threadCase(shape("1×12×512×512×64", { quick: true }), 1.85),
  threadCase(shape("1×8×1024×1024×64", { causal: true }), 1.85),
  threadCase(shape("1×8×2048×2048×128"), 1.85),
  threadCase(shape("1×1×2048×2048×64"), 1.85),
  threadCase(shape("1×12×128×128×64", { quick: true }), 1.5),
  threadCase(shape("1×12×64×64×64"), 0.97),
  threadCase(shape("1×4×16×16×32", { quick: true }), 0.97),
  {
    what: nameOfProduct([512, 768, 3072]),
    kind: "linear",
    work: { product: [512, 768, 3072] },
    atLeast: 1.85,
    quick: false,
  },
  threadCase(shape(MHA), 1, "decode"),
  threadCase(shape(LONG), 1.2, "decode"),
  threadCase(shape(SMALL, { quick: true }), 0.97, "decode"),
];

/** `linear 512×768×768`. */
export function nameOfProduct([rows, inFeatures, outFeatures]: readonly [number, number, number]): string {
  return `linear ${rows}×${inFeatures}×${outFeatures}`;
}

/** `layer 1×512×768, 12 heads`. */
export const LAYER_NAME = `layer 1×${LAYER.seqLen}×${LAYER.width}, ${LAYER.numHeads} heads`;
