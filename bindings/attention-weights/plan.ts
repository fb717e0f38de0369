import { type CallPointers, withoutPadding } from "../attention/call.ts";
import type { KvSource } from "../attention/kv-source.ts";
import type { PlacedOperands } from "../attention/operands.ts";
import type { Problem } from "../attention/problem.ts";
import type { Sequence } from "../attention/sequences.ts";
import { ATTEND_ARGS, F32, type Kernels, MAX_DECODE_ROWS, SCORE_ROW } from "../engine/abi.ts";
import { type Instance, WORK_OF_FLOAT } from "../engine/instance.ts";
import { structBytes } from "../engine/kernels.ts";
import { inputAsF32 } from "../engine/widen.ts";
import type { Arena } from "../memory/arena.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { MAX_ITEMS } from "../threads/control.ts";
import type { Subset } from "./row-heads.ts";
import type { Selection } from "./selection.ts";

/** Bytes of a ScoreRow, in which the kernels keep a row of weights on its way from scores to softmax. */
export const SCORE_ROW_BYTES = structBytes(SCORE_ROW);

/** Bytes that the rows of q may take, and the buffered rows of weights, and the buffered sums, each. */
const BUFFER_BYTES = 2 ** 18;

/** The addresses of the outputs. */
export interface OutputPointers {
  weights: number;
  /** Rows of weights, and of indices. */
  rows: number;
  /** 0 without topK. */
  indices: number;
  /** 0 where it is not asked for. */
  entropy: number;
}

/** The memory of one call, all of it reserved before any kernel runs, and in what portions the work goes through it. */
export interface Plan {
  readonly instance: Instance;
  readonly arena: Arena;
  readonly kernels: Kernels;
  readonly problem: Problem;
  readonly selection: Selection;
  readonly q: Floats;
  readonly kv: KvSource;
  readonly outputs: OutputPointers;
  readonly pointers: CallPointers;
  readonly sequences: readonly Sequence[];
  /** Floats in a row of q for the kernel: headDim rounded up to a multiple of 8. */
  readonly paddedDim: number;
  /** Row heads that go through the kernels in one pass: those of one sequence and KV head. */
  readonly passRows: number;
  /** The most row heads, and passes, that are computed together: of one pass, or of some, which the threads share. */
  readonly batchRows: number;
  readonly batchPasses: number;
  /** Into how many items the threads cut them; 0 where one thread is as good. */
  readonly items: number;
  /** [batchRows] of ScoreRow. */
  readonly scoreRows: number;
  /** [batchRows][paddedDim] rows of q. */
  readonly queries: number;
  /** [batchRows][rowsKv] weights; 0 where the kernels write them straight into the result. */
  readonly weightRows: number;
  /** Sums [result rows of a subset][rowsKv]; 0 where the kernels add straight to the result, or add nothing. */
  readonly sums: number;
  /** What the additions of each sum lose to rounding, as `sums`: over rows they may be many. 0 but for keySum. */
  readonly lows: number;
  /** Where there are sums or lows, the rows or heads whose sums fit together; else everything at once. */
  readonly subsets: readonly Subset[];
}

/**
 * Reserves everything that a call needs, in `scope`.
 *
 * @throws RangeError where memory cannot grow
 */
