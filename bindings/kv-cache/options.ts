import type { WeightsOptions } from "../attention-weights/options.ts";
import type { AttentionOptions } from "../attention/options.ts";
import { checkChoice, wrongKind } from "../check.ts";
import type { Layout } from "../memory/layout.ts";
import type { RotaryForm } from "../rotary/options.ts";
import type { Dtype } from "./pages.ts";

/** What a cache holds. */
export interface KvCacheOptions {
  /** KV heads. */
  numKvHeads: number;
  /** Values in a row of k. */
  headDim: number;
  /** Values in a row of v. Default headDim. */
  valueDim?: number | undefined;
  /** Tokens that a sequence may reach; memory is taken as it fills, 128 tokens at a time. */
  capacity: number;
  /** Sequences. Default 1. */
  batch?: number | undefined;
  /** How K and V are stored. Default "f32". */
  dtype?: Dtype | { k: Dtype; v: Dtype } | undefined;
  /**
   * No query looks further than this many keys to the left of its own position; what none can see any more is given back. What the
   * tokens of the latest append see stays, and what 32 tokens before them saw, so that `truncate` may go back over these.
   */
  window?: number | undefined;
  /**
   * The cache applies rotary embedding: `append` turns k by the position of each token, `attention` q by i + queryOffset; see
   * `Heed.rotary`. {} is the default form. Tables have a row for each position up to `capacity`; as Tensors they are read in place and
   * must outlive the cache, as arrays a row is read when it is first needed.
   */
  rotary?: RotaryForm | undefined;
}

/** How tokens are appended. */
export interface AppendOptions {
  /** Of k and v. Default "blhd" = [batch, newTokens, numKvHeads, dim]. */
  layout?: Layout | undefined;
  /** Shape [batch]: how many of the new tokens each sequence takes, from the front. Default all. */
  lengths?: Int32Array | undefined;
}

/** The options of `attention` but for those that the cache settles. */
export type CacheAttentionOptions = Omit<AttentionOptions, Settled>;

/** The options of `attentionWeights` but for those that the cache settles. */
export type CacheWeightsOptions = Omit<WeightsOptions, Settled>;

type Settled = "numKvHeads" | "headDim" | "valueDim" | "batch" | "kvLengths" | "cuSeqlensQ" | "cuSeqlensKv";

/** One type for both, or one for each. */
export function checkDtype(dtype: unknown): { k: Dtype; v: Dtype } {
  const choices = ["f32", "f16", "int8"] as const;
  if (typeof dtype === "string") {
    const both = checkChoice("dtype", dtype, choices);
    return { k: both, v: both };
  }
  if (typeof dtype !== "object" || dtype === null) throw wrongKind("dtype", "a string or { k, v }", dtype);
  const { k, v } = dtype as Partial<Record<string, unknown>>;
  return { k: checkChoice("dtype.k", k, choices), v: checkChoice("dtype.v", v, choices) };
}
