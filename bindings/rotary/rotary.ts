import { checkInteger, checkIntegers, checkRows, perBatch, wrongValue } from "../check.ts";
import type { Instance } from "../engine/instance.ts";
import { MAX_DIM } from "../limits.ts";
import { type Arena, floatsAt } from "../memory/arena.ts";
import { type CallScope, withScope } from "../memory/call-scope.ts";
import { type Floats, checkFloats, floatsOf } from "../memory/data.ts";
import { type Arrangement, checkArrangement, stridesOf } from "../memory/layout.ts";
import { Output, checkApart } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";
import { readOptions } from "../options.ts";
import { type CheckedForm, ROTARY_NAMES, type RotaryOptions, checkForm, checkInRows } from "./options.ts";
import { frequenciesOf, writeCosinesAndSines } from "./trigonometry.ts";

/** A checked call of `rotary`. */
interface RotaryCall extends CheckedForm, Arrangement {
  x: Floats;
  headDim: number;
  /** Rows of a batch entry. */
  seqLen: number;
  /** The position of the first row, or of every row: [seqLen] or [batch·seqLen]. */
  positions: number | Int32Array;
}

const MIN_POSITION = -(2 ** 31);
const MAX_POSITION = 2 ** 31 - 1;

/** Rotary position embedding of x, see `Heed.rotary`: check, copy in, run, copy out, release. */
export function rotary(instance: Instance, xIn: unknown, given: RotaryOptions): { out: Float32Array | Tensor } {
  const { arena, kernels } = instance;
  const options = readOptions("rotary", given, ROTARY_NAMES);
  const call = checkRotary(arena, xIn, options);
  const { x, numHeads, headDim, batch, seqLen, rotaryDim } = call;
  const out = new Output(arena, "out", options.out, x.length, "that of x");
  const inPlace = out.place?.ptr !== undefined && out.place.ptr === x.ptr;
  checkApart(arena, { out: options.out }, options, { x: inPlace ? undefined : xIn });

  return withScope(arena, (scope) => {
    const xPtr = scope.input(x);
    const outPtr = out.reserve(scope, x.array && xPtr);
    const { cos, sin, angleRows } = writeAngles(arena, scope, call);
    const strides = stridesOf(call.layout, seqLen, numHeads, headDim);
    const dims = [seqLen, numHeads, headDim, rotaryDim] as const;
    const { interleaved, positions } = call;
    const isPerBatch = typeof positions !== "number" && positions.length > seqLen;
    // Without rows, however many batch entries the options name, there is nothing to do.
    for (let b = 0; b < batch && seqLen > 0; b++) {
      const offset = b * strides.batch;
      const rows = angleRows + (isPerBatch ? b * seqLen * 4 : 0);
      kernels.rotate(outPtr + offset, xPtr + offset, cos, sin, rows, ...dims, strides.row, strides.head, interleaved);
    }
    return { out: out.take()! };
  });
}

/** Checks x and every option but `out`. */
function checkRotary(arena: Arena, xIn: unknown, options: RotaryOptions): RotaryCall {
  const { numHeads, batch, layout } = checkArrangement(options);
  const headDim = checkInteger("headDim", options.headDim, 1, MAX_DIM);
  const form = checkForm(arena, options, headDim);
  const x = checkFloats("x", xIn, arena);
  const seqLen = checkRows("x", x.length, batch * numHeads * headDim, `${perBatch(batch)}numHeads × headDim`);
  const positions = checkPositions(options.positions, batch, seqLen);
  if (form.tables) checkInTables(positions, seqLen, (form.tables.cos.length * 2) / form.rotaryDim);
  return { x, numHeads, headDim, batch, layout, seqLen, positions, ...form };
}

/** Checks that `positions` is one integer, or has one for each row. */
function checkPositions(value: unknown = 0, batch: number, seqLen: number): number | Int32Array {
  if (typeof value === "number") return checkInteger("positions", value, MIN_POSITION, MAX_POSITION);
  const positions = checkIntegers("positions", value, "an integer or an Int32Array");
  if (positions.length === seqLen || positions.length === batch * seqLen) return positions;
  const expected = `a length of ${seqLen} (rows)${batch > 1 ? ` or ${batch * seqLen} (batch × rows)` : ""}`;
  throw wrongValue("positions", expected, positions.length);
}

/** Checks that every position is one of the `rows` of the tables. */
function checkInTables(positions: number | Int32Array, seqLen: number, rows: number): void {
  if (typeof positions === "number") checkInRows("positions", positions, seqLen, rows, "cos");
  else {
    const wrong = positions.findIndex((position) => position < 0 || position >= rows);
    if (wrong >= 0) checkInRows(`positions[${wrong}]`, positions[wrong]!, 1, rows, "cos");
  }
}

/**
 * Puts the angles of a call into linear memory.
 *
 * @returns addresses of `cos` and `sin`, [rows][rotaryDim / 2], and of `angleRows`: for each position of the call,
 * which row is its own. Tables in linear memory are used where they stand; else there is one row for each distinct
 * position.
 */
function writeAngles(
  arena: Arena,
  scope: CallScope,
  call: RotaryCall,
): { cos: number; sin: number; angleRows: number } {
  const { positions, seqLen, rotaryDim, base, tables } = call;
  const all = typeof positions === "number" ? Array.from({ length: seqLen }, (_, i) => positions + i) : positions;
  if (tables?.cos.ptr !== undefined && tables.sin.ptr !== undefined) {
    return { cos: tables.cos.ptr, sin: tables.sin.ptr, angleRows: scope.integers(all) };
  }

  const rowOf = new Map<number, number>();
  for (const position of all) if (!rowOf.has(position)) rowOf.set(position, rowOf.size);
  const half = rotaryDim / 2;
  const angleRows = scope.integers(Array.from(all, (position) => rowOf.get(position)!));
  const cos = scope.reserve(rowOf.size * half * 4);
  const sin = scope.reserve(rowOf.size * half * 4);
  const cosines = floatsAt(arena, cos, rowOf.size * half);
  const sines = floatsAt(arena, sin, rowOf.size * half);
  for (const [position, row] of rowOf) {
    if (tables) {
      const [start, end] = [position * half, (position + 1) * half];
      cosines.set(floatsOf(arena, tables.cos).subarray(start, end), row * half);
      sines.set(floatsOf(arena, tables.sin).subarray(start, end), row * half);
    } else {
      writeCosinesAndSines(cosines, sines, row * half, position, frequenciesOf(base, half));
    }
  }
  return { cos, sin, angleRows };
}
