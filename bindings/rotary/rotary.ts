import { checkChoice, checkInteger, checkObject, checkRows, wrongKind, wrongValue } from "../check.ts";
import type { Instance } from "../engine/instance.ts";
import type { Arena } from "../memory/arena.ts";
import { CallScope } from "../memory/call-scope.ts";
import { type Floats, checkFloats, floatsOf } from "../memory/data.ts";
import { type Layout, stridesOf } from "../memory/layout.ts";
import { Output } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";
import { frequenciesOf, turn } from "./angles.ts";
import { type CheckedForm, type RotaryOptions, checkForm } from "./options.ts";

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
  const out = Output.required(arena, "out", options.out, x.length, "that of x");
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
