import type { Arena } from "../memory/arena.ts";
import type { Instance } from "../attention/attention.ts";
import {
  type Floats,
  checkBoolean,
  checkChoice,
  checkFinite,
  checkFloats,
  checkFloatsOf,
  checkInteger,
  checkObject,
  checkRows,
  wrongKind,
  wrongValue,
} from "../check.ts";
import { CallScope } from "../memory/call-scope.ts";
import { type Layout, stridesOf } from "../attention/options.ts";
import { Output, type Written } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";

/** By which angles which floats of a row turn. */
export interface RotaryForm {
  /** Pair j at position p turns by p·base^(−2j / rotaryDim). Default 10000, without tables. */
  base?: number | undefined;
  /** Shape [maxPositions, rotaryDim / 2]: the cosine of each angle, by position. With `sin`, instead of `base`. */
  cos?: Float32Array | Tensor | undefined;
  /** Shape [maxPositions, rotaryDim / 2]: the sine of each angle. */
  sin?: Float32Array | Tensor | undefined;
  /** Floats of a row that turn, even; the rest pass through. Default headDim. */
  rotaryDim?: number | undefined;
  /** Pair j is the floats 2j and 2j + 1; else j and j + rotaryDim / 2. Default false. */
  interleaved?: boolean | undefined;
}

/** What `rotary` takes besides x. */
export interface RotaryOptions extends RotaryForm {
  /** Heads of x. */
  numHeads: number;
  /** Floats in a row of x. */
  headDim: number;
  /** Default 1. */
  batch?: number | undefined;
  /** Of x and out. Default "blhd". */
  layout?: Layout | undefined;
  /**
   * Where the rows stand: a number for the first row of every batch entry, the next ones following; or one position a row, [seqLen] for
   * every batch entry or [batch·seqLen]. With `base` any of −2³¹ … 2³¹ − 1, with tables a row of them. Default 0.
   */
  positions?: number | Int32Array | undefined;
  /** Where to write; may be x itself. Default a fresh Float32Array. */
  out?: Float32Array | Tensor | undefined;
}

/** What `rotary` returns. */
export interface RotaryResult<O extends RotaryOptions = RotaryOptions> {
  /** The shape of x. */
  out: Written<O["out"]>;
}

/** A checked form. */
export interface CheckedForm {
  rotaryDim: number;
  interleaved: boolean;
  base: number;
  /** Instead of base. */
  tables: { cos: Floats; sin: Floats } | undefined;
}

/** A checked call of rotary. */
interface RotaryCall extends CheckedForm {
  x: Floats;
  numHeads: number;
  headDim: number;
  batch: number;
  layout: Layout;
  seqLen: number;
  positions: number | Int32Array;
}

const MIN_POSITION = -(2 ** 31);
const MAX_POSITION = 2 ** 31 - 1;

/** Rotary position embedding: check, copy in, run, copy out, release. */
export function rotary(instance: Instance, xIn: unknown, options: RotaryOptions): { out: Float32Array | Tensor } {
  const { arena, kernels } = instance;
  const problem = checkRotary(arena, xIn, options);
  const { x, tables, numHeads, headDim, batch, seqLen, rotaryDim } = problem;
  const out = new Output("out", options.out, "when absent", arena, x.length, "that of x");
  const inPlace = out.place?.ptr !== undefined && out.place.ptr === x.ptr;
  out.checkApartFrom({ x: inPlace ? undefined : x, cos: tables?.cos, sin: tables?.sin });

  const scope = new CallScope(arena);
  try {
    const xPtr = scope.input(x);
    const outPtr = out.reserve(scope, x.array && xPtr);
    const { cos, sin, angles } = writeAngles(arena, scope, problem);
    const of = stridesOf(problem.layout, seqLen, numHeads, headDim);
    const ownAngles = problem.positions instanceof Int32Array && problem.positions.length > seqLen;
    for (let b = 0; b < batch; b++) {
      const at = b * of.batch;
      const rows = angles + (ownAngles ? b * seqLen * 4 : 0);
      const dims = [seqLen, numHeads, headDim, rotaryDim] as const;
      kernels.rotate(outPtr + at, xPtr + at, cos, sin, rows, ...dims, of.row, of.head, problem.interleaved);
    }
    return { out: out.take()! };
  } finally {
    scope.release();
  }
}

function checkRotary(arena: Arena, xIn: unknown, options: RotaryOptions): RotaryCall {
  checkObject("options", options);
  const numHeads = checkInteger("numHeads", options.numHeads, 1);
  const headDim = checkInteger("headDim", options.headDim, 1);
  const { batch = 1, layout = "blhd", positions = 0 } = options;
  checkInteger("batch", batch, 1);
  checkChoice("layout", layout, ["blhd", "bhld"]);
  const form = checkForm(arena, options, headDim);
  const x = checkFloats("x", xIn, arena);
  const seqLen = checkRows(
    "x",
    x.length,
    batch * numHeads * headDim,
    `${batch > 1 ? "batch × " : ""}numHeads × headDim`,
  );
  checkPositions(positions, batch, seqLen);
  if (form.tables) checkInTables(positions, seqLen, (form.tables.cos.length * 2) / form.rotaryDim);
  return { x, numHeads, headDim, batch, layout, seqLen, positions, ...form };
}

