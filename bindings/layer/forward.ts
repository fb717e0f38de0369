import type { WeightsOptions } from "../attention-weights/options.ts";
import type { AttentionOptions } from "../attention/options.ts";
import {
  checkBoolean,
  checkInt32Array,
  checkInteger,
  checkObject,
  checkRows,
  wrongKind,
  wrongValue,
} from "../check.ts";
import { KvCache } from "../kv-cache/kv-cache.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, checkFloats } from "../memory/data.ts";
import { Tensor } from "../memory/tensor.ts";
import { type Mask, keepMaskOf } from "./drop-mask.ts";
import type { LayerDefaults, LayerDims } from "./options.ts";

/** What the layer settles itself. */
type Settled = "numHeads" | "headDim" | "numKvHeads" | "valueDim" | "layout";

type Rows = Float32Array | Tensor;

/** Which weights `forward` returns besides, and what of them, see `Heed.attentionWeights`. */
export type LayerWeights = Pick<
  WeightsOptions,
  "rows" | "heads" | "reduce" | "topK" | "entropy" | "stage" | "weights" | "indices"
>;

/** What `forward` takes besides x: the options of attention, and where k and v come from. */
export interface ForwardOptions extends Omit<AttentionOptions, Settled | "queryOffset"> {
  /** Default 1, or that of the cache. */
  batch?: number | undefined;
  /** Cross-attention: what k and v are projected from, [batch, seqLenKv, kvDim], or one array for each. Default x itself. */
  context?: Rows | { k: Rows; v: Rows } | undefined;
  /** The projected k and v are appended to it, and all of its tokens attended to. */
  cache?: KvCache | undefined;
  /** False: nothing is projected to k and v, and the tokens of the cache are attended to as they are. Default true. */
  append?: boolean | undefined;
  /** [batch]: how many of the new tokens each sequence of the cache takes, from the front. Default all. */
  lengths?: Int32Array | undefined;
  /** Non-zero = masked, as PyTorch's masks are; of shapes as keepMask. With both, a key is seen that the one keeps and the other does not drop. */
  dropMask?: Mask | undefined;
  /**
   * Where query 0 stands among the keys. Default the place of its own key where q and k are projected from the same rows: 0, or the
   * tokens that the sequence had in the cache; else that of attention, where the last query stands at the last key.
   */
  queryOffset?: number | Int32Array | undefined;
  /** With rotary, where the rows of x stand, as for `rotary`. Default from 0, behind the tokens of the cache, in each packed sequence anew. */
  positions?: number | Int32Array | undefined;
  /** With rotary, where the rows of the context stand. Default from 0, or behind the tokens of the cache. */
  contextPositions?: number | Int32Array | undefined;
  /** The attention weights too: all of them, or those of chosen rows and heads. Default false. */
  weights?: boolean | LayerWeights | undefined;
}

/** A checked call of forward. */
export interface Forward {
  x: Floats;
  /** What k and v are projected from; undefined where they are not. */
  kSource: Floats | undefined;
  vSource: Floats | undefined;
  batch: number;
  /** Rows of a batch entry. */
  rowsQ: number;
  rowsKv: number;
  cache: KvCache | undefined;
  lengths: Int32Array | undefined;
  positions: number | Int32Array;
  kPositions: number | Int32Array;
  weights: LayerWeights | undefined;
  /** What is left for attention to check. */
  attention: Omit<AttentionOptions, Settled | "batch" | "out" | "lse">;
}

const DEFAULTS = ["scale", "causal", "window", "softcap", "alibiSlopes", "sinks"] as const;
const SETTLED = ["numHeads", "headDim", "numKvHeads", "valueDim", "layout"] as const;

