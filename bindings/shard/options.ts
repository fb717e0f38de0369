import { checkInteger, isObject, isTypedArray } from "../check.ts";
import type { KvCacheOptions } from "../kv-cache/options.ts";
import { MAX_ROWS } from "../limits.ts";
import { type Names, nested } from "../options.ts";
import type { RotaryForm } from "../rotary/options.ts";
import { type Cut, localLength } from "./geometry.ts";
import { type ScoreOptions, type ShardShape, checkShape } from "./messages.ts";
import type { Patience } from "./place.ts";

/** The sizes of a cache that is cut over places, and how its coordinator goes about it. @category Sharded cache */
export interface ShardedCacheOptions extends Omit<KvCacheOptions, "window" | "firstPosition"> {
  /** Tokens of a page, which stand at one place together. Default 128. */
  pageTokens?: number | undefined;
  /** How often a call that failed is made again. Default 3. */
  retries?: number | undefined;
  /** Milliseconds before a call is made again; the pause doubles each time. Default 50. */
  retryMs?: number | undefined;
  /** About the most bytes of rows in a request or an answer: what is larger goes in several. Default 8 MiB. */
  requestBytes?: number | undefined;
}

export const SHARDED_NAMES: Names<ShardedCacheOptions> = {
  ...({ numKvHeads: 0, headDim: 0, valueDim: 0, capacity: 0, batch: 0, rotary: 0 } as const),
  ...({ pageTokens: 0, retries: 0, retryMs: 0, requestBytes: 0 } as const),
  dtype: nested({ k: 0, v: 0 }),
};

/** What `attention` takes besides q; see `AttentionOptions` of heed. @category Sharded cache */
export interface ShardedAttentionOptions extends ScoreOptions {
  /** Query heads. */
  numHeads: number;
  /** A query sees no token after its own position. Default false. */
  causal?: boolean | undefined;
  /** The position of query 0. Default length − seqLenQ: the last query stands at the last token. */
  queryOffset?: number | undefined;
  /** Factor of q·k. Default 1/√headDim. */
  scale?: number | undefined;
  /** c > 0: score = c·tanh(score/c). Default off. */
  softcap?: number | undefined;
  /** How many tokens to each side of its own position a query sees. Default unlimited. */
  window?: { left?: number | undefined; right?: number | undefined } | undefined;
  /** [numHeads]: score −= slope·distance. */
  alibiSlopes?: Float32Array | undefined;
  /** [numHeads]: one more logit for each query head, in the denominator only. */
  sinks?: Float32Array | undefined;
}

export const ATTENTION_NAMES: Names<ShardedAttentionOptions> = {
  ...({ numHeads: 0, causal: 0, queryOffset: 0, scale: 0, softcap: 0, alibiSlopes: 0, sinks: 0 } as const),
  window: nested({ left: 0, right: 0 }),
};

/** Checked options. */
export interface Settings extends Patience {
  /** That of place 0, with the capacity of the whole. */
  shape: ShardShape;
  requestBytes: number;
  rotary: RotaryForm | undefined;
}

/** @throws TypeError, RangeError */
export function checkSettings(options: ShardedCacheOptions, places: number): Settings {
  const { numKvHeads, headDim, valueDim = headDim, capacity, batch = 1, dtype = "f32", pageTokens = 128 } = options;
  const { retries = 3, retryMs = 50, requestBytes = 2 ** 23, rotary } = options;
  const both = isObject(dtype) ? dtype : { k: dtype, v: dtype };
  const sizes = { numKvHeads, headDim, valueDim, capacity, batch, pageTokens, dtype: both };
  return {
    shape: checkShape({ ...sizes, place: 0, places }),
    retries: checkInteger("retries", retries, 0, 30),
    retryMs: checkInteger("retryMs", retryMs, 0),
    requestBytes: checkInteger("requestBytes", requestBytes, 1),
    rotary: rotary && ownForm(rotary),
  };
}

/** A form of which nothing of the caller's changes the arrays later; `rotary` of heed checks it. */
function ownForm(form: RotaryForm): RotaryForm {
  return Object.fromEntries(Object.entries(form).map(([name, value]) => [name, own(value)]));
}

/** A copy of an array of floats, or of { data, dtype }; any other value as it is. */
function own(value: unknown): unknown {
  if (FLOAT_ARRAYS.some((kind) => isTypedArray(kind, value))) return (value as Float32Array).slice();
  if (!isObject(value) || ArrayBuffer.isView(value) || !Object.hasOwn(value, "dtype")) return value;
  const { data, dtype } = value as { data?: unknown; dtype?: unknown };
  return { data: own(data), dtype };
}

const FLOAT_ARRAYS = ["Float32Array", "Float64Array", "Float16Array", "Uint16Array"];

/** The shape of a place. */
export function shapeOf(whole: ShardShape, place: number): ShardShape {
  const cut: Cut = { place, places: whole.places, pageTokens: whole.pageTokens };
  return { ...whole, ...cut, capacity: Math.min(MAX_ROWS, localLength(cut, whole.capacity)) };
}
