import { checkInteger, checkObject, checkRows, perBatch, wrongKind, wrongValue } from "../check.ts";
import { type Instance, WORK_OF_FLOAT } from "../engine/instance.ts";
import { inputAsF32, narrow, stageBytes, widen } from "../engine/widen.ts";
import { MAX_DIM, MAX_ROWS } from "../limits.ts";
import { type Arena, integersAt } from "../memory/arena.ts";
import { type CallScope, withScope } from "../memory/call-scope.ts";
import { type FloatRows, type Floats, checkAnyFloats, checkFloatsOf, halves } from "../memory/data.ts";
import { F32 } from "../memory/float-types.ts";
import { ARRANGEMENT_NAMES, type Layout, checkArrangement } from "../memory/layout.ts";
import { Output, type Rows, type Written, checkApart } from "../memory/output.ts";
import { type TakeRows, stageRows } from "../memory/staged-rows.ts";
import { type Names, elements, readOptions } from "../options.ts";
import { LSE_SHAPE } from "./problem.ts";

/** What `attention` returned, with lse, for some of the keys. @category Split keys */
export interface Part {
  /** [batch, seqLenQ, numHeads, valueDim] in the layout of the call. */
  out: FloatRows;
  /** [batch, numHeads, seqLenQ]; packed [numHeads, totalQ]. */
  lse: Rows;
}

/** What `merge` takes besides the parts. @category Split keys */
export interface MergeOptions<
  Out extends FloatRows | undefined = FloatRows | undefined,
  Lse extends true | Rows | undefined = true | Rows | undefined,
> {
  /** Query heads. */
  numHeads: number;
  /** Floats in a row of out. Required where valueDim is absent. */
  headDim?: number | undefined;
  /** Default headDim. */
  valueDim?: number | undefined;
  /** Default 1; packed sequences are a batch of 1. */
  batch?: number | undefined;
  /** The layout of out, in every part and in the result. Default "blhd". */
  layout?: Layout | undefined;
  /** [numHeads]: one more logit for each query head, in the denominator only. No part may have counted it already. */
  sinks?: FloatRows | undefined;
  /** Where to write out; may be the out of a part. Default a fresh Float32Array. */
  out?: Out | undefined;
  /** Where to write lse; may be the lse of a part. Default, and true, a fresh Float32Array. */
  lse?: Lse | undefined;
}

const MERGE_NAMES: Names<MergeOptions> = {
  ...ARRANGEMENT_NAMES,
  headDim: 0,
  valueDim: 0,
  sinks: halves,
  out: halves,
  lse: 0,
};

/** What `merge` returns. @category Split keys */
export interface MergeResult<Out = FloatRows | undefined, Lse = true | Rows | undefined> {
  /** [batch, seqLenQ, numHeads, valueDim] in the layout of the call. */
  out: Written<Out>;
  /** [batch, numHeads, seqLenQ]; packed [numHeads, totalQ]. */
  lse: Written<Lse>;
}

/** A checked call of `merge`. */
interface MergeCall {
  readonly parts: readonly { out: Floats; lse: Floats }[];
  readonly sinks: Floats | undefined;
  readonly numHeads: number;
  /** Floats in a row of out. */
  readonly dim: number;
  readonly layout: Layout;
  readonly seqLenQ: number;
  /** batch × seqLenQ × numHeads */
  readonly rows: number;
}

/** Bytes of the rows of out that are staged together, for all parts and an output of 16 bits. */
const PIECE_BYTES = 2 ** 20;

/** Merges attention over split keys, see `Heed.merge`: check, copy in piece by piece, run, copy out, release. */
export function merge(instance: Instance, partsIn: unknown, given: MergeOptions): MergeResult {
  const { arena } = instance;
  const options = readOptions("merge", given, MERGE_NAMES);
  const partsGiven = readParts(partsIn);
  const call = checkMerge(arena, partsGiven, options);
  const { parts, dim, rows } = call;
  const out = new Output<FloatRows>(arena, "out", options.out, rows * dim, "that of every part", checkAnyFloats);
  const lseOption = options.lse === true ? undefined : options.lse;
  const lse = new Output(arena, "lse", lseOption, rows, "that of every part");
  checkApart(arena, { out: options.out, lse: lseOption }, options);
  // Fresh outputs lie apart from everything.
  const compared = out.place || lse.place ? parts : [];
  const outputs = { out: { option: options.out, place: out.place }, lse: { option: lseOption, place: lse.place } };
  compared.forEach((part, p) => {
    for (const name of ["out", "lse"] as const) {
      const { option, place } = outputs[name];
      const inputs: Record<string, unknown> = {};
      for (const other of ["out", "lse"] as const) {
        // An output may be exactly that of a part, since the kernel reads a row of every part before it writes the row.
        if (other !== name || !isSame(place, part[name])) inputs[`parts[${p}].${other}`] = partsGiven[p]![other];
      }
      checkApart(arena, { [name]: option }, inputs);
    }
  });

  // A part that is written over cannot be read again, as an item must be whose worker died.
  const isApart = !compared.some((part) => isSame(out.place, part.out) || isSame(lse.place, part.lse));
  return withScope(arena, (scope) => {
    mergePieces(instance, call, scope, out.reserve(scope), out.type, lse.reserve(scope), isApart);
    return { out: out.take()!, lse: lse.take()! };
  });
}

/** Whether both are the same floats in linear memory. */
function isSame(a: Floats | undefined, b: Floats): boolean {
  return a?.ptr !== undefined && a.ptr === b.ptr && a.length === b.length && a.type === b.type;
}

