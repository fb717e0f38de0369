import type { WeightsOptions } from "../attention-weights/options.ts";
import type { AttentionOptions } from "../attention/options.ts";
import type { Dims } from "../attention/problem.ts";
import { checkAbsent, checkChoice, checkInteger, isObject, wrongValue } from "../check.ts";
import { MAX_BATCH, MAX_DIM, MAX_HEADS, MAX_ROWS } from "../limits.ts";
import { type FloatRows, isRows } from "../memory/data.ts";
import type { Layout } from "../memory/layout.ts";
import type { Rows } from "../memory/output.ts";
import { type Names, nested } from "../options.ts";
import { FORM_NAMES, type RotaryForm } from "../rotary/options.ts";
import type { Dtype } from "./page-layout.ts";
import { MAX_POSITION } from "./token-positions.ts";

/** The sizes of a cache and how it stores its tokens. @category KV cache */
export interface KvCacheOptions {
  /** KV heads. */
  numKvHeads: number;
  /** Values in a row of k. */
  headDim: number;
  /** Values in a row of v. Default headDim. */
  valueDim?: number | undefined;
  /** The most tokens of a sequence. Memory is allocated as the cache fills, 128 tokens at a time. */
  capacity: number;
  /** Sequences. Default 1. */
  batch?: number | undefined;
  /** How K and V are stored. Default "f32". */
  dtype?: Dtype | { k: Dtype; v: Dtype } | undefined;
  /**
   * How many keys to the left of its own position a query sees at most. Keys that no query can see any more are given
   * back. The keys that the tokens of the latest append see stay, and those that the 32 tokens before them see:
   * `truncate` may take these tokens back, or all. Infinity and the default: unlimited.
   */
  window?: number | undefined;
  /**
   * The cache applies rotary embedding, see `Heed.rotary`: `append` rotates k by the position of each token,
   * `attention` rotates row i of q by the position i + queryOffset. {} is the default form. Tables need a row for each
   * position up to `capacity`. Frequencies and tables are read when the cache is made, and again after `reset()`;
   * between the two nothing that happens to them matters. Caches whose tables have the same bits share one copy in
   * linear memory.
   */
  rotary?: RotaryForm | undefined;
  /** The position of the first token of each sequence, for rotary embedding: −2²⁹ … 2²⁹. Default 0. */
  firstPosition?: number | undefined;
}

/** What a cache may be like besides its sizes. */
export const STORE_NAMES = {
  capacity: 0,
  batch: 0,
  dtype: nested({ k: 0, v: 0 }),
  window: 0,
  rotary: nested(FORM_NAMES),
  firstPosition: 0,
} as const;

/** The options of `createKvCache`. */
export const CACHE_NAMES: Names<KvCacheOptions> = { ...STORE_NAMES, numKvHeads: 0, headDim: 0, valueDim: 0 };

/** The sizes of a cache and how it stores its tokens, each of them settled. */
export interface CacheSizes extends Dims {
  readonly capacity: number;
  readonly dtype: Readonly<{ k: Dtype; v: Dtype }>;
  readonly window: number;
  readonly firstPosition: number;
}

/** What `append` takes besides k and v. @category KV cache */
export interface AppendOptions {
  /** The layout of k and v. Default "blhd" = [batch, newTokens, numKvHeads, dim]. */
  layout?: Layout | undefined;
  /** [batch]: how many of the new tokens each sequence takes, from the first on. Default all. */
  lengths?: Int32Array | undefined;
  /**
   * The positions of the new tokens, for rotary embedding, each −2²⁹ … 2²⁹: [newTokens], the same for every sequence, or
   * [batch, newTokens]; with `sections` [axes, newTokens] or [axes, batch, newTokens]. Default: they follow that of the
   * last token of each sequence, on several axes the largest one.
   */
  positions?: Int32Array | undefined;
}

