import type { Arena } from "../memory/arena.ts";
import {
  type Bytes,
  type Floats,
  type ScoreStrides,
  checkBoolean,
  checkBroadcast,
  checkBytes,
  checkChoice,
  checkFinite,
  checkFloats,
  checkFloatsOf,
  checkInteger,
  checkObject,
  checkRows,
  wrongValue,
} from "../check.ts";
import { type Sequence, checkSequences } from "./sequences.ts";
import type { Tensor } from "../memory/tensor.ts";

/** `"blhd"` = [batch, seqLen, heads, dim], which is also the memory of [batch, seqLen, heads·dim]; `"bhld"` = [batch, heads, seqLen, dim]. */
export type Layout = "blhd" | "bhld";

/** What `attention` takes besides q, k and v. Every option combines with every other. */
export interface AttentionOptions {
  /** Query heads. */
  numHeads: number;
  /** Floats in a row of q and of k. */
  headDim: number;
  /** KV heads; divides numHeads. Query head h reads KV head floor(h / (numHeads / numKvHeads)). Default numHeads. */
  numKvHeads?: number | undefined;
  /** Floats in a row of v and of out. Default headDim. */
  valueDim?: number | undefined;
  /** Default 1; with packed sequences (cuSeqlensQ) it stays 1. */
  batch?: number | undefined;
  /** Of q, k, v and out. Default "blhd". Packed sequences: [total, heads, dim] or [heads, total, dim]. */
  layout?: Layout | undefined;
  /** Factor of q·k. Default 1/√headDim. */
  scale?: number | undefined;
  /** Query i sees key j iff j ≤ i + queryOffset. Default false. */
  causal?: boolean | undefined;
  /**
   * Where query 0 stands among the keys, one number or one a sequence, −2³⁰ … 2³⁰. Default (valid keys) − seqLenQ: the last query
   * stands at the last key. 0 aligns the first query with the first key.
   */
  queryOffset?: number | Int32Array | undefined;
  /** Keys kept to the left and to the right of a query's own position i + queryOffset, inclusive. Default unlimited. */
  window?: { left?: number | undefined; right?: number | undefined } | undefined;
  /** Valid keys of each sequence, at the front; the rest are never read. Default all. */
  kvLengths?: Int32Array | undefined;
  /** Non-zero = attend. Broadcasts, right-aligned, to [batch, numHeads, seqLenQ, seqLenKv] ([1, numHeads, totalQ, totalKv] if packed). */
  keepMask?: { data: Uint8Array; shape: readonly number[] } | undefined;
  /** Added to the score, broadcast like keepMask; −Infinity masks. */
  bias?: { data: Float32Array | Tensor; shape: readonly number[] } | undefined;
  /** [numHeads] or [batch·numHeads]: score −= slope·|i + queryOffset − j|. */
  alibiSlopes?: Float32Array | Tensor | undefined;
  /** c > 0: score = c·tanh(score/c). Default off. */
  softcap?: number | undefined;
  /** Shape [numHeads]: one more logit for each query head, in the denominator only; not scaled, capped or masked. */
  sinks?: Float32Array | Tensor | undefined;
  /** Shape [sequences + 1]: sequence s of q is the rows cuSeqlensQ[s] … cuSeqlensQ[s + 1]. No attention across a boundary. */
  cuSeqlensQ?: Int32Array | undefined;
  /** The same for k and v. Default cuSeqlensQ. */
  cuSeqlensKv?: Int32Array | undefined;
  /** Where to write, [batch, seqLenQ, numHeads, valueDim] in `layout`. Default a fresh Float32Array. */
  out?: Float32Array | Tensor | undefined;
  /** Where to write the logarithm of each softmax denominator, [batch, numHeads, seqLenQ] ([numHeads, totalQ] if packed); true = a fresh array. */
  lse?: boolean | Float32Array | Tensor | undefined;
}

/** Bytes from one batch entry, row and head of a tensor to the next. */
export interface Strides {
  batch: number;
  row: number;
  head: number;
}

/** A keepMask or bias with the strides that broadcast it. */
export interface Broadcast<Data> extends ScoreStrides {
  data: Data;
}

/** A checked call of attention: every default filled in, every length settled. */
export interface Problem {
  q: Floats;
  k: Floats;
  v: Floats;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  valueDim: number;
  layout: Layout;
  scale: number;
  /** Keys seen to the left and to the right of a position; causal is right = 0. */
  left: number;
  right: number;
  softcap: number;
  keepMask: Broadcast<Bytes> | undefined;
  bias: Broadcast<Floats> | undefined;
  alibiSlopes: Floats | undefined;
  sinks: Floats | undefined;
  /** Rows of q and of k in one batch entry. */
  rowsQ: number;
  rowsKv: number;
  sequences: Sequence[];
  /** Lengths of out and lse. */
  outLength: number;
  lseLength: number;
}

export const UNLIMITED = 2 ** 31 - 1;

/** What is known of K and V: the arrays, or nothing where they stand in a cache, and the rows of a batch entry. */
export interface Keys {
  k: Floats;
  v: Floats;
  rowsKv: number;
}

export type Dims = Pick<Problem, "numKvHeads" | "headDim" | "valueDim"> & { batch: number };

/** Checks k and v as arguments of a call. */
export function checkKeys(arena: Arena, kIn: unknown, vIn: unknown, dims: Dims): Keys {
  const { batch, numKvHeads, headDim, valueDim } = dims;
  const ofBatch = batch > 1 ? "batch × " : "";
  const k = checkFloats("k", kIn, arena);
  const v = checkFloats("v", vIn, arena);
  const rowsKv = checkRows("k", k.length, batch * numKvHeads * headDim, `${ofBatch}numKvHeads × headDim`);
  const vLength = batch * rowsKv * numKvHeads * valueDim;
  if (v.length !== vLength) {
    throw wrongValue("v", `a length of ${vLength} (${ofBatch}${rowsKv} rows of k × numKvHeads × valueDim)`, v.length);
  }
  return { k, v, rowsKv };
}