/**
 * Runs the kernel for a piece of the rows after the other, so that arrays of any size need little memory; on all
 * threads where that pays and the outputs lie apart from the parts.
 */
function mergePieces(
  instance: Instance,
  call: MergeCall,
  scope: CallScope,
  out: number,
  outType: number,
  lse: number,
  isApart: boolean,
): void {
  const { arena, kernels, pool } = instance;
  const { parts, numHeads, dim, layout, seqLenQ, rows } = call;
  const count = parts.length;
  const rowBytes = dim * 4;
  const byHead = layout === "bhld";
  const wanted = (isApart && pool?.itemsFor(WORK_OF_FLOAT * rows * dim * count)) || 1;
  const rounds = outType !== F32;
  const stagedRows = parts.filter((part) => part.out.array ?? part.out.type !== F32).length + Number(rounds);
  // Addresses of the rows of every part, for each item of a piece.
  const outs = scope.reserve(wanted * count * 4);
  const scratchBytes = kernels.mergeBytes(count);
  const scratch = scope.reserve(scratchBytes);
  const sinks = inputAsF32(instance, scope, call.sinks);
  const lses = scope.integers(parts.map((part) => scope.input(part.lse)));
  let pieceRows = 0;
  /** Where a piece of out stands before it is rounded. */
  let rounded = 0;
  const widenRows = (ptr: number, length: number, type: number): void => widen(instance, ptr, length, type);
  const stage = (bytes: number): TakeRows[] => {
    pieceRows = Math.max(1, Math.min(rows, Math.floor(bytes / (stagedRows * rowBytes))));
    // The kernel takes the rows of out in the order of memory, whatever the layout is.
    const shape = { layout: "blhd", rows, heads: 1, dim, maxRows: pieceRows, widen: widenRows } as const;
    rounded = rounds ? scope.reserve(stageBytes(pieceRows * dim)) : 0;
    return parts.map((part) => stageRows(arena, scope, part.out, shape));
  };
  const large = wanted > 1 ? scope.attempt(() => stage(PIECE_BYTES * Math.ceil(wanted / 2))) : undefined;
  const staged = large ?? stage(PIECE_BYTES);
  for (let first = 0; first < rows; first += pieceRows) {
    const piece = Math.min(pieceRows, rows - first);
    const ptrs = staged.map((take) => take(0, first, piece).ptr);
    integersAt(arena, outs, count).set(ptrs);
    const to = rounded || out + first * rowBytes;
    let isDone = false;
    if (wanted > 1) {
      const items: number[][] = [];
      const step = Math.ceil(piece / wanted);
      for (let row = 0, table = outs; row < piece; row += step, table += count * 4) {
        const offset = row * rowBytes;
        integersAt(arena, table, count).set(ptrs.map((ptr) => ptr + offset));
        const some = Math.min(step, piece - row);
        const dims = [numHeads, seqLenQ, dim, Number(byHead)];
        items.push([to + offset, lse, table, lses, sinks, -1, count, first + row, some, ...dims]);
      }
      isDone = pool!.run("mergeRows", scratchBytes, items.reverse()) !== undefined;
    }
    if (!isDone) {
      kernels.mergeRows(to, lse, outs, lses, sinks, scratch, count, first, piece, numHeads, seqLenQ, dim, byHead);
    }
    if (rounds) narrow(instance, out + first * dim * 2, rounded, piece, dim, dim, outType);
  }
}

/** The parts as they were given, each read once. */
function readParts(partsIn: unknown): { out?: unknown; lse?: unknown }[] {
  const parts = elements(partsIn, "parts");
  if (!Array.isArray(parts)) throw wrongKind("parts", "an array of { out, lse }", parts);
  if (parts.length === 0) throw wrongValue("parts", "at least one part", 0);
  return parts.map((part: unknown, p) => {
    checkObject(`parts[${p}]`, part);
    const { out, lse } = part as { out?: unknown; lse?: unknown };
    return { out: halves(out), lse };
  });
}

/** Checks the parts and every option but the outputs. */
function checkMerge(
  arena: Arena,
  partsGiven: readonly { out?: unknown; lse?: unknown }[],
  options: MergeOptions,
): MergeCall {
  const { numHeads, batch, layout } = checkArrangement(options);
  const { headDim, valueDim, sinks } = options;
  if (headDim !== undefined) checkInteger("headDim", headDim, 1, MAX_DIM);
  const dim = checkInteger(headDim === undefined ? "headDim" : "valueDim", valueDim ?? headDim, 1, MAX_DIM);

  const what = `${perBatch(batch)}numHeads × ${valueDim === undefined ? "headDim" : "valueDim"}`;
  const first = "parts[0].out";
  const { length } = checkAnyFloats(first, partsGiven[0]!.out, arena);
  const rowsOfOne = batch * numHeads;
  const seqLenQ = checkRows(first, length, rowsOfOne * dim, what, MAX_ROWS / rowsOfOne);
  const rows = rowsOfOne * seqLenQ;
  const parts = partsGiven.map(({ out, lse }, p) => ({
    out: checkFloatsOf(`parts[${p}].out`, out, arena, length, `that of ${first}`, checkAnyFloats),
    lse: checkFloatsOf(`parts[${p}].lse`, lse, arena, rows, LSE_SHAPE),
  }));
  return {
    parts,
    sinks: sinks === undefined ? undefined : checkFloatsOf("sinks", sinks, arena, numHeads, "numHeads", checkAnyFloats),
    numHeads,
    dim,
    layout,
    seqLenQ,
    rows,
  };
}