/** What `keep` takes besides the tokens. @category KV cache */
export interface KeepOptions {
  /**
   * Whether K turns to the positions from firstPosition on, in the order of the tokens that stay, where the cache applies
   * rotary embedding. Storing it anew rounds it once more. Default false: tokens keep their positions.
   */
  repositioned?: boolean | undefined;
}

/** The options of `keep`. */
export const KEEP_NAMES: Names<KeepOptions> = { repositioned: 0 };

/** The options of `append`. */
export const APPEND_NAMES: Names<AppendOptions> = { layout: 0, lengths: 0, positions: 0 };

/** The options of `attention` without those that the cache settles. @category KV cache */
export type CacheAttentionOptions<
  Out extends FloatRows | undefined = FloatRows | undefined,
  Lse extends boolean | Rows | undefined = boolean | Rows | undefined,
> = Omit<AttentionOptions<Out, Lse>, Settled>;

/** The options of `attentionWeights` without those that the cache settles. @category KV cache */
export type CacheWeightsOptions<
  Weights extends Rows | undefined = Rows | undefined,
  TopK extends number | undefined = number | undefined,
  Entropy extends boolean | Rows | undefined = boolean | Rows | undefined,
> = Omit<WeightsOptions<Weights, TopK, Entropy>, Settled>;

/** The options that the cache knows itself. */
type Settled = "numKvHeads" | "headDim" | "valueDim" | "batch" | "kvLengths" | "cuSeqlensQ" | "cuSeqlensKv";

/** The sizes of the rows of k and v. */
export const ROW_SIZES = ["numKvHeads", "headDim", "valueDim"] as const;

/** Checks that no option of a call over a cache says something else than the cache does, and sets those it settles. */
export function checkSettled(
  options: Partial<AttentionOptions>,
  cache: { numKvHeads: number; headDim: number; valueDim: number; batch: number },
): void {
  for (const name of [...ROW_SIZES, "batch"] as const) {
    const value: unknown = options[name];
    if (value !== undefined && value !== cache[name])
      throw wrongValue(name, `${cache[name]} (that of the cache)`, value);
    options[name] = cache[name];
  }
  checkAbsent(options, ["kvLengths", "cuSeqlensQ", "cuSeqlensKv"], "nothing beside a cache");
}

/** Checks an option with one value for k and v, or { k, v }: one for each. `check` checks a value. */
export function oneOrEach<Value>(
  title: string,
  given: unknown,
  check: (title: string, value: unknown) => Value,
): { k: Value; v: Value } {
  if (isObject(given) && !isRows(given)) {
    const { k, v } = given as { k?: unknown; v?: unknown };
    return { k: check(`${title}.k`, k), v: check(`${title}.v`, v) };
  }
  const both = check(title, given);
  return { k: both, v: both };
}

const DTYPES = ["f32", "f16", "int8"] as const;

/**
 * Checks and settles the sizes of a cache.
 *
 * @throws TypeError for the wrong kind, RangeError for a wrong size or value
 */
export function checkCacheSizes(options: KvCacheOptions): CacheSizes {
  const { numKvHeads, headDim, valueDim = headDim, capacity, batch = 1, dtype = "f32", window = Infinity } = options;
  const { firstPosition = 0 } = options;
  return {
    numKvHeads: checkInteger("numKvHeads", numKvHeads, 1, MAX_HEADS),
    headDim: checkInteger("headDim", headDim, 1, MAX_DIM),
    valueDim: checkInteger("valueDim", valueDim, 1, MAX_DIM),
    capacity: checkInteger("capacity", capacity, 0, MAX_ROWS),
    batch: checkInteger("batch", batch, 1, MAX_BATCH),
    dtype: Object.freeze(oneOrEach("dtype", dtype, (title, type) => checkChoice(title, type, DTYPES))),
    window: window === Infinity ? window : checkInteger("window", window, 0),
    firstPosition: checkInteger("firstPosition", firstPosition, -MAX_POSITION, MAX_POSITION),
  };
}
