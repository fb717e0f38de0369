import { attendArgsOf } from "../attention/call.ts";
import { ATTEND_ARGS, type AttendArgs, PAGE_KEYS } from "../engine/abi.ts";
import { writeStruct } from "../engine/kernels.ts";
import { floatsAt } from "../memory/arena.ts";
import { type Plan, SCORE_ROW_BYTES, slices } from "./plan.ts";
import { type RowHead, type Subset, headsByKvHead, resultRowOf, rowHeadsOf, rowsBySequence } from "./row-heads.ts";
import { writeScoreRows } from "./score-rows.ts";

/** Runs the kernels and leaves the results at Plan.outputs. */
export function runPlan(plan: Plan): void {
  const { problem, selection, outputs, subsets } = plan;
  const { reduce, topK, stage } = selection;
  // Sums start at 0. Keys of no sequence, and of other sequences than that of the row, are written by no kernel.
  if (topK === undefined && (reduce !== undefined || !coversAllKeys(plan))) {
    fillRows(plan, outputs.weights, outputs.rows, stage === "softmax" ? 0 : -Infinity);
  }
  for (let batch = 0; batch < problem.batch; batch++) {
    for (const subset of subsets) runSubset(plan, batch, subset);
  }
}

/** Whether every sequence has all keys of its batch entry, so that the kernels write whole rows. */
function coversAllKeys({ sequences, problem }: Plan): boolean {
  return sequences.every(({ seqLenKv }) => seqLenKv === problem.rowsKv);
}

/** Fills `rows` rows over all keys with `value`. */
function fillRows({ arena, problem }: Plan, ptr: number, rows: number, value: number): void {
  floatsAt(arena, ptr, rows * problem.rowsKv).fill(value);
}

/**
 * A subset of the rows and heads of one batch entry: pass by pass for each sequence and KV head, then what is left of
 * their sums.
 */
function runSubset(plan: Plan, batch: number, subset: Subset): void {
  const { kernels, problem, selection, outputs, sums, lows } = plan;
  const { reduce, heads } = selection;
  const rowBytes = problem.rowsKv * 4;
  const resultRows = reduce === "mean" ? subset.rows.length : subset.heads.length;
  const firstResultRow = resultRowOf(selection, batch, subset.rows[0] ?? 0, subset.heads[0] ?? 0);
  const firstSum = sums || outputs.weights + firstResultRow * rowBytes;
  if (sums) fillRows(plan, sums, resultRows, 0);
  if (lows) fillRows(plan, lows, resultRows, 0);
  // A batch entry is one sequence, or all of the packed ones.
  const rowsOf =
    problem.batch > 1 ? [[batch, subset.rows] as const] : rowsBySequence(plan.sequences, selection, subset);
  const headsOf = headsByKvHead(problem, selection, subset);
  for (const [sequenceIndex, rows] of rowsOf) {
    for (const [kvHead, kvHeads] of headsOf) {
      for (const rowHeads of slices(rowHeadsOf(selection, batch, { rows, heads: kvHeads }), plan.passRows)) {
        computePass(plan, sequenceIndex, kvHead, rowHeads);
        if (reduce) addToSums(plan, sequenceIndex, rowHeads, firstResultRow, firstSum);
      }
    }
  }
  if (lows) addLows(plan, firstSum, resultRows);
  // The mean over no heads is 0, as the sum over no rows is.
  if (reduce === "mean" && heads.length > 0) kernels.divideRow(firstSum, resultRows * problem.rowsKv, heads.length);
  if (sums) for (let n = 0; n < resultRows; n++) takeTopK(plan, firstResultRow + n, sums + n * rowBytes);
}