export function planCall(
  instance: Instance,
  problem: Problem,
  selection: Selection,
  scope: CallScope,
  { q, kv }: PlacedOperands,
  outputs: OutputPointers,
): Plan {
  const { arena, kernels } = instance;
  const { rows, heads, reduce, topK } = selection;
  const paddedDim = Math.ceil(problem.headDim / 8) * 8;
  const rowBytes = problem.rowsKv * 4;
  const fit = Math.max(1, Math.floor(BUFFER_BYTES / Math.max(1, rowBytes)));
  const buffered = reduce !== undefined || topK !== undefined;
  // Keys that are copied in should serve as many rows as possible. Where nothing is copied, the passes are short, so
  // that the scores are still in the processor's cache when they are normalized.
  const most = buffered || kv.maxKeys === Infinity ? fit : BUFFER_BYTES / (paddedDim * 4);
  // The kernels compute MAX_DECODE_ROWS rows together, so a pass has a multiple of them.
  const wholeRows = Math.max(1, Math.floor(most / MAX_DECODE_ROWS)) * MAX_DECODE_ROWS;
  const allRows = rows.length * heads.length;
  const passRows = Math.min(wholeRows, allRows);
  const work = 2 * allRows * problem.rowsKv * (problem.headDim + WORK_OF_FLOAT);
  const wanted = Math.min(MAX_ITEMS / 2, instance.pool?.itemsFor(work) ?? 0);
  // As many passes as items where that takes wanted × BUFFER_BYTES, and one for each thread at least.
  const passes = Math.ceil(wanted * Math.min(1, Math.max(1 / 4, BUFFER_BYTES / (passRows * rowBytes))));
  const batchOf = (items: number, passes: number) => {
    const batchRows = Math.min(passes * passRows, allRows);
    const batchPasses = items ? MAX_ITEMS / 2 : 1;
    return {
      items,
      batchRows,
      batchPasses,
      args: scope.reserve(batchPasses * structBytes(ATTEND_ARGS)),
      scoreRows: scope.reserve(batchRows * SCORE_ROW_BYTES),
      queries: scope.reserve(batchRows * paddedDim * 4),
      weightRows: buffered ? scope.reserve(batchRows * rowBytes) : 0,
    };
  };
  const shared = wanted ? scope.attempt(() => batchOf(wanted, passes)) : undefined;
  const { items, batchRows, batchPasses, args, scoreRows, queries, weightRows } = shared ?? batchOf(0, 1);
  // With topK the sums and what they lose share their buffer.
  const fitSums = reduce === "keySum" && topK !== undefined ? Math.max(1, fit >> 1) : fit;
  const sumRows = Math.min(fitSums, reduce === "mean" ? rows.length : heads.length);
  const sums = reduce !== undefined && topK !== undefined ? scope.reserve(sumRows * rowBytes) : 0;
  const lows = reduce === "keySum" ? scope.reserve(sumRows * rowBytes) : 0;
  const pointers = {
    args,
    scratch: scope.reserve(kernels.scoreRowsBytes(paddedDim)),
    tiles: 0,
    parts: 0,
    q: 0,
    qType: F32,
    outType: F32,
    keepMask: scope.input(problem.keepMask?.data),
    bias: inputAsF32({ arena, kernels }, scope, problem.bias?.data),
    alibiSlopes: inputAsF32({ arena, kernels }, scope, problem.alibiSlopes),
    sinks: inputAsF32({ arena, kernels }, scope, problem.sinks),
    out: 0,
    lse: 0,
  };
  return {
    instance,
    arena,
    kernels,
    problem,
    selection,
    q,
    kv,
    outputs,
    pointers,
    sequences: problem.sequences.map((sequence) => withoutPadding(instance, problem, sequence)),
    paddedDim,
    passRows,
    batchRows,
    batchPasses,
    items,
    scoreRows,
    queries,
    weightRows,
    sums,
    lows,
    subsets: subsetsOf(selection, sums || lows ? sumRows : Infinity),
  };
}

/** The selected rows and heads, in subsets of at most `sumRows` result rows. */
function subsetsOf({ rows, heads, reduce }: Selection, sumRows: number): Subset[] {
  const all = { rows: [...rows.keys()], heads: [...heads.keys()] };
  if (sumRows === Infinity) return [all];
  return reduce === "mean"
    ? slices(all.rows, sumRows).map((some) => ({ ...all, rows: some }))
    : slices(all.heads, sumRows).map((some) => ({ ...all, heads: some }));
}

/** An array in slices of at most `size` elements. */
export function slices<T>(array: readonly T[], size: number): T[][] {
  const count = Math.ceil(array.length / size);
  return Array.from({ length: count }, (_, n) => array.slice(n * size, (n + 1) * size));
}
