// Attention in steps: the kernel calls of call.ts, but for where they begin and end, which shows in no bit.
//
//     run     query rows of a sequence that go through its keys together: those of one pass of the kernel, or fewer
//     lane    a run and one KV head, or several heads where they are little work
//     step    some keys of one lane
//
// Between two steps the query tiles of a lane stay in the memory of its thread, as where keys come in pieces. A step of
// the call is one of the calling thread. Meanwhile the workers go through lanes of their own, and go on while the
// calling thread is given back; a synchronous call on the same instance makes them pause (threads/pool.ts).

import { ATTEND_ARGS, type AttendArgs, PAGE_KEYS } from "../engine/abi.ts";
import type { Instance, Threads } from "../engine/instance.ts";
import { structBytes, writeStruct } from "../engine/kernels.ts";
import {
  type LaneTask,
  type Lanes,
  type StructWords,
  beginLane,
  fillLanes,
  isLaneDone,
  laneBytes,
  lanesAt,
  openLanes,
  placeOf,
  stepLane,
} from "../engine/lanes.ts";
import type { CallScope } from "../memory/call-scope.ts";
import { STEP_WORK, type Share, type Steps, fractionAt, now } from "../steps/steps.ts";
import { type CallPointers, attendArgsOf, withoutPadding } from "./call.ts";
import type { KvSource } from "./kv-source.ts";
import { LEAST_ROWS, LEAST_WORK_ROWS, SPLIT_KEYS, TILE_ROWS, fromQuery } from "./on-threads.ts";
import { type Problem, maxRowsPerKvHead, seenKeys } from "./problem.ts";
import type { Sequence } from "./sequences.ts";
import { mergeParts, setPart, partsBytes, splitsOf } from "./splits.ts";

/** More query rows than a pass has. */
const MANY_ROWS = 2 ** 20;
/** Lanes of which the threads know at a time, at most. */
const MANY_LANES = 256;
/** A worker that makes no step for so long, or for 20 times the caller's longest, is taken for dead. */
const PATIENCE_MS = 2000;
/** After so long without any worker in a step, the calling thread does what they have left. */
const REST_MS = 50;

const [fromKey, toKey, tiles] = (["fromKey", "toKey", "tiles"] as const).map((name) =>
  ATTEND_ARGS.fields.indexOf(name),
) as [number, number, number];
const STRUCT_WORDS: StructWords = { count: ATTEND_ARGS.fields.length, fromKey, toKey, tiles };

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
  /** The most pages of a step; 0 where all keys are one. */
  readonly stepPages: number;
  /** Multiply-adds for each KV head. */
  readonly work: number;
  /** Where the keys are split: the splits, which of them this is, and where their parts stand. */
  readonly split: readonly [splits: readonly number[], n: number, parts: number] | undefined;
}

/** A run and the KV heads [firstHead, endHead). */
interface Lane {
  readonly run: Run;
  readonly firstHead: number;
  readonly endHead: number;
  /** Multiply-adds. */
  readonly work: number;
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
  const { arena, kernels } = instance;
  const runs = runsOf(instance, problem, pointers.parts);
  const total = runs.reduce((sum, { work }) => sum + work * problem.numKvHeads, 0);
  const most = Math.min(MANY_LANES, runs.length * problem.numKvHeads);
  const structs = scope.reserve(most * structBytes(ATTEND_ARGS));
  const slots = slotsOf(instance, problem, pointers, scope, (instance.pool?.itemsFor(total) ?? 0) > 0);
  const address = scope.reserve(laneBytes(slots.length, most));
  const lanesNow = (): Lanes => lanesAt(arena.buffer, address);
  openLanes(lanesNow(), STRUCT_WORDS, slots);
  yield share.from;