export function checkForward(
  arena: Arena,
  xIn: unknown,
  options: ForwardOptions,
  dims: LayerDims,
  defaults: LayerDefaults,
  turns: boolean,
): Forward {
  checkObject("options", options);
  for (const name of SETTLED) {
    const value = (options as Partial<Record<string, unknown>>)[name];
    if (value !== undefined) throw wrongValue(name, "nothing, since the layer settles it", value);
  }
  const cache = checkCache(arena, options, dims, turns);
  const { batch = cache?.batch ?? 1, append = true } = options;
  checkInteger("batch", batch, 1);
  if (cache && batch !== cache.batch) throw wrongValue("batch", `${cache.batch} (that of the cache)`, batch);
  checkBoolean("append", append);
  if (!append && !cache) throw wrongKind("cache", "a KvCache beside append: false", undefined);
  if (!append && options.context !== undefined) {
    throw wrongKind("context", "nothing beside append: false", options.context);
  }

  const ofBatch = batch > 1 ? "batch × " : "";
  const x = checkFloats("x", xIn, arena);
  const rowsQ = checkRows("x", x.length, batch * dims.embedDim, `${ofBatch}embedDim`);
  const source = append ? checkContext(arena, options.context, x, rowsQ, batch, dims) : undefined;
  const rowsKv = source?.rows ?? 0;
  const lengths = checkLengths(options.lengths, cache, source ? rowsKv : undefined);

  const before = cache?.lengths;
  const after = before?.map((length, b) => length + (lengths?.[b] ?? rowsKv));
  const over = cache && after ? after.findIndex((length) => length > cache.capacity) : -1;
  if (cache && over >= 0) {
    const expected = `at most ${cache.capacity - before![over]!} more tokens (capacity ${cache.capacity} of the cache)`;
    throw wrongValue(options.context === undefined ? "x" : "context", expected, after![over]! - before![over]!);
  }
  const own = source !== undefined && options.context === undefined;
  const seqLenKv = after ? Math.max(...after) : rowsKv;
  const positions = checkPositions(options, turns, rowsQ, rowsKv, own ? before : append ? undefined : after);
  const attention: Forward["attention"] = {};
  for (const name of DEFAULTS) Object.assign(attention, { [name]: options[name] ?? defaults[name] });
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
      ...attention,
      queryOffset: options.queryOffset ?? (own ? (before ?? 0) : undefined),
      keepMask: keepMaskOf(options.keepMask, options.dropMask, [batch, dims.numHeads, rowsQ, seqLenKv]),
      bias: options.bias,
      kvLengths: options.kvLengths,
      cuSeqlensQ: options.cuSeqlensQ,
      cuSeqlensKv: options.cuSeqlensKv,
    },
  };
}

/** What is asked of the weights; the values are for attentionWeights to check. */
function checkLayerWeights(weights: unknown): LayerWeights | undefined {
  if (weights === undefined || typeof weights === "boolean") return weights === true ? {} : undefined;
  if (typeof weights !== "object" || weights === null) throw wrongKind("weights", "a boolean or an object", weights);
  const { rows, heads, reduce, topK, entropy, stage, weights: to, indices } = weights as LayerWeights;
  return { rows, heads, reduce, topK, entropy, stage, weights: to, indices };
}

/** A cache that fits the layer, beside which nothing is said that it settles. */
function checkCache(arena: Arena, options: ForwardOptions, dims: LayerDims, turns: boolean): KvCache | undefined {
  const { cache } = options;
  if (cache === undefined) return undefined;
  if (!(cache instanceof KvCache)) throw wrongKind("cache", "a KvCache", cache);
  if (!cache.livesIn(arena)) throw new TypeError('"cache" expected a KvCache of this instance, got one of another');
  for (const name of ["numKvHeads", "headDim", "valueDim"] as const) {
    if (cache[name] !== dims[name]) throw wrongValue(`cache.${name}`, `${dims[name]} (that of the layer)`, cache[name]);
  }
  if (turns && cache.rotary) throw wrongValue("cache.rotary", "nothing, since the layer rotates", cache.rotary);
  for (const name of ["kvLengths", "cuSeqlensQ", "cuSeqlensKv"] as const) {
    if (options[name] !== undefined) throw wrongKind(name, "nothing beside a cache", options[name]);
  }
  return cache;
}