/** The weights of the row heads of one pass, or their scores where the call stops before the softmax. */
function computePass(plan: Plan, sequenceIndex: number, kvHead: number, rowHeads: readonly RowHead[]): void {
  const { arena, kernels, problem, selection, kv, pointers, scoreRows, queries, weightRows } = plan;
  const { rowsKv, headDim } = problem;
  const { reduce, topK, stage } = selection;
  const { args, scratch } = pointers;
  const { seqLenKv } = plan.sequences[sequenceIndex]!;
  const count = rowHeads.length;
  const hasLse = selection.lse !== undefined;
  if (topK !== undefined && !reduce && !coversAllKeys(plan)) fillRows(plan, weightRows, count, 0);
  writeScoreRows(plan, sequenceIndex, kvHead, rowHeads);
  // Once at least, since a row over no keys has an entropy too.
  let first = 0;
  do {
    const end = Math.min(first + kv.maxKeys, seqLenKv);
    writeStruct(arena.buffer, args, ATTEND_ARGS, argsOf(plan, sequenceIndex, kvHead, first, end));
    kernels.scoreRows(args, scratch, scoreRows, queries, count, headDim, first, end, hasLse);
    first = end;
  } while (first < seqLenKv);
  if (stage !== "softmax") return;
  kernels.normalizeRows(args, scratch, scoreRows, count, headDim, hasLse);
  if (reduce || topK === undefined) return;
  rowHeads.forEach(({ resultRow }, n) => takeTopK(plan, resultRow, weightRows + n * rowsKv * 4));
}

/** Adds to the sums of a subset what their additions have lost. */
function addLows({ arena, problem, lows }: Plan, firstSum: number, resultRows: number): void {
  const length = resultRows * problem.rowsKv;
  const sums = floatsAt(arena, firstSum, length);
  const lost = floatsAt(arena, lows, length);
  for (let n = 0; n < length; n++) sums[n]! += lost[n]!;
}

/** Adds the weights of one pass to the sums of their result rows; `firstSum` are those of `firstResultRow`. */
function addToSums(
  plan: Plan,
  sequenceIndex: number,
  rowHeads: readonly RowHead[],
  firstResultRow: number,
  firstSum: number,
): void {
  const { kernels, problem, scoreRows, lows } = plan;
  const { startKv, seqLenKv } = plan.sequences[sequenceIndex]!;
  for (let start = 0, end = 0; start < rowHeads.length; start = end) {
    const { resultRow } = rowHeads[start]!;
    while (end < rowHeads.length && rowHeads[end]!.resultRow === resultRow) end++;
    const offset = ((resultRow - firstResultRow) * problem.rowsKv + startKv) * 4;
    kernels.sumRows(
      firstSum + offset,
      lows && lows + offset,
      scoreRows + start * SCORE_ROW_BYTES,
      end - start,
      seqLenKv,
    );
  }
}

/** The arguments of the kernels for one KV head, while the keys [first, end) can be read. */
function argsOf(plan: Plan, sequenceIndex: number, kvHead: number, first: number, end: number): AttendArgs {
  const { instance, problem, pointers, kv, paddedDim } = plan;
  const sequence = plan.sequences[sequenceIndex]!;
  const args = attendArgsOf(instance, problem, pointers, sequence, sequenceIndex);
  kv.locate(args, sequence, sequenceIndex, first, end, kvHead);
  const firstHead = kvHead * args.group;
  // Assigned, not spread: a spread of 48 fields takes V8 as long as a small call.
  return Object.assign(args, {
    k: args.k + kvHead * args.kHeadStride,
    kScales: args.kScales && args.kScales + kvHead * PAGE_KEYS * 4,
    keepMask: args.keepMask && args.keepMask + firstHead * args.maskHeadStride,
    bias: args.bias && args.bias + firstHead * args.biasHeadStride,
    alibiSlopes: args.alibiSlopes && args.alibiSlopes + firstHead * 4,
    sinks: args.sinks && args.sinks + firstHead * 4,
    numKvHeads: 1,
    headDim: paddedDim,
  });
}

/** Writes the topK largest of a row over all keys, and their keys, as row `resultRow` of the outputs. */
function takeTopK({ kernels, problem, selection, outputs }: Plan, resultRow: number, row: number): void {
  const topK = selection.topK!;
  const offset = resultRow * topK * 4;
  kernels.topOfRow(outputs.weights + offset, outputs.indices + offset, row, problem.rowsKv, topK);
}
