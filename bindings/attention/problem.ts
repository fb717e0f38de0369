import { checkBoolean, checkChoice, checkFinite, checkInteger, checkObject, checkRows, wrongValue } from "../check.ts";
import { UNLIMITED } from "../engine/abi.ts";
import type { Arena } from "../memory/arena.ts";
import { type Bytes, type Floats, checkBytes, checkFloats, checkFloatsOf } from "../memory/data.ts";
import type { Layout } from "../memory/layout.ts";
import { type ScoreStrides, checkBroadcast } from "./broadcast.ts";
import type { AttentionOptions } from "./options.ts";
import { type Sequence, checkSequences } from "./sequences.ts";

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
