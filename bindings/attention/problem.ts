import {
  checkBoolean,
  checkChoice,
  checkFinite,
  checkInteger,
  checkLength,
  checkObject,
  checkRows,
  perBatch,
  wrongValue,
} from "../check.ts";
import { UNLIMITED } from "../engine/abi.ts";
import { MAX_DIM, MAX_ROWS } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";
import { type Bytes, type Floats, checkAnyFloats, checkBytes, checkFloatsOf } from "../memory/data.ts";
import { type Arrangement, checkArrangement } from "../memory/layout.ts";
import { type ScoreStrides, checkBroadcast } from "./broadcast.ts";
import type { AttentionOptions } from "./options.ts";
import { type Sequence, checkSequences } from "./sequences.ts";

/** A keepMask or bias with the strides that broadcast it. */
export interface Broadcast<Data> extends ScoreStrides {
  readonly data: Data;
}

/** What the head counts and dims of a call say of the shapes of q, k and v. */
export interface Dims {
  readonly batch: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
}

/** q, checked, with the options that say what shape it has. */
export interface Queries extends Dims, Arrangement {
  readonly q: Floats;
  /** Rows of q in one batch entry: seqLenQ, or totalQ if packed. */
  readonly rowsQ: number;
}

/** k and v, checked. */
export interface KeysAndValues {
  readonly k: Floats;
  readonly v: Floats;
  /** Rows of k, and of v, in one batch entry: seqLenKv, or totalKv if packed. */
  readonly rowsKv: number;
}

/** A checked call: every default is filled in, every length is settled. It never changes. */
export interface Problem extends Queries {
  readonly rowsKv: number;
  readonly sequences: readonly Sequence[];
  readonly scale: number;
  /** Keys that a query sees to the left and to the right of its position, at most UNLIMITED; causal is right = 0. */
  readonly left: number;
  readonly right: number;
  /** 0 = off. */
  readonly softcap: number;
  readonly keepMask: Broadcast<Bytes> | undefined;
  readonly bias: Broadcast<Floats> | undefined;
  readonly alibiSlopes: Floats | undefined;
  readonly sinks: Floats | undefined;
  readonly reproducible: boolean;
  /** Products in integers of 13 bits. */
  readonly half: boolean;
  /** Floats of out and of lse. */
  readonly outLength: number;
  readonly lseLength: number;
}

const PRECISIONS = ["full", "half"] as const;

/** What the length of lse is made of. */
export const LSE_SHAPE = "batch × numHeads × seqLenQ";

/** Checks q, and the options that say what shape it has. */
export function checkQueries(arena: Arena, qIn: unknown, options: AttentionOptions): Queries {
  const { numHeads, batch, layout } = checkArrangement(options);
  const { headDim, numKvHeads = numHeads, valueDim = headDim } = options;
  checkInteger("headDim", headDim, 1, MAX_DIM);
  checkInteger("numKvHeads", numKvHeads, 1);
  if (numHeads % numKvHeads !== 0) throw wrongValue("numKvHeads", `a divisor of ${numHeads} (numHeads)`, numKvHeads);
  checkInteger("valueDim", valueDim, 1, MAX_DIM);

  const q = checkAnyFloats("q", qIn, arena);
  const what = `${perBatch(batch)}numHeads × headDim`;
  const rowsQ = checkRows("q", q.length, batch * numHeads * headDim, what, MAX_ROWS / (numHeads / numKvHeads));
  return { q, batch, numHeads, numKvHeads, headDim, valueDim, layout, rowsQ };
}

/** Checks k: [batch, rowsKv, numKvHeads, headDim]. */
export function checkKeys(arena: Arena, kIn: unknown, dims: Dims): { k: Floats; rowsKv: number } {
  const { batch, numKvHeads, headDim } = dims;
  const k = checkAnyFloats("k", kIn, arena);
  const what = `${perBatch(batch)}numKvHeads × headDim`;
  const rowsKv = checkRows("k", k.length, batch * numKvHeads * headDim, what, MAX_ROWS);
  return { k, rowsKv };
}

/** Checks k, and v: [batch, rowsKv, numKvHeads, valueDim]. */
export function checkKeysAndValues(arena: Arena, kIn: unknown, vIn: unknown, dims: Dims): KeysAndValues {
  const { batch, numKvHeads, valueDim } = dims;
  const { k, rowsKv } = checkKeys(arena, kIn, dims);
  const v = checkAnyFloats("v", vIn, arena);
  const vLength = batch * rowsKv * numKvHeads * valueDim;
  checkLength("v", v.length, vLength, `${perBatch(batch)}${rowsKv} rows of k × numKvHeads × valueDim`);
  return { k, v, rowsKv };
}

