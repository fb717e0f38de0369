// What a coordinator asks of a place, and what it is answered: plain objects of numbers, strings and typed arrays, which
// structuredClone copies and `encode` turns into bytes.
import { checkBoolean, checkChoice, checkFinite, checkInteger, checkObject, checkTypedArray } from "../check.ts";
import { MAX_BATCH, MAX_DIM, MAX_HEADS, MAX_ROWS } from "../limits.ts";
import { type Names, nested, readOptions } from "../options.ts";
import type { Dtype } from "../kv-cache/page-layout.ts";
import type { Cut } from "./geometry.ts";

/** The sizes of the cache of a place, and which pages of the whole it has. @category Messages */
export interface ShardShape extends Cut {
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  /** Sequences, all of one length. */
  readonly batch: number;
  /** The most tokens of a sequence at this place. */
  readonly capacity: number;
  readonly dtype: Readonly<{ k: Dtype; v: Dtype }>;
}

/** What a place knows about itself. @category Messages */
export interface ShardState {
  /** Tokens of a sequence that stand here. */
  length: number;
  /** The number of the last change; each change of a cache has a number of its own. */
  version: number;
  /** The coordinator that opened the place last; of two the larger number is the later one. */
  writer: number;
  /** Tokens of the whole cache before the last change that came here. */
  before: number;
  /** Tokens of the whole cache once the last change that came here has reached every place. */
  after: number;
  /** null until the place is opened. */
  shape: ShardShape | null;
}

/** Who changes a place, and from which state to which: so a change that comes twice is made once. @category Messages */
export interface Change {
  writer: number;
  /** The version that the place has before the change. */
  from: number;
  /** The version that it has then. */
  version: number;
  /** Tokens of the whole cache, as in {@link ShardState}. */
  before: number;
  after: number;
}

/** The place takes this coordinator for its own, and this shape if it has no tokens. @category Messages */
export interface OpenRequest {
  op: "open";
  writer: number;
  shape: ShardShape;
}

/** The next tokens of the place: k [batch, tokens, numKvHeads, headDim] and v likewise. @category Messages */
export interface AppendRequest extends Change {
  op: "append";
  k: Float32Array;
  v: Float32Array;
}

/** The place keeps its first `length` tokens. @category Messages */
export interface TruncateRequest extends Change {
  op: "truncate";
  length: number;
}

/** Attention from q, [batch, seqLenQ, numHeads, headDim], over the tokens of the place. @category Messages */
export interface AttendRequest extends ScoreOptions {
  op: "attend";
  /** The version that the place must have. */
  version: number;
  q: Float32Array;
  /** The position of query 0 in the whole cache. */
  queryOffset: number;
}

/** The options of attention that a place needs to know; see `attention` of heed. @category Messages */
export interface ScoreOptions {
  numHeads: number;
  causal?: boolean | undefined;
  scale?: number | undefined;
  softcap?: number | undefined;
  window?: { left?: number | undefined; right?: number | undefined } | undefined;
  /** [numHeads] */
  alibiSlopes?: Float32Array | undefined;
}

/** What a place is asked. @category Messages */
export type ShardRequest = OpenRequest | AppendRequest | TruncateRequest | AttendRequest;

/** What it answers. @category Messages */
export type ShardAnswer =
  | {
      ok: true;
      state: ShardState;
      /** To "open": whether nobody had opened the place before. */
      isNew?: boolean;
      /** To "attend": [batch, seqLenQ, numHeads, valueDim]. */
      out?: Float32Array;
      /** To "attend": [batch, numHeads, seqLenQ]; −Infinity where a query sees no token of the place. */
      lse?: Float32Array;
    }
  | {
      ok: false;
      /** "state": the request is for another writer or version than that of `state`; "error": it was refused. */
      reason: "state" | "error";
      error: { name: string; message: string };
      state: ShardState | null;
    };

const SHAPE_NAMES: Names<ShardShape> = {
  ...({ numKvHeads: 0, headDim: 0, valueDim: 0, batch: 0, capacity: 0 } as const),
  ...({ place: 0, places: 0, pageTokens: 0 } as const),
  dtype: nested({ k: 0, v: 0 }),
};
const CHANGE_NAMES = { op: 0, writer: 0, from: 0, version: 0, before: 0, after: 0 } as const;
const NAMES = {
  open: { op: 0, writer: 0, shape: nested(SHAPE_NAMES) },
  append: { ...CHANGE_NAMES, k: 0, v: 0 },
  truncate: { ...CHANGE_NAMES, length: 0 },
  attend: {
    ...({ op: 0, version: 0, q: 0, queryOffset: 0 } as const),
    ...({ numHeads: 0, causal: 0, scale: 0, softcap: 0, alibiSlopes: 0 } as const),
    window: nested({ left: 0, right: 0 }),
  },
} as const;
const OPS = ["open", "append", "truncate", "attend"] as const;
const DTYPES = ["f32", "f16", "int8"] as const;

