import { CHOICE_NAMES, type WeightsOptions, type WeightsResult } from "../attention-weights/options.ts";
import type { AttentionResult } from "../attention/attention.ts";
import { ATTENTION_NAMES, type AttentionOptions } from "../attention/options.ts";
import {
  checkBoolean,
  checkInt32Array,
  checkInteger,
  checkLength,
  checkRows,
  notOurs,
  perBatch,
  wrongKind,
  wrongValue,
} from "../check.ts";
import { KvCache } from "../kv-cache/kv-cache.ts";
import { MAX_BATCH } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, checkFloats, shaped } from "../memory/data.ts";
import type { Rows, Written } from "../memory/output.ts";
import { Tensor } from "../memory/tensor.ts";
import { type Names, nested } from "../options.ts";
import { type Mask, combineMasks } from "./drop-mask.ts";
import type { LayerDefaults, LayerDims } from "./options.ts";
import { type LayerPositions, checkPositions } from "./positions.ts";

/** The options of attention that the layer knows itself. */
type Settled = "numHeads" | "headDim" | "numKvHeads" | "valueDim" | "layout";

/**
 * Which attention weights `forward` returns too, and in which form, see `Heed.attentionWeights`.
 *
 * @category Layer and linear
 */
export type LayerWeights<
  Weights extends Rows | undefined = Rows | undefined,
  TopK extends number | undefined = number | undefined,
  Entropy extends boolean | Rows | undefined = boolean | Rows | undefined,
> = Pick<WeightsOptions<Weights, TopK, Entropy>, keyof typeof CHOICE_NAMES>;

/**
 * What `forward` takes besides x: the options of attention, and where k and v come from. The types of `out`, `lse` and
 * `weights` decide what the call returns.
 *
 * @category Layer and linear
 */
export interface ForwardOptions<
  Out extends Rows | undefined = Rows | undefined,
  Lse extends boolean | Rows | undefined = boolean | Rows | undefined,
  All extends boolean | undefined = boolean,
  Weights extends Rows | undefined = Rows | undefined,
  TopK extends number | undefined = number | undefined,
  Entropy extends boolean | Rows | undefined = boolean | Rows | undefined,
> extends Omit<AttentionOptions<Out, Lse>, Settled | "queryOffset"> {
  /** Default 1, or that of the cache. */
  batch?: number | undefined;
  /**
   * Cross-attention: the rows from which k and v are projected, [batch, seqLenKv, kvDim], or one array for each.
   * Default x.
   */
  context?: Rows | { k: Rows; v: Rows } | undefined;
  /** The projected k and v are appended to it, and the queries attend to all of its tokens. */
  cache?: KvCache | undefined;
  /** False: nothing is projected to k and v, and the queries attend to the tokens that the cache has. Default true. */
  append?: boolean | undefined;
  /** [batch]: how many of the new tokens each sequence of the cache takes, from the first on. Default all. */
  lengths?: Int32Array | undefined;
  /**
   * Non-zero = masked, as PyTorch's masks are; in the shapes of keepMask. With both masks a query sees a key that
   * keepMask keeps and dropMask does not drop. The two become one mask of the shape to which both broadcast, at most
   * one byte for each score.
   */
  dropMask?: Mask | undefined;
  /**
   * The position of query 0 among the keys. Where q and k are projected from the same rows, the default is the position
   * of its own key: 0, or the number of tokens that the sequence had in the cache. Else the default is that of
   * `attention`: the last query stands at the last key.
   */
  queryOffset?: number | Int32Array | undefined;
  /**
   * With rotary, the positions of the rows of x, as for `rotary`. Default from 0 on, in each packed sequence anew;
   * behind the tokens of the cache.
   */
  positions?: number | Int32Array | undefined;
  /** With rotary, the positions of the rows of the context. Default from 0 on, or behind the tokens of the cache. */
  contextPositions?: number | Int32Array | undefined;
  /** Whether the attention weights are returned too: all of them, or those of chosen rows and heads. Default false. */
  weights?: All | LayerWeights<Weights, TopK, Entropy> | undefined;
}

/** The options of `forward`. Those that the layer settles are among them, for an error that says so. */
export const FORWARD_NAMES: Names<ForwardOptions & AttentionOptions> = {
  ...ATTENTION_NAMES,
  context: (value, title) => (Tensor.isTensor(value) ? value : readContext(value, title)),
  cache: 0,
  append: 0,
  lengths: 0,
  dropMask: shaped,
  positions: 0,
  contextPositions: 0,
  weights: nested(CHOICE_NAMES),
};

const readContext = nested({ k: 0, v: 0 });

/**
 * What `forward` returns. `All` is the type of `weights` where that is a boolean; where it is an object, `Weights`, `TopK`
 * and `Entropy` are the types of its options, and `All` may be undefined.
 *
 * @category Layer and linear
 */