/** Checks what is turned and by which angles; `of` comes before the names in errors. */
export function checkForm(arena: Arena, options: RotaryForm, headDim: number, of = ""): CheckedForm {
  const { rotaryDim = headDim, interleaved = false } = options;
  checkInteger(`${of}rotaryDim`, rotaryDim, 1);
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim) {
    throw wrongValue(`${of}rotaryDim`, `an even integer of at most ${headDim} (headDim)`, rotaryDim);
  }
  checkBoolean(`${of}interleaved`, interleaved);
  const tables = checkTables(arena, options, rotaryDim / 2, of);
  const base = options.base === undefined ? 10000 : checkFinite(`${of}base`, options.base, 0);
  if (tables && options.base !== undefined) throw wrongValue(`${of}base`, "nothing beside cos and sin", base);
  return { rotaryDim, interleaved, base, tables };
}

/** Both tables or none. */
function checkTables(arena: Arena, { cos, sin }: RotaryForm, half: number, of: string): CheckedForm["tables"] {
  if (cos === undefined && sin === undefined) return undefined;
  const checked = checkFloats(`${of}cos`, cos, arena);
  checkRows(`${of}cos`, checked.length, half, "rotaryDim / 2");
  return { cos: checked, sin: checkFloatsOf(`${of}sin`, sin, arena, checked.length, "that of cos") };
}

function checkPositions(positions: unknown, batch: number, seqLen: number): void {
  if (typeof positions === "number") {
    checkInteger("positions", positions, MIN_POSITION, MAX_POSITION);
    return;
  }
  if (!(positions instanceof Int32Array)) throw wrongKind("positions", "an integer or an Int32Array", positions);
  if (positions.length === seqLen) return;
  const expected = batch > 1 ? `${seqLen} (rows) or ${batch * seqLen} (batch × rows)` : `${seqLen} (rows)`;
  if (positions.length !== batch * seqLen) throw wrongValue("positions", `a length of ${expected}`, positions.length);
}

/** Every position is a row of the tables. */
function checkInTables(positions: number | Int32Array, seqLen: number, rows: number): void {
  const expected = `positions from 0 to ${rows - 1} (rows of cos)`;
  if (typeof positions !== "number") {
    const wrong = positions.findIndex((position) => position < 0 || position >= rows);
    if (wrong >= 0) throw wrongValue(`positions[${wrong}]`, expected, positions[wrong]);
  } else if (seqLen > 0 && (positions < 0 || positions + seqLen > rows)) {
    throw wrongValue("positions", expected, positions < 0 ? positions : positions + seqLen - 1);
  }
}

/**
 * Cosines and sines [angles][rotaryDim / 2] and, for each position of the call, which of them is its own. Tables that live in linear
 * memory are read where they are; else there is one row for each distinct position.
 */
function writeAngles(
  arena: Arena,
  scope: CallScope,
  { positions, seqLen, rotaryDim, base, tables }: RotaryCall,
): { cos: number; sin: number; angles: number } {
  const all = typeof positions === "number" ? Array.from({ length: seqLen }, (_, i) => positions + i) : positions;
  const angles = scope.reserve(all.length * 4);
  if (tables?.cos.ptr !== undefined && tables.sin.ptr !== undefined) {
    new Int32Array(arena.buffer, angles, all.length).set(all);
    return { cos: tables.cos.ptr, sin: tables.sin.ptr, angles };
  }

  const rowOf = new Map<number, number>();
  for (const position of all) if (!rowOf.has(position)) rowOf.set(position, rowOf.size);
  const half = rotaryDim / 2;
  const cos = scope.reserve(rowOf.size * half * 4);
  const sin = scope.reserve(rowOf.size * half * 4);
  new Int32Array(arena.buffer, angles, all.length).set(Array.from(all, (position) => rowOf.get(position)!));
  const cosines = new Float32Array(arena.buffer, cos, rowOf.size * half);
  const sines = new Float32Array(arena.buffer, sin, rowOf.size * half);
  if (tables) {
    gather(cosines, floatsOf(arena, tables.cos), rowOf.keys(), half);
    gather(sines, floatsOf(arena, tables.sin), rowOf.keys(), half);
  } else {
    computeAngles(cosines, sines, rowOf.keys(), half, base);
  }
  return { cos, sin, angles };
}

/** The rows of `table` at `positions`, one after the other. */
function gather(to: Float32Array, table: Float32Array, positions: Iterable<number>, half: number): void {
  let at = 0;
  for (const position of positions) {
    to.set(table.subarray(position * half, (position + 1) * half), at);
    at += half;
  }
}

/** cos and sin of position·base^(−j / half), in f64 and rounded once. */
function computeAngles(
  cosines: Float32Array,
  sines: Float32Array,
  positions: Iterable<number>,
  half: number,
  base: number,
): void {
  const frequencies = frequenciesOf(base, half);
  let at = 0;
  for (const position of positions) {
    turn(cosines, sines, at, position, frequencies);
    at += half;
  }
}

/** base^(−j / half) for each pair j. */
export function frequenciesOf(base: number, half: number): Float64Array {
  return Float64Array.from({ length: half }, (_, j) => base ** (-j / half));
}

/** Writes the angles of one position from element `at` on. */
export function turn(
  cosines: Float32Array,
  sines: Float32Array,
  at: number,
  position: number,
  frequencies: Float64Array,
): void {
  for (let j = 0; j < frequencies.length; j++) {
    cosines[at + j] = Math.cos(position * frequencies[j]!);
    sines[at + j] = Math.sin(position * frequencies[j]!);
  }
}

/** The floats, wherever they are. */
export function floatsOf(arena: Arena, { array, ptr, length }: Floats): Float32Array {
  return array ?? new Float32Array(arena.buffer, ptr, length);
}