  const waiting = lanesOf(runs, problem.numKvHeads);
  const pool = slots.length > 1 ? instance.pool : undefined;
  let done = 0;
  let longest = 0;
  let last = now();
  try {
    for (let lanes = take(waiting, most); lanes.length > 0; lanes = take(waiting, most)) {
      pool?.pause();
      fillLanes(lanesNow(), tasksOf(instance, problem, pointers, kv, lanes, structs));
      for (const end = done + lanes.reduce((sum, { work }) => sum + work, 0); done < end;) {
        pool?.follow(address);
        const start = now();
        const isOwn = stepLane(lanesNow(), kernels, 0);
        const time = now();
        if (isOwn) longest = Math.max(longest, time - start);
        const doneNow = end - leftOf(lanesNow(), lanes, slots.length);
        if (doneNow > done) [done, last] = [doneNow, time];
        else if (pool && !isOwn) awaitWorkers(pool, lanesNow(), lanes.length, time - last, longest);
        if (done < total) yield fractionAt(share, done, total);
      }
    }
  } finally {
    pool?.pause();
  }
  for (const { sequence, sequenceIndex, split } of runs) {
    if (split?.[1] !== 0) continue;
    const args = attendArgsOf(instance, problem, pointers, sequence, sequenceIndex);
    mergeParts(instance, args, split[0].length, split[2]);
  }
  yield share.to;
}

/** Where the threads have their arguments, query tiles and scratch, by their numbers; the caller is 0. */
function slotsOf(
  { kernels, pool }: Instance,
  problem: Problem,
  pointers: CallPointers,
  scope: CallScope,
  isLarge: boolean,
): number[][] {
  const dims = [problem.headDim, problem.valueDim, maxRowsPerKvHead(problem)] as const;
  const slotOf = (scratch?: number): number[] => [
    scope.reserve(structBytes(ATTEND_ARGS)),
    scope.reserve(kernels.pieceTileBytes(...dims)),
    scratch ?? scope.reserve(kernels.scratchBytes(...dims)),
  ];
  const slots: (number[] | undefined)[] = [slotOf(pointers.scratch)];
  const workers = isLarge && pool ? pool.workers : [];
  // Without memory for them the workers take no part.
  const others = scope.attempt(() => workers.map(() => slotOf())) ?? [];
  others.forEach((slot, n) => (slots[workers[n]!] = slot));
  return Array.from(slots, (slot) => slot ?? [0, 0, 0]);
}

/**
 * Waits for lanes that workers are in. `ms` after the last step of anyone it ends workers that hang, or begins a lane
 * again that a worker has left.
 */
function awaitWorkers(pool: Threads, lanes: Lanes, count: number, ms: number, longest: number): void {
  if (pool.rest()) {
    if (ms > Math.max(PATIENCE_MS, 20 * longest)) pool.dispose();
  } else if (ms > REST_MS) {
    let lane = 0;
    while (lane < count && isLaneDone(lanes, lane)) lane++;
    if (lane < count) beginLane(lanes, 0, lane);
  }
}

/** The work of lanes that is left, in multiply-adds. */
function leftOf(lanes: Lanes, all: readonly Lane[], slots: number): number {
  // How far each lane is: that of a worker that died may have been begun again, and then two are in it.
  const reached = new Float64Array(all.length);
  for (let slot = 0; slot < slots; slot++) {
    const { lane, key } = placeOf(lanes, slot);
    if (lane < 0) continue;
    const { first, end } = all[lane]!.run;
    reached[lane] = Math.max(reached[lane]!, (Math.min(key, end) - first) / Math.max(1, end - first));
  }
  // Only the end of a lane is all of it.
  return all.reduce(
    (left, { work }, lane) => left + (isLaneDone(lanes, lane) ? 0 : work * (1 - 0.999 * reached[lane]!)),
    0,
  );
}