/**
 * Checks every other option that says what is computed: of `queries` over `rowsKv` keys a batch entry, none of which is
 * seen further than `reach` keys to the left of a position.
 */
export function checkProblem(
  arena: Arena,
  options: AttentionOptions,
  queries: Queries,
  rowsKv: number,
  reach: number = UNLIMITED,
): Problem {
  const { q, batch, numHeads, numKvHeads, headDim, valueDim, layout, rowsQ } = queries;
  const { sequences, count } = checkSequences(options, batch, rowsQ, rowsKv);
  const { left, right } = checkWindow(options);
  const target = [batch, numHeads, rowsQ, rowsKv];
  const { scale = 1 / Math.sqrt(headDim), softcap, keepMask, bias, alibiSlopes, sinks, reproducible = false } = options;
  const { precision = "full" } = options;
  return {
    // Written out: V8 takes longer to spread an object of this size than a small call takes for all its checks.
    q,
    batch,
    numHeads,
    numKvHeads,
    headDim,
    valueDim,
    layout,
    rowsQ,
    rowsKv,
    sequences,
    scale: checkFinite("scale", scale),
    left: Math.min(left, reach),
    right,
    softcap: softcap === undefined ? 0 : checkFinite("softcap", softcap, 0),
    keepMask: keepMask === undefined ? undefined : checkOverScores("keepMask", keepMask, checkBytes, 1, target, arena),
    bias: bias === undefined ? undefined : checkOverScores("bias", bias, checkAnyFloats, 4, target, arena),
    alibiSlopes: alibiSlopes === undefined ? undefined : checkSlopes(alibiSlopes, arena, numHeads, count),
    sinks: sinks === undefined ? undefined : checkFloatsOf("sinks", sinks, arena, numHeads, "numHeads", checkAnyFloats),
    reproducible: checkBoolean("reproducible", reproducible),
    half: checkChoice("precision", precision, PRECISIONS) === "half",
    outLength: batch * rowsQ * numHeads * valueDim,
    lseLength: batch * rowsQ * numHeads,
  };
}

/** The window of a call; causal is a window without keys to the right. */
function checkWindow(options: AttentionOptions): { left: number; right: number } {
  const { causal = false, window = {} } = options;
  checkBoolean("causal", causal);
  checkObject("window", window);
  const left = checkReach("window.left", window.left);
  const right = checkReach("window.right", window.right);
  return { left, right: causal ? 0 : right };
}

/** Checks the keys to one side: an integer; Infinity and undefined stand for all of them. */
function checkReach(title: string, value: number = Infinity): number {
  return Math.min(value === Infinity ? value : checkInteger(title, value, 0), UNLIMITED);
}

/** Checks a keepMask or bias; `checkData` checks its elements, `target` is the shape of the scores. */
function checkOverScores<Data extends Bytes | Floats>(
  title: string,
  value: { data: unknown; shape: unknown; dtype?: unknown },
  checkData: (title: string, value: unknown, arena: Arena, dtype?: unknown) => Data,
  elementBytes: number,
  target: readonly number[],
  arena: Arena,
): Broadcast<Data> {
  checkObject(title, value);
  const data = checkData(`${title}.data`, value.data, arena, value.dtype);
  return { data, ...checkBroadcast(title, value.shape, data.length, target, elementBytes) };
}

/** Checks alibiSlopes: one for each head, or one for each head of each sequence. */
function checkSlopes(value: unknown, arena: Arena, numHeads: number, sequences: number): Floats {
  const slopes = checkAnyFloats("alibiSlopes", value, arena);
  if (slopes.length !== numHeads && slopes.length !== sequences * numHeads) {
    const expected = `a length of ${numHeads} (numHeads) or ${sequences * numHeads} (batch × numHeads)`;
    throw wrongValue("alibiSlopes", expected, slopes.length);
  }
  return slopes;
}

/** The most query rows that share a KV head in one sequence: queries × query heads of the group. */
export function maxRowsPerKvHead({ sequences, numHeads, numKvHeads }: Problem): number {
  return sequences.reduce((most, { seqLenQ }) => Math.max(most, seqLenQ), 0) * (numHeads / numKvHeads);
}

/** The keys [first, end) of a sequence that the window shows to at least one of its queries. */
export function seenKeys({ left, right }: Problem, { queryOffset, seqLenQ, seqLenKv }: Sequence): [number, number] {
  const first = Math.max(0, queryOffset - left);
  const end = Math.min(seqLenKv, queryOffset + seqLenQ + right);
  return seqLenQ > 0 && first < end ? [first, end] : [0, 0];
}
