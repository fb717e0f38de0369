// Few query rows over many keys go through them split by split, so that there is something to share out among threads
// where KV heads are few. A split gives out and lse of its own keys, as a part of `merge` does, and the kernel of
// `merge` puts them together, in the order of the keys.
//
// Splits begin at multiples of SPLIT_KEYS. So a row that sees the keys of one split alone has the bits of a call that
// is not split, and the cut depends on sizes and options alone: it is the same on one thread, on several, and in steps.
//
// Memory of a sequence, for n parts:
//
//     AttendArgs [n] │ scratch of the merge │ addresses of out [n], of lse [n] │ merged lse │ out and lse of each part

import { ATTEND_ARGS, type AttendArgs, F32, MAX_DECODE_ROWS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { structBytes, writeStruct } from "../engine/kernels.ts";
import { floatsAt, integersAt } from "../memory/arena.ts";
import { bytesOf } from "../memory/float-types.ts";
import { MAX_ITEMS } from "../threads/control.ts";
import { LEAST_WORK_ROWS, SPLIT_KEYS } from "./on-threads.ts";
import { type Problem, seenKeys } from "./problem.ts";
import type { Sequence } from "./sequences.ts";

/** l of a row in a split that it sees with scores of −Infinity alone: lse becomes −FLT_MAX, and out NaN. */
const LOST_SUM = 2 ** -149;
const LOST_BITS = 1;
const LOWEST = -3.4028234663852886e38;
/** What differs in the arguments of a part, and where these stand. */
const PART_FIELDS = [
  "firstKey",
  "fromKey",
  "seqLenKv",
  "toKey",
  "out",
  "outType",
  "outRowStride",
  "outHeadStride",
  "lse",
  "lseHeadStride",
  "sinks",
] as const;
const placeOf = (field: keyof AttendArgs): number => ATTEND_ARGS.fields.indexOf(field);
const PART_PLACES = PART_FIELDS.map(placeOf);
const LOST_PLACE = placeOf("lostSum");

/**
 * The splits of a sequence that its queries see, by their numbers, and the first one where there are sinks, since it
 * counts them; undefined where the kernels take all keys at once.
 */
export function splitsOf(problem: Problem, sequence: Sequence): number[] | undefined {
  const { headDim, valueDim, numHeads, numKvHeads, reproducible, left, right, sinks } = problem;
  // Only for the calls of assembly/decode, and not where a window shows no more than the keys of a split.
  if (
    sequence.seqLenKv <= SPLIT_KEYS ||
    sequence.seqLenQ * (numHeads / numKvHeads) > MAX_DECODE_ROWS ||
    ((headDim | valueDim) & 7) !== 0 ||
    reproducible ||
    left + right < SPLIT_KEYS
  ) {
    return undefined;
  }
  const [first, end] = seenKeys(problem, sequence);
  const firstSplit = Math.floor(first / SPLIT_KEYS);
  const splits = sinks && firstSplit > 0 ? [0] : [];
  for (let split = firstSplit; split * SPLIT_KEYS < end; split++) splits.push(split);
  return splits.length > 1 ? splits : undefined;
}

/** Bytes that the parts of a sequence take, see {@link attendSplits}; 0 where it is not split. */
export function partsBytes(problem: Problem, sequence: Sequence): number {
  const parts = splitsOf(problem, sequence)?.length ?? 0;
  const rows = sequence.seqLenQ * problem.numHeads;
  return parts && parts * (structBytes(ATTEND_ARGS) + 24 + rows * (problem.valueDim + 1) * 4) + rows * 4;
}

/** PART_FIELDS of part number `n`, where the arguments for all keys are `whole` and partsBytes are at `parts`. */
function partOf(whole: AttendArgs, splits: readonly number[], n: number, parts: number): number[] {
  const { seqLenQ, seqLenKv, numKvHeads, group, valueDim, sinks } = whole;
  const first = splits[n]! * SPLIT_KEYS;
  const end = Math.min(seqLenKv, first + SPLIT_KEYS);
  const out = partAt(whole, splits.length, n, parts);
  const [rowStride, headStride] = partStrides(whole);
  const lse = out + seqLenQ * numKvHeads * group * valueDim * 4;
  return [first, first, end, end, out, F32, rowStride, headStride, lse, seqLenQ * 4, first === 0 ? sinks : 0];
}

/** Whether the rows of the result stand head by head, rather than all heads of a query together. */
function isByHead({ outRowStride, valueDim, outType }: AttendArgs): boolean {
  return outRowStride === valueDim * bytesOf(outType);
}

/** Bytes from row to row and from head to head of a part: rows of f32 that stand as in the result. */
function partStrides(whole: AttendArgs): [row: number, head: number] {
  const { seqLenQ, numKvHeads, group, valueDim } = whole;
  const rowBytes = valueDim * 4;
  return isByHead(whole) ? [rowBytes, seqLenQ * rowBytes] : [numKvHeads * group * rowBytes, rowBytes];
}

/** The arguments for part number `n`: those for all keys, `args`, become them. */
export function setPart(args: AttendArgs, splits: readonly number[], n: number, parts: number): void {
  partOf(args, splits, n, parts).forEach((value, i) => (args[PART_FIELDS[i]!] = value));
  args.lostSum = LOST_SUM;
}

/**
 * Attention of few query rows over all keys, split by split: of one thread, or of all where that pays.
 *
 * @param args the arguments for all keys
 * @param parts partsBytes of memory
 * @param scratch of this thread
 */
export function attendSplits(
  instance: Instance,
  args: AttendArgs,
  splits: readonly number[],
  parts: number,
  scratch: number,
): void {
  const { arena, kernels } = instance;
  const structs = structBytes(ATTEND_ARGS);
  // Only what differs is written anew: a struct takes a microsecond.
  writeStruct(arena.buffer, parts, ATTEND_ARGS, args);
  const words = integersAt(arena, parts, (splits.length * structs) / 4);
  for (let n = 0; n < splits.length; n++) {
    const at = (n * structs) / 4;
    if (n > 0) words.copyWithin(at, 0, structs / 4);
    const values = partOf(args, splits, n, parts);
    for (let i = 0; i < values.length; i++) words[at + PART_PLACES[i]!] = values[i]!;
    words[at + LOST_PLACE] = LOST_BITS;
  }
  if (!attendOnThreads(instance, args, splits.length, parts)) {
    for (let n = 0; n < splits.length; n++) kernels.attend(parts + n * structs, scratch, 0, args.numKvHeads);
  }
  mergeParts(instance, args, splits.length, parts);
}

/** The parts on all threads: an item is some KV heads of one of them. False where nothing has been done. */
function attendOnThreads({ kernels, pool }: Instance, args: AttendArgs, count: number, parts: number): boolean {
  const { seqLenQ, seqLenKv, numKvHeads, group, headDim, valueDim } = args;
  const rows = seqLenQ * group;
  if (!pool?.itemsFor(Math.max(LEAST_WORK_ROWS, rows) * numKvHeads * seqLenKv * (headDim + valueDim))) return false;
  // More than one where the table has no room for each.
  const heads = Math.min(numKvHeads, Math.ceil(numKvHeads / Math.floor(MAX_ITEMS / count)));
  const items: number[][] = [];
  // The first part comes last, and is taken first, as the processor fetches ahead.
  for (let n = count; n-- > 0;) {
    const struct = parts + n * structBytes(ATTEND_ARGS);
    for (let end = numKvHeads; end > 0; end -= heads) items.push([struct, -1, Math.max(0, end - heads), end]);
  }
  const scratchBytes = kernels.scratchBytes(headDim, valueDim, rows);
  while (items.length > 0) if (!pool.run("attend", scratchBytes, items.splice(-MAX_ITEMS))) return false;
  return true;
}

/** Puts the parts together, in the order of the keys: out and lse of `args`. */
export function mergeParts(instance: Instance, args: AttendArgs, count: number, parts: number): void {
  const { arena, kernels } = instance;
  if (args.outType !== F32) {
    // Merged where the first part stands, and rounded from there.
    const from = partAt(args, count, 0, parts);
    const [row, head] = partStrides(args);
    const merged = { ...args, out: from, outType: F32, outRowStride: row, outHeadStride: head };
    mergeParts(instance, merged, count, parts);
    for (let h = 0; h < args.numKvHeads * args.group; h++) {
      const to = args.out + h * args.outHeadStride;
      kernels.storeRows(to, 0, from + h * head, args.seqLenQ, args.valueDim, args.outRowStride, row, args.outType);
    }
    return;
  }
  const { seqLenQ, valueDim, outHeadStride } = args;
  const numHeads = args.numKvHeads * args.group;
  const rows = seqLenQ * numHeads;
  const rowBytes = valueDim * 4;
  const byHead = isByHead(args);
  const scratch = parts + count * structBytes(ATTEND_ARGS);
  const outs = scratch + count * 16;
  const lses = outs + count * 4;
  const isWhole = args.lseHeadStride === seqLenQ * 4 && args.lse !== 0;
  const lse = isWhole ? args.lse : lses + count * 4;
  const outsOf = integersAt(arena, outs, count);
  const lsesOf = integersAt(arena, lses, count);
  // The rows of a head stand apart from those of the next one where sequences are packed.
  const step = byHead && outHeadStride !== seqLenQ * rowBytes ? seqLenQ : rows;
  for (let row = 0; row < rows; row += step) {
    for (let n = 0; n < count; n++) {
      const part = partAt(args, count, n, parts);
      outsOf[n] = part + row * rowBytes;
      lsesOf[n] = part + rows * rowBytes;
    }
    const out = args.out + (row / seqLenQ) * (step < rows ? outHeadStride : 0);
    kernels.mergeRows(out, lse, outs, lses, 0, scratch, count, row, step, numHeads, seqLenQ, valueDim, byHead);
  }
  if (!args.lse) return;
  const merged = floatsAt(arena, lse, rows);
  for (let n = 0; n < rows; n++) {
    const head = Math.floor(n / seqLenQ);
    const query = n % seqLenQ;
    const out = args.out + query * args.outRowStride + head * outHeadStride;
    if (merged[n] === LOWEST && Number.isNaN(floatsAt(arena, out, 1)[0])) merged[n] = NaN;
    if (!isWhole) floatsAt(arena, args.lse + head * args.lseHeadStride, seqLenQ)[query] = merged[n]!;
  }
}

/** Where out of part number n stands; lse follows it. */
function partAt({ seqLenQ, numKvHeads, group, valueDim }: AttendArgs, count: number, n: number, parts: number): number {
  const rows = seqLenQ * numKvHeads * group;
  return parts + count * (structBytes(ATTEND_ARGS) + 24) + rows * 4 + n * rows * (valueDim + 1) * 4;
}