/** What the next lanes are to do; their arguments go to `structs`. */
function tasksOf(
  instance: Instance,
  problem: Problem,
  pointers: CallPointers,
  kv: KvSource,
  lanes: readonly Lane[],
  structs: number,
): LaneTask[] {
  const { arena, kernels } = instance;
  let struct = structs - structBytes(ATTEND_ARGS);
  let written: Run | undefined;
  let keys: readonly [number, number] = [0, 0];
  return lanes.map(({ run, firstHead, endHead }) => {
    if (run !== written) {
      written = run;
      struct += structBytes(ATTEND_ARGS);
      const args = argsOf(instance, problem, pointers, kv, run);
      writeStruct(arena.buffer, struct, ATTEND_ARGS, args);
      keys = [args.firstKey, args.seqLenKv];
    }
    const { numKvHeads, headDim, valueDim, numHeads } = problem;
    const passes = kernels.workItems(struct) / numKvHeads;
    const rows = run.count * (numHeads / numKvHeads);
    return {
      struct,
      firstItem: firstHead * passes,
      endItem: endHead * passes,
      startKey: keys[0],
      firstKey: run.first,
      endKey: run.end,
      keys: keys[1],
      // There are query tiles for one head alone.
      stepPages: endHead - firstHead > 1 ? 0 : run.stepPages,
      tileShift: firstHead * kernels.pieceTileBytes(headDim, valueDim, rows),
    };
  });
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
    const { seqLenQ, seqLenKv, queryOffset } = sequence;
    const rows = seqLenQ * group * numKvHeads;
    const wanted = instance.pool?.itemsFor(rows * seqLenKv * (headDim + valueDim)) ?? 0;
    const runRows = wanted > 0 ? Math.min(passRows, Math.max(LEAST_ROWS, rows / wanted)) : passRows;
    // Runs of about equal length: a short one might go through the decode kernel, which has bits of its own.
    const count = Math.min(seqLenQ, Math.ceil(seqLenQ / Math.max(1, Math.floor(runRows / group))));
    const unit = seqLenQ >= 4 * TILE_ROWS * count ? TILE_ROWS : 1;
    const startOf = (n: number): number => (n === count ? seqLenQ : Math.floor((n * seqLenQ) / count / unit) * unit);
    for (let n = 0; n < count; n++) {
      const start = startOf(n);
      const queries = startOf(n + 1) - start;
      const [first, end] = seenKeys(problem, { ...sequence, queryOffset: queryOffset + start, seqLenQ: queries });
      const keyWork = Math.max(LEAST_WORK_ROWS, queries * group) * (headDim + valueDim);
      const pages = Math.max(1, Math.floor(STEP_WORK / keyWork / PAGE_KEYS));
      // More rows than a pass has go through all keys at once: those of a group of more heads than that.
      const stepPages = queries * group > passRows ? 0 : pages;
      const push = (first: number, end: number, split: Run["split"]): void => {
        const work = keyWork * Math.max(1, end - first);
        runs.push({ sequence, sequenceIndex, start, count: queries, first, end, stepPages, work, split });
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

/** The lanes of the runs. */
function* lanesOf(runs: readonly Run[], numKvHeads: number): Generator<Lane, undefined> {
  for (const run of runs) {
    const { first, end, stepPages, work } = run;
    const isLong = stepPages > 0 && end - first > stepPages * PAGE_KEYS;
    const heads = isLong ? 1 : Math.max(1, Math.floor(STEP_WORK / work));
    for (let firstHead = 0; firstHead < numKvHeads; firstHead += heads) {
      const endHead = Math.min(firstHead + heads, numKvHeads);
      yield { run, firstHead, endHead, work: work * (endHead - firstHead) };
    }
  }
}

/** The next `most` of what a generator has, or fewer where it ends. */
function take<T>(from: Iterator<T, undefined>, most: number): T[] {
  const taken: T[] = [];
  while (taken.length < most) {
    const next = from.next();
    if (next.done) break;
    taken.push(next.value);
  }
  return taken;
}

/** The arguments of a run, over all of its keys. */
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
