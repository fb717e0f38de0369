import type { AttentionOptions } from "../attention/options.ts";
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
import { type Floats, checkFloats } from "../memory/data.ts";
import { Tensor } from "../memory/tensor.ts";
import { combineMasks } from "./drop-mask.ts";
import type { ForwardOptions, LayerWeights, Settled } from "./forward-options.ts";
import type { LayerDefaults, LayerDims } from "./options.ts";
import { type LayerPositions, checkPositions } from "./positions.ts";

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
