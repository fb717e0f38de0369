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
import { type AngleRule, writeAngleRows } from "./angle-rows.ts";
import {
  type CheckedForm,
  ROTARY_NAMES,
  type RotaryOptions,
  checkForm,
  checkInRows,
  checkInTables,
} from "./options.ts";
import { frequenciesOf } from "./trigonometry.ts";

/** A checked call of `rotary`. */
interface RotaryCall extends CheckedForm, Arrangement {
  x: Floats;
  headDim: number;
  /** Rows of a batch entry. */
  seqLen: number;
  /** The position of the first row, or of every row: [axes, seqLen] or [axes, batch, seqLen]. */
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
    const { interleaved, positions, axes } = call;
    const isPerBatch = typeof positions !== "number" && positions.length > axes * seqLen;
    // Without rows, however many batch entries the options name, there is nothing to do.
    for (let b = 0; b < batch && seqLen > 0; b++) {
      const offset = b * strides.batch;
      const before = isPerBatch ? b * seqLen : 0;
      const rows = angleRows && angleRows + before * 4;
      const skipped = angleRows ? 0 : before * rotaryDim * 2;
      const angles = [cos + skipped, sin + skipped, rows] as const;
      kernels.rotate(outPtr + offset, xPtr + offset, ...angles, ...dims, strides.row, strides.head, interleaved);
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
  const positions = checkPositions(options.positions, batch, seqLen, form);
  if (form.tables) {
    const rows = (form.tables.cos.length * 2) / form.rotaryDim;
    if (typeof positions === "number") checkInRows("positions", positions, seqLen, rows, "cos");
    else checkInTables("positions", positions, rows, "cos");
  }
  return { x, numHeads, headDim, batch, layout, seqLen, positions, ...form };
}

/** Checks that `positions` is one integer, or has one for each axis and row. */
function checkPositions(
  value: unknown = 0,
  batch: number,
  seqLen: number,
  { axes, axisOf }: CheckedForm,
): number | Int32Array {
  if (typeof value === "number") return checkInteger("positions", value, MIN_POSITION, MAX_POSITION);
  const positions = checkIntegers("positions", value, "an integer or an Int32Array");
  const length = axes * seqLen;
  if (positions.length === length || positions.length === batch * length) return positions;
  const perAxis = axisOf ? "axes × " : "";
  const others = batch > 1 ? ` or ${batch * length} (${perAxis}batch × rows)` : "";
  throw wrongValue("positions", `a length of ${length} (${perAxis}rows)${others}`, positions.length);
}

/**
 * Puts the angles of a call into linear memory.
 *
 * @returns addresses of `cos` and `sin`, [rows][rotaryDim / 2], and of `angleRows`: for each position of the call,
 * which row is its own; 0 where there is a row for each of them, in their order. Tables in linear memory are used where
 * they stand. Of single positions in an array those that are equal share a row.
 */
function writeAngles(
  arena: Arena,
  scope: CallScope,
  call: RotaryCall,
): { cos: number; sin: number; angleRows: number } {
  const { positions, seqLen, rotaryDim, base, frequencies, attentionScale, tables, axes, axisOf } = call;
  const isNumber = typeof positions === "number";
  const hasAxes = axisOf !== undefined && !isNumber;
  let rows: ArrayLike<number> = isNumber ? Array.from({ length: seqLen }, (_, i) => positions + i) : positions;
  if (!hasAxes && attentionScale === 1 && tables?.cos.ptr !== undefined && tables.sin.ptr !== undefined) {
    return { cos: tables.cos.ptr, sin: tables.sin.ptr, angleRows: scope.integers(rows) };
  }

  const half = rotaryDim / 2;
  let angleRows = 0;
  if (!isNumber && !hasAxes) {
    const rowOf = new Map<number, number>();
    for (const position of positions) if (!rowOf.has(position)) rowOf.set(position, rowOf.size);
    angleRows = scope.integers(Array.from(positions, (position) => rowOf.get(position)!));
    rows = [...rowOf.keys()];
  }
  const count = hasAxes ? rows.length / axes : rows.length;
  const cos = scope.reserve(count * half * 4);
  const sin = scope.reserve(count * half * 4);
  const rule: AngleRule = {
    frequencies: tables ? undefined : (frequencies ?? frequenciesOf(base, half)),
    tables: tables && { cos: floatsOf(arena, tables.cos), sin: floatsOf(arena, tables.sin) },
    scale: attentionScale,
    axisOf: hasAxes ? axisOf : undefined,
  };
  const [cosines, sines] = [floatsAt(arena, cos, count * half), floatsAt(arena, sin, count * half)];
  writeAngleRows(cosines, sines, rule, rows, 0, count, count);
  return { cos, sin, angleRows };
}
