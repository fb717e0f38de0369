// Attention in steps: the kernel calls of call.ts, but for where they begin and end, which shows in no bit.
//
//     run     query rows of a sequence that go through its keys together: those of one pass of the kernel
//     lane    a run and one KV head, or several heads where they are little work
//     step    some keys of one lane, or of as many lanes as the threads take
//
// Between two steps the query tiles of a lane stay in the memory of the call, as where keys come in pieces.

import { ATTEND_ARGS, type AttendArgs, PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { structBytes, writeStruct } from "../engine/kernels.ts";
import type { CallScope } from "../memory/call-scope.ts";
import { computeItems, itemsAtOnce } from "../steps/items.ts";
import { STEP_WORK, type Share, type Steps, fractionAt } from "../steps/steps.ts";
import { type CallPointers, attendArgsOf, withoutPadding } from "./call.ts";
import type { KvSource } from "./kv-source.ts";
import { SPLIT_KEYS, TILE_ROWS, fromQuery } from "./on-threads.ts";
import { type Problem, maxRowsPerKvHead, seenKeys } from "./problem.ts";
import type { Sequence } from "./sequences.ts";
import { mergeParts, partsBytes, setPart, splitsOf } from "./splits.ts";

/** Fewer query rows count as these, since reading K and V takes as long. */
const LEAST_ROWS = 4;
/** More query rows than a pass has. */
const MANY_ROWS = 2 ** 20;

/** Some queries of a sequence. */
interface Run {
  readonly sequence: Sequence;
  readonly sequenceIndex: number;
  /** The first query, and how many there are. */
  readonly start: number;
  readonly count: number;
  /** The keys that they see: [first, end). */
  readonly first: number;
  readonly end: number;
  /** The most keys of a step. */
  readonly stepKeys: number;
  /** Multiply-adds for each KV head. */
  readonly work: number;
  /** Where the keys are split: the splits, which of them this is, and where their parts stand. */
  readonly split: readonly [splits: readonly number[], n: number, parts: number] | undefined;
}

/** A run and the KV heads [firstHead, endHead) on their way through the keys. */
class Lane {
  readonly #instance: Instance;
  readonly #run: Run;
  readonly #heads: readonly [number, number];
  /** The arguments of a step, and where they stand. */
  readonly #args: AttendArgs;
  readonly #struct: number;
  /** Whether a step met values that only a call over all keys can keep apart: then that is the last step. */
  #isSpoiled = false;
  /** Whether all keys are done. */
  isDone = false;

  /** `struct` is where the arguments go, `tiles` where the query tiles stay from step to step. */
  constructor(
    instance: Instance,
    run: Run,
    heads: readonly [number, number],
    args: AttendArgs,
    struct: number,
    tiles: number,
  ) {
    this.#instance = instance;
    this.#run = run;
    this.#heads = heads;
    this.#args = args;
    this.#struct = struct;
    const { headDim, valueDim, group } = args;
    // The kernel looks for the tiles of a KV head behind those of the heads before it.
    args.tiles = tiles - heads[0] * instance.kernels.pieceTileBytes(headDim, valueDim, run.count * group);
    args.toKey = args.firstKey;
  }

  /** The next step, as the arguments of `attend`. */
  next(): number[] {
    const { arena, kernels } = this.#instance;
    const { first, end, stepKeys } = this.#run;
    const args = this.#args;
    args.fromKey = this.#isSpoiled ? args.firstKey : args.toKey;
    const start = Math.max(args.fromKey, first);
    const next = start - (start % PAGE_KEYS) + stepKeys;
    args.toKey = this.#isSpoiled || next >= end ? args.seqLenKv : next;
    writeStruct(arena.buffer, this.#struct, ATTEND_ARGS, args);
    const passes = kernels.workItems(this.#struct) / args.numKvHeads;
    return [this.#struct, -1, this.#heads[0] * passes, this.#heads[1] * passes];
  }

  /** Ends the step; `written` is what the kernel returned. */
  end(written: boolean): void {
    const isLast = this.#args.toKey === this.#args.seqLenKv;
    this.isDone = isLast && (written || this.#isSpoiled);
    this.#isSpoiled ||= !written;
  }

  /** The work that is done, in multiply-adds. */
  get done(): number {
    const { first, end, work } = this.#run;
    const heads = this.#heads[1] - this.#heads[0];
    const keys = Math.max(0, Math.min(this.#args.toKey, end) - first);
    return heads * work * (this.isDone ? 1 : keys / Math.max(1, end - first));
  }
}

/** Computes attention in steps, which are the fractions `share` of the call. */
export function* attendInSteps(
  instance: Instance,
  problem: Problem,
  pointers: CallPointers,
  kv: KvSource,
  scope: CallScope,
  share: Share,
): Steps<void> {
  const { kernels } = instance;
  const { headDim, valueDim, numKvHeads } = problem;
  const mostRows = maxRowsPerKvHead(problem);
  const scratchBytes = kernels.scratchBytes(headDim, valueDim, mostRows);
  const width = itemsAtOnce(instance);
  const structs = scope.reserve(width * structBytes(ATTEND_ARGS));
  const tileBytes = kernels.pieceTileBytes(headDim, valueDim, mostRows);
  const tiles = scope.reserve(width * tileBytes);
  const runs = runsOf(instance, problem, pointers.parts);
  const total = runs.reduce((sum, { work }) => sum + work * numKvHeads, 0);
  yield share.from;

  const waiting = lanePlaces(runs, numKvHeads);
  const lanes: (Lane | undefined)[] = new Array<undefined>(width).fill(undefined);
  for (let done = 0; done < total;) {
    for (const [slot, lane] of lanes.entries()) {
      const place = lane ? undefined : waiting.next().value;
      if (!place) continue;
      const [run, ...heads] = place;
      const args = argsOf(instance, problem, pointers, kv, run);
      const struct = structs + slot * structBytes(ATTEND_ARGS);
      lanes[slot] = new Lane(instance, run, heads, args, struct, tiles + slot * tileBytes);
    }
    const active = lanes.filter((lane) => lane !== undefined);
    const written = computeItems(
      instance,
      "attend",
      pointers.scratch,
      scratchBytes,
      active.map((lane) => lane.next()),
    );
    active.forEach((lane, i) => {
      lane.end(written[i] !== 0);
      if (!lane.isDone) return;
      done += lane.done;
      lanes[lanes.indexOf(lane)] = undefined;
    });
    const halfDone = lanes.reduce((sum, lane) => sum + (lane?.done ?? 0), 0);
    if (done < total) yield fractionAt(share, done + halfDone, total);
  }
  for (const { sequence, sequenceIndex, split } of runs) {
    if (split?.[1] !== 0) continue;
    const args = attendArgsOf(instance, problem, pointers, sequence, sequenceIndex);
    mergeParts(instance, args, split[0].length, split[2]);
  }
  yield share.to;
}

/** The runs of a call, in the order of the sequences and their queries. */
function runsOf(instance: Instance, problem: Problem, parts: number): Run[] {
  const { kernels } = instance;
  const { headDim, valueDim, numHeads, numKvHeads } = problem;
  const group = numHeads / numKvHeads;
  const bytesOf = (rows: number) => kernels.pieceTileBytes(headDim, valueDim, rows);
  const passRows = (bytesOf(MANY_ROWS) / bytesOf(1)) * TILE_ROWS;
  const runs: Run[] = [];
  problem.sequences.forEach((padded, sequenceIndex) => {
    const sequence = withoutPadding(instance, problem, padded);
    const { seqLenQ, queryOffset } = sequence;
    // Runs of equal length: a short one might go through the decode kernel, which has bits of its own.
    const count = Math.min(seqLenQ, Math.ceil(seqLenQ / Math.max(1, Math.floor(passRows / group))));
    for (let n = 0; n < count; n++) {
      const start = Math.floor((n * seqLenQ) / count);
      const queries = Math.floor(((n + 1) * seqLenQ) / count) - start;
      const [first, end] = seenKeys(problem, { ...sequence, queryOffset: queryOffset + start, seqLenQ: queries });
      const keyWork = Math.max(LEAST_ROWS, queries * group) * (headDim + valueDim);
      const pages = Math.max(1, Math.floor(STEP_WORK / keyWork / PAGE_KEYS));
      // More rows than a pass has go through all keys at once: those of a group of more heads than that.
      const stepKeys = queries * group > passRows ? Infinity : pages * PAGE_KEYS;
      const push = (first: number, end: number, split: Run["split"]): void => {
        const work = keyWork * Math.max(1, end - first);
        runs.push({ sequence, sequenceIndex, start, count: queries, first, end, stepKeys, work, split });
      };
      // Calls that are split are one run: they have few query rows.
      const splits = splitsOf(problem, sequence);
      if (!splits) push(first, end, undefined);
      splits?.forEach((split, n) => {
        const from = split * SPLIT_KEYS;
        const to = Math.min(end, from + SPLIT_KEYS);
        push(Math.min(to, Math.max(first, from)), to, [splits, n, parts]);
      });
    }
    parts += partsBytes(problem, sequence);
  });
  return runs;
}

/** What the lanes are: a run, and [firstHead, endHead). */
function* lanePlaces(runs: readonly Run[], numKvHeads: number): Generator<[Run, number, number], undefined> {
  for (const run of runs) {
    const { first, end, stepKeys, work } = run;
    const heads = end - first > stepKeys ? 1 : Math.max(1, Math.floor(STEP_WORK / work));
    for (let head = 0; head < numKvHeads; head += heads) yield [run, head, Math.min(head + heads, numKvHeads)];
  }
}

/** The arguments of a run, over all keys. */
function argsOf(
  instance: Instance,
  problem: Problem,
  pointers: CallPointers,
  kv: KvSource,
  { sequence, sequenceIndex, start, count, first, end, split }: Run,
): AttendArgs {
  const whole = attendArgsOf(instance, problem, pointers, sequence, sequenceIndex);
  kv.locate(whole, sequence, sequenceIndex, first, end, 0);
  const args = fromQuery(whole, start, count);
  if (split) setPart(args, ...split);
  return args;
}