export type ForwardResult<
  Out = Rows | undefined,
  Lse = boolean | Rows | undefined,
  All = boolean,
  Weights = Rows | undefined,
  TopK = number | undefined,
  Entropy = boolean | Rows | undefined,
> = Omit<AttentionResult<Out, Lse>, "out"> & {
  /** [batch, seqLenQ, outDim]; without an out-projection [batch, seqLenQ, numHeads, valueDim]. */
  out: Written<Out>;
} & ([All] extends [true]
    ? WeightsResult<undefined, undefined, undefined>
    : [All] extends [false | undefined]
      ? Partial<WeightsResult>
      : undefined extends All
        ? WeightsResult<Weights, TopK, Entropy>
        : Partial<WeightsResult>);

/** A checked call of `forward`. */
export interface ForwardCall extends LayerPositions {
  x: Floats;
  /** The rows from which k and v are projected; undefined where they are not. */
  kSource: Floats | undefined;
  vSource: Floats | undefined;
  batch: number;
  /** Rows of a batch entry of x. */
  rowsQ: number;
  /** Rows of a batch entry of kSource and vSource, 0 without these. */
  rowsKv: number;
  cache: KvCache | undefined;
  lengths: Int32Array | undefined;
  weights: LayerWeights | undefined;
  /** The options that `attention` and `attentionWeights` check. */
  attention: Omit<AttentionOptions, Settled | "batch" | "out" | "lse">;
}

/** The rows from which k and v are projected, and how many a batch entry has. */
interface KvRows {
  k: Floats;
  v: Floats;
  rows: number;
}

const DEFAULTS = ["scale", "causal", "window", "softcap", "alibiSlopes", "sinks"] as const;
const SETTLED = ["numHeads", "headDim", "numKvHeads", "valueDim", "layout"] as const;

/**
 * Checks the arguments of `forward`, but for those that `attention` checks, and fills in what the layer knows.
 *
 * @throws TypeError for an argument of the wrong kind, RangeError for a wrong size or value or past the capacity of the
 * cache
 */
export function checkForward(
  arena: Arena,
  xIn: unknown,
  options: ForwardOptions,
  dims: LayerDims,
  defaults: LayerDefaults,
  hasRotary: boolean,
): ForwardCall {
  for (const name of SETTLED) {
    const value = (options as Partial<Record<string, unknown>>)[name];
    if (value !== undefined) throw wrongValue(name, "nothing, since the layer settles it", value);
  }
  const cache = checkCache(arena, options, dims, hasRotary);
  const batch = checkBatch(options, cache);
  const x = checkFloats("x", xIn, arena);
  const rowsQ = checkRows("x", x.length, batch * dims.embedDim, `${perBatch(batch)}embedDim`);
  const source = options.append === false ? undefined : checkContext(arena, options.context, x, rowsQ, batch, dims);
  const rowsKv = source?.rows ?? 0;
  const lengths = checkLengths(options.lengths, cache, source && rowsKv);
  const before = cache?.lengthsIfAny;
  const title = options.context === undefined ? "x" : "context";
  const seqLenKv = cache ? longestAfter(cache, before, lengths, rowsKv, title) : rowsKv;
  const positions = checkPositions(options, hasRotary, rowsQ, rowsKv, before);

  const isSelfAttention = source !== undefined && options.context === undefined;
  const fromModel: LayerDefaults = {};
  for (const name of DEFAULTS) {
    Object.assign(fromModel, { [name]: options[name] === undefined ? defaults[name] : options[name] });
  }
  return {
    x,
    kSource: source?.k,
    vSource: source?.v,
    batch,
    rowsQ,
    rowsKv,
    cache,
    lengths,
    ...positions,
    weights: checkLayerWeights(options.weights),
    attention: {
      ...fromModel,
      queryOffset: options.queryOffset === undefined && isSelfAttention ? (before ?? 0) : options.queryOffset,
      keepMask: combineMasks(options.keepMask, options.dropMask, [batch, dims.numHeads, rowsQ, seqLenKv]),
      bias: options.bias,
      kvLengths: options.kvLengths,
      cuSeqlensQ: options.cuSeqlensQ,
      cuSeqlensKv: options.cuSeqlensKv,
    },
  };
}

/** Checks `batch` and `append` against the cache. */
function checkBatch(options: ForwardOptions, cache: KvCache | undefined): number {
  const { batch = cache?.batch ?? 1, append = true, context } = options;
  checkInteger("batch", batch, 1, MAX_BATCH);
  if (cache && batch !== cache.batch) throw wrongValue("batch", `${cache.batch} (that of the cache)`, batch);
  checkBoolean("append", append);
  if (!append && !cache) throw wrongKind("cache", "a KvCache beside append: false", undefined);
  if (!append && context !== undefined) throw wrongKind("context", "nothing beside append: false", context);
  return batch;
}

