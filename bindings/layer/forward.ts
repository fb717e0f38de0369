import { type AttentionOptions, PROBLEM_NAMES } from "../attention/options.ts";
import {
  checkAbsent,
  checkBoolean,
  checkInteger,
  checkLength,
  checkRows,
  checkTypedArray,
  isObject,
  isTypedArray,
  notOurs,
  perBatch,
  wrongKind,
  wrongValue,
} from "../check.ts";
import { KvCache } from "../kv-cache/kv-cache.ts";
import { ROW_SIZES, checkSettled, oneOrEach } from "../kv-cache/options.ts";
import { MAX_BATCH } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, Halves, checkAnyFloats, isRows } from "../memory/data.ts";
import { record } from "../options.ts";
import { combineMasks } from "./drop-mask.ts";
import type { ForwardOptions, LayerWeights } from "./forward-options.ts";
import type { PackedLinear } from "./packed-linear.ts";
import { type LayerDefaults, type LayerDims, type LayerRotary, checkSwitch } from "./options.ts";
import { type LayerPositions, checkPositions } from "./positions.ts";

/** What a call needs to know of the layer. */
export interface LayerParts {
  readonly dims: LayerDims;
  readonly defaults: LayerDefaults;
  readonly rotary: LayerRotary | undefined;
  /** The projections q, k, v and, where there is one, out. */
  readonly packed: readonly PackedLinear[];
}

/** A checked call of `forward`. */
export interface ForwardCall extends LayerPositions {
  readonly layer: LayerParts;
  /** Whether the call says positions itself, so that the cache has to know them. */
  readonly arePositionsGiven: boolean;
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
  /** The options that `attention` and `attentionWeights` check, but for their outputs. */
  attention: AttentionOptions;
}

/** The rows from which k and v are projected, and how many a batch entry has. */
interface KvRows {
  k: Floats;
  v: Floats;
  rows: number;
}

const SETTLED = ["numHeads", "headDim", "numKvHeads", "valueDim", "layout"] as const;

/**
 * Checks the arguments of `forward`, but for those that `attention` checks, and fills in what the layer knows.
 *
 * @throws TypeError for an argument of the wrong kind, RangeError for a wrong size or value or past the capacity of the
 * cache
 */
export function checkForward(arena: Arena, xIn: unknown, options: ForwardOptions, layer: LayerParts): ForwardCall {
  const { dims, defaults } = layer;
  const hasRotary = layer.rotary !== undefined;
  checkAbsent(options, SETTLED, "nothing, since the layer settles it", wrongValue);
  const cache = checkCache(arena, options, dims, hasRotary);
  const { batch = cache?.batch ?? 1, append = true, context } = options;
  checkInteger("batch", batch, 1, MAX_BATCH);
  if (cache) checkSettled(options, cache);
  checkBoolean("append", append);
  if (!append && !cache) throw wrongKind("cache", "a KvCache beside append: false", undefined);
  if (!append) checkAbsent(options, ["context"], "nothing beside append: false");
  const x = checkAnyFloats("x", xIn, arena);
  const rowsQ = checkRows("x", x.length, batch * dims.embedDim, `${perBatch(batch)}embedDim`);
  const source = append ? checkContext(arena, context, x, rowsQ, batch, dims) : undefined;
  const rowsKv = source?.rows ?? 0;
  const { lengths } = options;
  if (!(cache && append)) checkAbsent(options, ["lengths"], "nothing without new tokens for a cache");
  const seqLenKv = cache?.longestAfter(context === undefined ? "x" : "context", rowsKv, lengths) ?? rowsKv;
  const before = cache?.lengthsIfAny;
  const keepMask = combineMasks(options.keepMask, options.dropMask, [batch, dims.numHeads, rowsQ, seqLenKv]);
  const isSelfAttention = append && context === undefined;
  const queryOffset = options.queryOffset === undefined && isSelfAttention ? (before ?? 0) : options.queryOffset;
  const given = options as Readonly<Record<string, unknown>>;
  const attention: Record<string, unknown> = record({});
  for (const name in PROBLEM_NAMES) {
    const value = given[name] === undefined ? defaults[name as keyof LayerDefaults] : given[name];
    if (value !== undefined) attention[name] = value;
  }
  Object.assign(attention, { batch, keepMask, queryOffset });
  return {
    layer,
    x,
    kSource: source?.k,
    vSource: source?.v,
    batch,
    rowsQ,
    rowsKv,
    cache,
    lengths,
    ...checkPositions(
      options,
      layer.rotary,
      rowsQ,
      rowsKv,
      cache && ((shift, rows) => cache.positionsFrom(shift, rows)),
    ),
    arePositionsGiven: options.positions !== undefined || options.contextPositions !== undefined,
    weights: checkSwitch("weights", options.weights),
    attention: attention as unknown as AttentionOptions,
  };
}