/** What k and v are projected from. */
function checkContext(
  arena: Arena,
  context: unknown,
  x: Floats,
  rowsQ: number,
  batch: number,
  { embedDim, kvDim }: LayerDims,
): { k: Floats; v: Floats; rows: number } {
  const kvDims = kvDim.k === kvDim.v ? `${kvDim.k}` : `${kvDim.k} and ${kvDim.v}`;
  if (context === undefined) {
    if (kvDim.k === embedDim && kvDim.v === embedDim) return { k: x, v: x, rows: rowsQ };
    throw wrongKind("context", `rows of ${kvDims} floats (kvDim), since those of x have ${embedDim}`, undefined);
  }
  const ofBatch = batch > 1 ? "batch × " : "";
  if (context instanceof Tensor || ArrayBuffer.isView(context)) {
    if (kvDim.k !== kvDim.v) throw wrongKind("context", `{ k, v } of ${kvDims} floats a row (kvDim)`, context);
    const both = checkFloats("context", context, arena);
    return { k: both, v: both, rows: checkRows("context", both.length, batch * kvDim.k, `${ofBatch}kvDim`) };
  }
  if (typeof context !== "object" || context === null) {
    throw wrongKind("context", "a Float32Array, a Tensor or { k, v }", context);
  }
  const { k: kIn, v: vIn } = context as Partial<Record<string, unknown>>;
  const k = checkFloats("context.k", kIn, arena);
  const v = checkFloats("context.v", vIn, arena);
  const rows = checkRows("context.k", k.length, batch * kvDim.k, `${ofBatch}kvDim.k`);
  const length = batch * rows * kvDim.v;
  if (v.length !== length) {
    throw wrongValue("context.v", `a length of ${length} (${ofBatch}${rows} rows of context.k × kvDim.v)`, v.length);
  }
  return { k, v, rows };
}

/** How many of the new tokens each sequence of the cache takes. */
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
 * Where the rows of q and of k stand. `known`: for each sequence of a cache the tokens before the first row of x, or, where nothing is
 * appended, all of them.
 */
function checkPositions(
  options: ForwardOptions,
  turns: boolean,
  rowsQ: number,
  rowsKv: number,
  known: Int32Array | undefined,
): { positions: number | Int32Array; kPositions: number | Int32Array } {
  const { positions, contextPositions, context, cache, append = true, cuSeqlensQ, cuSeqlensKv } = options;
  if (!turns) {
    for (const [name, value] of Object.entries({ positions, contextPositions })) {
      if (value !== undefined) throw wrongKind(name, "nothing in a layer without rotary", value);
    }
    return { positions: 0, kPositions: 0 };
  }
  if (context === undefined) {
    if (contextPositions !== undefined)
      throw wrongKind("contextPositions", "nothing without a context", contextPositions);
    const behind = known && (append ? known : known.map((length) => length - rowsQ));
    const own = positions ?? (behind ? behindAll(behind, rowsQ) : inSequences(cuSeqlensQ, rowsQ));
    return { positions: own, kPositions: own };
  }
  return {
    positions: positions ?? inSequences(cuSeqlensQ, rowsQ),
    kPositions:
      contextPositions ?? (cache ? behindAll(cache.lengths, rowsKv) : inSequences(cuSeqlensKv ?? cuSeqlensQ, rowsKv)),
  };
}

/** `rows` positions from starts[b] on, for each sequence. */
function behindAll(starts: Int32Array, rows: number): number | Int32Array {
  if (starts.every((start) => start === starts[0])) return starts[0] ?? 0;
  return Int32Array.from({ length: starts.length * rows }, (_, at) => starts[Math.floor(at / rows)]! + (at % rows));
}

/** From 0, in each packed sequence anew. */
function inSequences(starts: unknown, rows: number): number | Int32Array {
  if (!(starts instanceof Int32Array)) return 0;
  const positions = new Int32Array(rows);
  let start = 0;
  for (let s = 1, at = 0; at < rows; at++) {
    while (s < starts.length && at >= starts[s]!) start = starts[s++]!;
    positions[at] = at - start;
  }
  return positions;
}