/** Checks which weights are asked for, but for the values, which `attentionWeights` checks. */
function checkLayerWeights(weights: unknown): LayerWeights | undefined {
  if (weights === undefined || typeof weights === "boolean") return weights === true ? {} : undefined;
  if (typeof weights !== "object" || weights === null) throw wrongKind("weights", "a boolean or an object", weights);
  const { rows, heads, reduce, topK, entropy, stage, weights: target, indices } = weights as LayerWeights;
  return { rows, heads, reduce, topK, entropy, stage, weights: target, indices };
}

/** Checks that the cache fits the layer, and that no option beside it says what the cache settles. */
function checkCache(arena: Arena, options: ForwardOptions, dims: LayerDims, hasRotary: boolean): KvCache | undefined {
  const { cache } = options;
  if (cache === undefined) return undefined;
  if (!KvCache.isCache(cache)) throw wrongKind("cache", "a KvCache", cache);
  if (!cache.livesIn(arena)) throw notOurs("cache", "KvCache");
  for (const name of ["numKvHeads", "headDim", "valueDim"] as const) {
    if (cache[name] !== dims[name]) throw wrongValue(`cache.${name}`, `${dims[name]} (that of the layer)`, cache[name]);
  }
  if (hasRotary && cache.rotary) throw wrongValue("cache.rotary", "nothing, since the layer rotates", cache.rotary);
  for (const name of ["kvLengths", "cuSeqlensQ", "cuSeqlensKv"] as const) {
    if (options[name] !== undefined) throw wrongKind(name, "nothing beside a cache", options[name]);
  }
  return cache;
}

/** Checks the rows from which k and v are projected: those of the context, or those of x. */
function checkContext(
  arena: Arena,
  context: unknown,
  x: Floats,
  rowsQ: number,
  batch: number,
  { embedDim, kvDim }: LayerDims,
): KvRows {
  const kvDims = kvDim.k === kvDim.v ? `${kvDim.k}` : `${kvDim.k} and ${kvDim.v}`;
  if (context === undefined) {
    if (kvDim.k === embedDim && kvDim.v === embedDim) return { k: x, v: x, rows: rowsQ };
    throw wrongKind("context", `rows of ${kvDims} floats (kvDim), since those of x have ${embedDim}`, undefined);
  }
  if (Tensor.isTensor(context) || ArrayBuffer.isView(context)) {
    if (kvDim.k !== kvDim.v) throw wrongKind("context", `{ k, v } of ${kvDims} floats a row (kvDim)`, context);
    const both = checkFloats("context", context, arena);
    return { k: both, v: both, rows: checkRows("context", both.length, batch * kvDim.k, `${perBatch(batch)}kvDim`) };
  }
  if (typeof context !== "object" || context === null) {
    throw wrongKind("context", "a Float32Array, a Tensor or { k, v }", context);
  }
  const { k: kIn, v: vIn } = context as Partial<Record<string, unknown>>;
  const k = checkFloats("context.k", kIn, arena);
  const v = checkFloats("context.v", vIn, arena);
  const rows = checkRows("context.k", k.length, batch * kvDim.k, `${perBatch(batch)}kvDim.k`);
  const length = batch * rows * kvDim.v;
  checkLength("context.v", v.length, length, `${perBatch(batch)}${rows} rows of context.k × kvDim.v`);
  return { k, v, rows };
}

/** Checks how many of the new tokens each sequence of the cache takes. */
function checkLengths(
  lengths: unknown,
  cache: KvCache | undefined,
  newTokens: number | undefined,
): Int32Array | undefined {
  if (lengths === undefined) return undefined;
  if (!cache || newTokens === undefined) throw wrongKind("lengths", "nothing without new tokens for a cache", lengths);
  return checkInt32Array("lengths", lengths, cache.batch, "batch", 0, newTokens);
}

/**
 * How many tokens the longest sequence of the cache will have.
 *
 * @param before the tokens of each sequence, [batch]; undefined where all are empty
 * @param title the argument that brings too many tokens for the capacity, if it does
 */
function longestAfter(
  { batch, capacity }: KvCache,
  before: Int32Array | undefined,
  lengths: Int32Array | undefined,
  newTokens: number,
  title: string,
): number {
  let longest = 0;
  // Where neither is given, every sequence has as many.
  for (let b = 0; b < (before || lengths ? batch : 1); b++) {
    const count = lengths?.[b] ?? newTokens;
    const left = capacity - (before?.[b] ?? 0);
    if (count > left) throw wrongValue(title, `at most ${left} more tokens (capacity ${capacity} of the cache)`, count);
    longest = Math.max(longest, capacity - left + count);
  }
  return longest;
}