/** The same call over copies of all arrays that it reads after the first step: the caller may change his. */
export function withCopies(call: ForwardCall): ForwardCall {
  const { attention, lengths, positions, kPositions } = call;
  const copies = record(attention) as unknown as Record<string, unknown>;
  for (const name in copies) {
    const value = copies[name];
    if (value instanceof Halves) copies[name] = new Halves(withCopy(name, value));
    else if (isTypedArray("Float16Array", value)) copies[name] = new Halves(withCopy(name, { data: value }));
    else
      copies[name] = isObject(value) && !isRows(value) && "data" in value ? withCopy(name, value) : copyOf(name, value);
  }
  return {
    ...call,
    attention: copies as unknown as AttentionOptions,
    lengths: copyOf("lengths", lengths),
    positions: copyOf("positions", positions),
    kPositions: copyOf("contextPositions", kPositions),
  };
}

/** { data, shape, dtype } with a copy of the data. */
function withCopy(title: string, { data, shape, dtype }: { data?: unknown; shape?: unknown; dtype?: unknown }): object {
  const isHalf = isTypedArray("Float16Array", data);
  return { data: copyOf(title, data), shape, dtype: isHalf ? (dtype ?? "f16") : dtype };
}

/** A copy of a typed array that `attention` takes, a Uint16Array of a Float16Array; any other value as it is. */
function copyOf<Value>(title: string, value: Value): Value {
  for (const kind of ["Float32Array", "Int32Array", "Uint8Array", "Uint16Array", "Float16Array"] as const) {
    if (isTypedArray(kind, value)) return checkTypedArray(title, value, kind, "an array").slice() as Value;
  }
  return value;
}

/** Checks that the cache fits the layer, and that no option beside it says what the cache settles. */
function checkCache(arena: Arena, options: ForwardOptions, dims: LayerDims, hasRotary: boolean): KvCache | undefined {
  const { cache } = options;
  if (cache === undefined) return undefined;
  if (!KvCache.isCache(cache)) throw wrongKind("cache", "a KvCache", cache);
  if (!cache.livesIn(arena)) throw notOurs("cache", "KvCache");
  for (const name of ROW_SIZES) {
    if (cache[name] !== dims[name]) throw wrongValue(`cache.${name}`, `${dims[name]} (that of the layer)`, cache[name]);
  }
  if (hasRotary && cache.rotary) throw wrongValue("cache.rotary", "nothing, since the layer rotates", cache.rotary);
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
  const { k, v } = oneOrEach("context", context, (title, value) => checkAnyFloats(title, value, arena));
  if (k === v && kvDim.k !== kvDim.v) throw wrongKind("context", `{ k, v } of ${kvDims} floats a row (kvDim)`, context);
  const rows = checkRows(k === v ? "context" : "context.k", k.length, batch * kvDim.k, `${perBatch(batch)}kvDim.k`);
  const length = batch * rows * kvDim.v;
  checkLength("context.v", v.length, length, `${perBatch(batch)}${rows} rows of context.k × kvDim.v`);
  return { k, v, rows };
}
