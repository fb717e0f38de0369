import { checkInteger, checkIntegers, checkRows, perBatch, wrongValue } from "../check.ts";
import type { Instance } from "../engine/instance.ts";
import { narrow, stageBytes, stageFloats, widen } from "../engine/widen.ts";
import { MAX_DIM } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";
import { type CallScope, withScope } from "../memory/call-scope.ts";
import { type FloatRows, type Floats, checkAnyFloats, elementsOf, halves } from "../memory/data.ts";
import { F32 } from "../memory/float-types.ts";
import { type Arrangement, checkArrangement, stridesOf } from "../memory/layout.ts";
import { Output, checkApart } from "../memory/output.ts";
import { halvesIn, widenedBytes } from "../memory/staged-rows.ts";
import { viewAt } from "../memory/tensor.ts";
import { readOptions } from "../options.ts";
import { type AngleRule, writeAngleRows } from "./angle-rows.ts";
import {
  type CheckedForm,
  ROTARY_NAMES,
  type RotaryOptions,
  type RotaryResult,
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

/** Bytes of f32 that x or out of 16 bits become at a time: they stay in the second-level cache. */
const PIECE_BYTES = 2 ** 16;

/** Rotary position embedding of x, see `Heed.rotary`: check, copy in, run, copy out, release. */
export function rotary(instance: Instance, xIn: unknown, given: RotaryOptions): RotaryResult {
  const { arena } = instance;
  const options = readOptions("rotary", given, ROTARY_NAMES);
  const xRead = halves(xIn);
  const call = checkRotary(arena, xRead, options);
  const { x } = call;
  const out = new Output<FloatRows>(arena, "out", options.out, x.length, "that of x", checkAnyFloats);
  const inPlace = out.place?.ptr !== undefined && out.place.ptr === x.ptr && out.type === x.type;
  checkApart(arena, { out: options.out }, options, { x: inPlace ? undefined : xRead });

  return withScope(arena, (scope) => {
    rotatePieces(instance, scope, call, out);
    return { out: out.take()! };
  });
}

/**
 * Rotates x into out: whole batch entries in place of memory, or with `PIECE_BYTES` of rows or of heads at a time in a
 * stage of f32, where one of the two has 16 bits.
 */
function rotatePieces(instance: Instance, scope: CallScope, call: RotaryCall, out: Output<FloatRows>): void {
  const { kernels } = instance;
  const { numHeads, headDim, batch, layout, seqLen, rotaryDim, interleaved, positions, axes } = call;
  const { type } = out;
  const inPieces = call.x.type !== F32 || type !== F32;
  const most = inPieces ? PIECE_BYTES / 4 : Infinity;
  // Heads of "bhld" that are longer than a piece are cut one by one.
  const byHead = layout === "bhld" && seqLen * headDim <= most;
  const width = layout === "blhd" ? numHeads * headDim : byHead ? seqLen * headDim : headDim;
  const count = byHead ? numHeads : seqLen;
  const blocks = layout === "blhd" || byHead ? batch : batch * numHeads;
  const units = Math.min(count, Math.max(1, Math.floor(most / width)));
  const stage = inPieces ? scope.reserve(stageBytes(units * width)) : 0;
  const x = inPieces || call.x.ptr !== undefined ? call.x : { ...call.x, array: undefined, ptr: scope.input(call.x) };
  const to = out.reserve(scope, inPieces ? undefined : call.x.array && x.ptr);
  const { cos, sin, angleRows } = writeAngles(instance, scope, call);
  const strides = stridesOf(layout, seqLen, numHeads, headDim);
  const isPerBatch = typeof positions !== "number" && positions.length > axes * seqLen;
  // Without rows, however many batch entries the options name, there is nothing to do.
  for (let block = 0; block < blocks && seqLen > 0; block++) {
    const before = isPerBatch ? Math.floor((block * batch) / blocks) * seqLen : 0;
    for (let unit = 0; unit < count; unit += units) {
      const some = Math.min(units, count - unit);
      const [first, length] = [(block * count + unit) * width, some * width];
      const row = before + (byHead ? 0 : unit);
      const skipped = angleRows ? 0 : row * rotaryDim * 2;
      const angles = [cos + skipped, sin + skipped, angleRows && angleRows + row * 4] as const;
      const heads = byHead ? some : blocks > batch ? 1 : numHeads;
      const dims = [byHead ? seqLen : some, heads, headDim, rotaryDim] as const;
      const from = stageFloats(instance, stage, x, first, length);
      const ptr = type === F32 ? to + first * 4 : stage;
      kernels.rotate(ptr, from, ...angles, ...dims, strides.row, strides.head, interleaved);
      if (type !== F32) narrow(instance, to + first * 2, stage, 1, length, length, type);
    }
  }
}

/** Checks x and every option but `out`. */
function checkRotary(arena: Arena, xIn: unknown, options: RotaryOptions): RotaryCall {
  const { numHeads, batch, layout } = checkArrangement(options);
  const headDim = checkInteger("headDim", options.headDim, 1, MAX_DIM);
  const form = checkForm(arena, options, headDim);
  const x = checkAnyFloats("x", xIn, arena);
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
  instance: Instance,
  scope: CallScope,
  call: RotaryCall,
): { cos: number; sin: number; angleRows: number } {
  const { arena } = instance;
  const { positions, seqLen, rotaryDim, base, frequencies, attentionScale, tables, axes, axisOf } = call;
  const isNumber = typeof positions === "number";
  const hasAxes = axisOf !== undefined && !isNumber;
  let rows: ArrayLike<number> = isNumber ? Array.from({ length: seqLen }, (_, i) => positions + i) : positions;
  const isHalf = tables && (tables.cos.type !== F32 || tables.sin.type !== F32);
  if (!hasAxes && attentionScale === 1 && !isHalf && tables?.cos.ptr !== undefined && tables.sin.ptr !== undefined) {
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
  const length = count * half;
  const cos = scope.reserve(widenedBytes(length));
  const sin = scope.reserve(widenedBytes(length));
  const rule: AngleRule = {
    frequencies: tables ? undefined : (frequencies ?? frequenciesOf(base, half)),
    tables: tables && { cos: elementsOf(arena, tables.cos), sin: elementsOf(arena, tables.sin) },
    scale: isHalf ? 1 : attentionScale,
    axisOf: hasAxes ? axisOf : undefined,
  };
  const viewOf = (ptr: number, type: number = F32) =>
    viewAt(arena, type === F32 ? ptr : halvesIn(ptr, length), length, type);
  const [cosines, sines] = [viewOf(cos, tables?.cos.type), viewOf(sin, tables?.sin.type)];
  writeAngleRows(cosines, sines, rule, rows, 0, count, count);
  if (isHalf) {
    for (const [ptr, { type }] of [
      [cos, tables.cos],
      [sin, tables.sin],
    ] as const) {
      if (type !== F32) widen(instance, ptr, length, type);
      if (attentionScale === 1) continue;
      const floats = viewOf(ptr);
      floats.forEach((value, n) => (floats[n] = value * attentionScale));
    }
  }
  return { cos, sin, angleRows };
}