/**
 * A request of any origin, checked but for the lengths of its arrays.
 *
 * @throws TypeError, RangeError
 */
export function readRequest(given: unknown): ShardRequest {
  const op = checkChoice("op", (given as Partial<ShardRequest> | null | undefined)?.op, OPS);
  const request = readOptions<ShardRequest>(`the request "${op}"`, given, NAMES[op], "request");
  switch (request.op) {
    case "open":
      count("writer", request.writer);
      request.shape = checkShape(request.shape);
      break;
    case "append":
      checkChange(request);
      request.k = floats("k", request.k);
      request.v = floats("v", request.v);
      break;
    case "truncate":
      checkChange(request);
      count("length", request.length);
      break;
    case "attend":
      count("version", request.version);
      request.q = floats("q", request.q);
      checkInteger("queryOffset", request.queryOffset, -MAX_ROWS, MAX_ROWS);
      checkScoreOptions(request);
  }
  return request;
}

/** Checks the options of attention beside q, and makes views of our own of their arrays. */
export function checkScoreOptions(options: ScoreOptions): void {
  const { numHeads, causal, scale, softcap, window, alibiSlopes } = options;
  checkInteger("numHeads", numHeads, 1, MAX_HEADS);
  if (causal !== undefined) checkBoolean("causal", causal);
  if (scale !== undefined) checkFinite("scale", scale);
  if (softcap !== undefined) checkFinite("softcap", softcap, 0);
  if (window !== undefined) {
    checkObject("window", window);
    for (const side of ["left", "right"] as const) {
      const keys = window[side];
      // JSON has no Infinity.
      if (keys === Infinity) window[side] = undefined;
      else if (keys !== undefined) checkInteger(`window.${side}`, keys, 0);
    }
  }
  if (alibiSlopes !== undefined) options.alibiSlopes = floats("alibiSlopes", alibiSlopes);
}

/** @throws TypeError, RangeError */
export function checkShape(shape: unknown): ShardShape {
  const given = readOptions<ShardShape>("shape", shape, SHAPE_NAMES, "shape");
  const places = checkInteger("places", given.places, 1, MAX_ROWS);
  const dtype = readOptions<ShardShape["dtype"]>("dtype", given.dtype, { k: 0, v: 0 }, "dtype");
  return {
    numKvHeads: checkInteger("numKvHeads", given.numKvHeads, 1, MAX_HEADS),
    headDim: checkInteger("headDim", given.headDim, 1, MAX_DIM),
    valueDim: checkInteger("valueDim", given.valueDim, 1, MAX_DIM),
    batch: checkInteger("batch", given.batch, 1, MAX_BATCH),
    capacity: checkInteger("capacity", given.capacity, 0, MAX_ROWS),
    place: checkInteger("place", given.place, 0, places - 1),
    places,
    pageTokens: checkInteger("pageTokens", given.pageTokens, 1, MAX_ROWS),
    dtype: { k: checkChoice("dtype.k", dtype.k, DTYPES), v: checkChoice("dtype.v", dtype.v, DTYPES) },
  };
}

/** @throws TypeError, RangeError */
export function checkState(given: unknown): ShardState {
  const names = { length: 0, version: 0, writer: 0, before: 0, after: 0, shape: 0 } as const;
  const state = readOptions<ShardState>("state", given, names, "state");
  return {
    length: count("length", state.length),
    version: count("version", state.version),
    writer: count("writer", state.writer),
    before: count("before", state.before),
    after: count("after", state.after),
    shape: state.shape === null ? null : checkShape(state.shape),
  };
}

function checkChange(change: Change): void {
  for (const name of ["writer", "from", "version", "before", "after"] as const) count(name, change[name]);
}

const count = (title: string, value: unknown): number => checkInteger(title, value, 0);

/** A view of our own of floats. */
export function floats(title: string, value: unknown): Float32Array {
  return checkTypedArray(title, value, "Float32Array", "a Float32Array");
}