/** Checks q, what `keysOf` says of k and v, and every option that says what is computed. */
export function checkProblem(
  arena: Arena,
  qIn: unknown,
  options: AttentionOptions,
  keysOf: (dims: Dims) => Keys,
): Problem {
  checkObject("options", options);
  const numHeads = checkInteger("numHeads", options.numHeads, 1);
  const headDim = checkInteger("headDim", options.headDim, 1);
  const { numKvHeads = numHeads, valueDim = headDim, batch = 1, layout = "blhd" } = options;
  checkInteger("numKvHeads", numKvHeads, 1);
  if (numHeads % numKvHeads !== 0) throw wrongValue("numKvHeads", `a divisor of ${numHeads} (numHeads)`, numKvHeads);
  checkInteger("valueDim", valueDim, 1);
  checkInteger("batch", batch, 1);
  checkChoice("layout", layout, ["blhd", "bhld"]);

  const q = checkFloats("q", qIn, arena);
  const ofBatch = batch > 1 ? "batch × " : "";
  const rowsQ = checkRows("q", q.length, batch * numHeads * headDim, `${ofBatch}numHeads × headDim`);
  const { k, v, rowsKv } = keysOf({ batch, numKvHeads, headDim, valueDim });

  const sequences = checkSequences(options, batch, rowsQ, rowsKv);
  const { left, right } = checkWindow(options);
  const target = [batch, numHeads, rowsQ, rowsKv];
  const { scale, softcap, keepMask, bias, alibiSlopes, sinks } = options;
  return {
    q,
    k,
    v,
    numHeads,
    numKvHeads,
    headDim,
    valueDim,
    layout,
    scale: scale === undefined ? 1 / Math.sqrt(headDim) : checkFinite("scale", scale),
    left,
    right,
    softcap: softcap === undefined ? 0 : checkFinite("softcap", softcap, 0),
    keepMask: keepMask === undefined ? undefined : checkOverScores("keepMask", keepMask, checkBytes, 1, target, arena),
    bias: bias === undefined ? undefined : checkOverScores("bias", bias, checkFloats, 4, target, arena),
    alibiSlopes: alibiSlopes === undefined ? undefined : checkSlopes(alibiSlopes, arena, numHeads, sequences.length),
    sinks: sinks === undefined ? undefined : checkFloatsOf("sinks", sinks, arena, numHeads, "numHeads"),
    rowsQ,
    rowsKv,
    sequences,
    outLength: batch * rowsQ * numHeads * valueDim,
    lseLength: batch * rowsQ * numHeads,
  };
}

function checkWindow(options: AttentionOptions): { left: number; right: number } {
  const { window } = options;
  const causal = options.causal === undefined ? false : checkBoolean("causal", options.causal);
  let left = UNLIMITED;
  let right = UNLIMITED;
  if (window !== undefined) {
    checkObject("window", window);
    left = checkReach("window.left", window.left);
    right = checkReach("window.right", window.right);
  }
  return { left, right: causal ? 0 : right };
}

/** Keys to one side: an integer, or Infinity or undefined for all of them. */
function checkReach(title: string, value: number | undefined): number {
  if (value === undefined || value === Infinity) return UNLIMITED;
  return Math.min(checkInteger(title, value, 0), UNLIMITED);
}

const SCORES = "[batch, numHeads, seqLenQ, seqLenKv]";

/** A keepMask or bias of elements that `checkData` knows. */
function checkOverScores<Data extends Bytes | Floats>(
  title: string,
  value: { data: unknown; shape: unknown },
  checkData: (title: string, value: unknown, arena: Arena) => Data,
  elementBytes: number,
  target: readonly number[],
  arena: Arena,
): Broadcast<Data> {
  checkObject(title, value);
  const data = checkData(`${title}.data`, value.data, arena);
  return { data, ...checkBroadcast(title, value.shape, data.length, target, SCORES, elementBytes) };
}

/** One slope for each head, or for each head of each sequence. */
function checkSlopes(value: unknown, arena: Arena, numHeads: number, sequences: number): Floats {
  const slopes = checkFloats("alibiSlopes", value, arena);
  if (slopes.length !== numHeads && slopes.length !== sequences * numHeads) {
    const expected = `a length of ${numHeads} (numHeads) or ${sequences * numHeads} (batch × numHeads)`;
    throw wrongValue("alibiSlopes", expected, slopes.length);
  }
  return slopes;
}

/** Strides of a tensor of `rows` rows a batch entry, `heads` heads and `dim` floats a row. */
export function stridesOf(layout: Layout, rows: number, heads: number, dim: number): Strides {
  const batch = rows * heads * dim * 4;
  return layout === "blhd"
    ? { batch, row: heads * dim * 4, head: dim * 4 }
    : { batch, row: dim * 4, head: rows * dim * 4 };
}

/** The most query rows that share a KV head in one sequence. */
export function rowsOf({ sequences, numHeads, numKvHeads }: Problem): number {
  return sequences.reduce((most, { seqLenQ }) => Math.max(most, seqLenQ), 0) * (numHeads / numKvHeads);
}

/** The keys that some row of a sequence sees by position: [first, end). */
export function seenKeys({ left, right }: Problem, { queryOffset, seqLenQ, seqLenKv }: Sequence): [number, number] {
  const first = Math.max(0, queryOffset - left);
  const end = Math.min(seqLenKv, queryOffset + seqLenQ + right);
  return seqLenQ > 0 && first < end ? [first, end] : [0, 0];
}
