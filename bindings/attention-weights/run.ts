import { attendArgsOf } from "../attention/call.ts";
import { ATTEND_ARGS, type AttendArgs, MAX_DECODE_ROWS, PAGE_KEYS } from "../engine/abi.ts";
import { WORK_OF_FLOAT } from "../engine/instance.ts";
import { structBytes, writeStruct } from "../engine/kernels.ts";
import { floatsAt } from "../memory/arena.ts";
import { MAX_ITEMS } from "../threads/control.ts";
import { type Plan, SCORE_ROW_BYTES, slices } from "./plan.ts";
import { type Pass, type Subset, headsByKvHead, resultRowOf, rowHeadsOf, rowsBySequence } from "./row-heads.ts";
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
  let passes: Pass[] = [];
  let place = 0;
  const flush = (): void => {
    if (passes.length > 0) computePasses(plan, passes);
    if (reduce) for (const pass of passes) addToSums(plan, pass, firstResultRow, firstSum);
    passes = [];
    place = 0;
  };
  for (const [sequenceIndex, rows] of rowsOf) {
    for (const [kvHead, kvHeads] of headsOf) {
      // K that is copied in is there for one sequence and KV head.
      if (plan.kv.maxKeys < Infinity) flush();
      let args = 0;
      for (const rowHeads of slices(rowHeadsOf(selection, batch, { rows, heads: kvHeads }), plan.passRows)) {
        if (passes.length === plan.batchPasses || place + rowHeads.length > plan.batchRows) {
          flush();
          args = 0;
        }
        args ||= plan.pointers.args + passes.length * structBytes(ATTEND_ARGS);
        passes.push({ sequenceIndex, kvHead, rowHeads, place, args });
        place += rowHeads.length;
      }
    }
  }
  flush();
  if (lows) addLows(plan, firstSum, resultRows);
  // The mean over no heads is 0, as the sum over no rows is.
  if (reduce === "mean" && heads.length > 0) kernels.divideRow(firstSum, resultRows * problem.rowsKv, heads.length);
  if (sums)
    takeTopK(
      plan,
      Array.from({ length: resultRows }, (_, n) => firstResultRow + n),
      sums,
    );
}

/**
 * The weights of the row heads of some passes, or their scores where the call stops before the softmax. Where K is
 * copied in piece by piece, they are of one sequence and KV head.
 */
function computePasses(plan: Plan, passes: readonly Pass[]): void {
  const { arena, kernels, problem, selection, sequences, kv, pointers, weightRows } = plan;
  const { scratch } = pointers;
  const { headDim } = problem;
  const { reduce, topK, stage } = selection;
  const hasLse = selection.lse !== undefined;
  const last = passes.at(-1)!;
  const allRows = last.place + last.rowHeads.length;
  if (topK !== undefined && !reduce && !coversAllKeys(plan)) fillRows(plan, weightRows, allRows, 0);
  for (const pass of passes) writeScoreRows(plan, pass);
  let open = stage === "softmax";
  const { seqLenKv } = sequences[last.sequenceIndex]!;
  // Once at least, since a row over no keys has an entropy too.
  let first = 0;
  do {
    let written = 0;
    for (const pass of passes) {
      const { args } = pass;
      if (args !== written) writeStruct(arena.buffer, args, ATTEND_ARGS, argsOf(plan, pass, first));
      written = args;
    }
    const closes = open && seqLenKv <= kv.maxKeys;
    if (plan.items > 0 && scoreOnThreads(plan, passes, first, closes)) {
      if (closes) open = false;
    } else {
      for (const pass of passes) {
        const [rows, queries] = placesOf(plan, pass, 0);
        const end = endOf(plan, pass, first);
        kernels.scoreRows(pass.args, scratch, rows, queries, pass.rowHeads.length, headDim, first, end, hasLse);
      }
    }
    first += kv.maxKeys;
  } while (first < seqLenKv);
  if (open) {
    for (const pass of passes) {
      const [rows] = placesOf(plan, pass, 0);
      kernels.normalizeRows(pass.args, scratch, rows, pass.rowHeads.length, headDim, hasLse);
    }
  }
  if (reduce || topK === undefined) return;
  const resultRows = passes.flatMap(({ rowHeads }) => rowHeads.map(({ resultRow }) => resultRow));
  takeTopK(plan, resultRows, weightRows);
}

/** Where the ScoreRow and the query of row head n of a pass stand. */
function placesOf({ scoreRows, queries, paddedDim }: Plan, { place }: Pass, n: number): [rows: number, q: number] {
  return [scoreRows + (place + n) * SCORE_ROW_BYTES, queries + (place + n) * paddedDim * 4];
}

/** Where the keys end that can be read together with key `first`. */
function endOf({ sequences, kv }: Plan, { sequenceIndex }: Pass, first: number): number {
  return Math.min(first + kv.maxKeys, sequences[sequenceIndex]!.seqLenKv);
}

/**
 * The scores of some passes from key `first` on, on all threads, and their softmax where that piece `closes` them.
 *
 * @returns false where one thread is as good, or where there is no memory for more: then nothing has been done
 */
function scoreOnThreads(plan: Plan, passes: readonly Pass[], first: number, closes: boolean): boolean {
  const { instance, problem, selection, items: wanted, paddedDim } = plan;
  const { headDim } = problem;
  const hasLse = Number(selection.lse !== undefined);
  const last = passes.at(-1)!;
  const rowsPerItem = (last.place + last.rowHeads.length) / wanted;
  // The kernels take MAX_DECODE_ROWS rows together: where these stay together, the cut shows in no bit.
  const step = Math.ceil(rowsPerItem / MAX_DECODE_ROWS) * MAX_DECODE_ROWS;
  const items: number[][] = [];
  for (const pass of passes) {
    const { args, rowHeads } = pass;
    for (let n = 0; n < rowHeads.length; n += step) {
      const count = Math.min(step, rowHeads.length - n);
      const [rows, queries] = placesOf(plan, pass, n);
      const scoring = [args, -1, rows, queries, count, headDim, first, endOf(plan, pass, first), hasLse];
      items.push([...scoring, args, -1, rows, count, headDim, hasLse]);
    }
  }
  if (items.length < 2) return false;
  const scratchBytes = instance.kernels.scoreRowsBytes(paddedDim);
  const next = closes ? "normalizeRows" : undefined;
  return instance.pool!.run("scoreRows", scratchBytes, items.reverse(), next, SCORE_ARGUMENTS) !== undefined;
}

/** How many arguments `scoreRows` has. */
const SCORE_ARGUMENTS = 9;

/** Adds to the sums of a subset what their additions have lost. */
function addLows({ arena, problem, lows }: Plan, firstSum: number, resultRows: number): void {
  const length = resultRows * problem.rowsKv;
  const sums = floatsAt(arena, firstSum, length);
  const lost = floatsAt(arena, lows, length);
  for (let n = 0; n < length; n++) sums[n]! += lost[n]!;
}

/** Adds the weights of one pass to the sums of their result rows; `firstSum` are those of `firstResultRow`. */
function addToSums(plan: Plan, pass: Pass, firstResultRow: number, firstSum: number): void {
  const { kernels, problem, scoreRows, lows } = plan;
  const { rowHeads, place } = pass;
  const { startKv, seqLenKv } = plan.sequences[pass.sequenceIndex]!;
  for (let start = 0, end = 0; start < rowHeads.length; start = end) {
    const { resultRow } = rowHeads[start]!;
    while (end < rowHeads.length && rowHeads[end]!.resultRow === resultRow) end++;
    const offset = ((resultRow - firstResultRow) * problem.rowsKv + startKv) * 4;
    kernels.sumRows(
      firstSum + offset,
      lows && lows + offset,
      scoreRows + (place + start) * SCORE_ROW_BYTES,
      end - start,
      seqLenKv,
    );
  }
}

/** The arguments of the kernels for one KV head, while the keys from `first` on can be read. */
function argsOf(plan: Plan, pass: Pass, first: number): AttendArgs {
  const { instance, problem, pointers, kv, paddedDim } = plan;
  const { sequenceIndex, kvHead } = pass;
  const sequence = plan.sequences[sequenceIndex]!;
  const args = attendArgsOf(instance, problem, pointers, sequence, sequenceIndex);
  kv.locate(args, sequence, sequenceIndex, first, endOf(plan, pass, first), kvHead);
  const firstHead = kvHead * args.group;
  // Assigned, not spread: a spread of 49 fields takes V8 as long as a small call.
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

/**
 * Writes the topK largest of rows over all keys, and their keys, as rows of the outputs; row n of those at `from` goes
 * to resultRows[n].
 */
function takeTopK({ instance, problem, selection, outputs }: Plan, resultRows: readonly number[], from: number): void {
  const { kernels, pool } = instance;
  const { rowsKv } = problem;
  const topK = selection.topK!;
  const isLarge = pool?.itemsFor(2 * WORK_OF_FLOAT * rowsKv * resultRows.length);
  const items: number[][] = [];
  resultRows.forEach((resultRow, n) => {
    const weights = outputs.weights + resultRow * topK * 4;
    const indices = outputs.indices + resultRow * topK * 4;
    const row = from + n * rowsKv * 4;
    if (isLarge) items.push([weights, indices, row, rowsKv, topK]);
    else kernels.topOfRow(weights, indices, row, rowsKv, topK);
  });
  while (items.length > 0) pool!.run("topOfRow", 0, items.splice(0, MAX_ITEMS));
}
