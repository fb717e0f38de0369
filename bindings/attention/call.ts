import { ATTEND_ARGS, type AttendArgs, PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { writeStruct } from "../engine/kernels.ts";
import { stridesOf } from "../memory/layout.ts";
import { bytesOf } from "../memory/float-types.ts";
import { keptLength } from "./broadcast.ts";
import type { KvSource } from "./kv-source.ts";
import { attendOnThreads } from "./on-threads.ts";
import { type Problem, seenKeys } from "./problem.ts";
import type { Sequence } from "./sequences.ts";
import { attendSplits, mergeParts, setPart, splitsOf } from "./splits.ts";

/** Addresses of what a call reads and writes, but for K and V. 0 for an option that is absent. */
export interface CallPointers {
  /** Room for the AttendArgs of one kernel call. */
  args: number;
  scratch: number;
  /** The query tiles of every KV head, where K and V come in pieces; else 0. */
  tiles: number;
  /** Room for the parts of the sequences that splits.ts splits. */
  parts: number;
  q: number;
  /** The numbers of the types of q and out. */
  qType: number;
  outType: number;
  keepMask: number;
  bias: number;
  alibiSlopes: number;
  sinks: number;
  out: number;
  lse: number;
}

/** Computes attention: one kernel call for each sequence, or one for each split or piece of its keys. */
export function run(instance: Instance, problem: Problem, pointers: CallPointers, kv: KvSource): void {
  problem.sequences.forEach((padded, index) => {
    const sequence = withoutPadding(instance, problem, padded);
    const seen = seenKeys(problem, sequence);
    const splits = splitsOf(problem, sequence);
    const whole = attendArgsOf(instance, problem, pointers, sequence, index);
    if (kv.maxKeys < Infinity) {
      if (!splits) attendPieces(instance, pointers, kv, sequence, index, whole, seen);
      else {
        splits.forEach((_, n) => {
          const args = { ...whole };
          setPart(args, splits, n, pointers.parts);
          attendPieces(instance, pointers, kv, sequence, index, args, seen);
        });
        mergeParts(instance, whole, splits.length, pointers.parts);
      }
      return;
    }
    kv.locate(whole, sequence, index, seen[0], seen[1], 0);
    if (splits) attendSplits(instance, whole, splits, pointers.parts, pointers.scratch);
    else if (!(instance.pool && attendOnThreads(instance, instance.pool, whole))) {
      writeStruct(instance.arena.buffer, pointers.args, ATTEND_ARGS, whole);
      const { kernels } = instance;
      kernels.attend(pointers.args, pointers.scratch, 0, kernels.workItems(pointers.args));
    }
  });
}

/**
 * Runs the kernel over the keys of `args`, piece by piece; once more, with `careful`, where masked values that are not
 * finite spoiled a row. `seen` are the keys of the sequence that some query sees.
 */
function attendPieces(
  { arena, kernels }: Instance,
  pointers: CallPointers,
  kv: KvSource,
  sequence: Sequence,
  index: number,
  args: AttendArgs,
  seen: readonly [number, number],
): void {
  const { firstKey, seqLenKv } = args;
  const first = Math.max(seen[0], firstKey);
  const end = Math.min(seen[1], seqLenKv);
  for (args.careful = 0; args.careful < 2; args.careful++) {
    // No query sees a key outside [first, end), so these keys are not located. Yet the pieces cover them: the first
    // piece begins at firstKey, the last one ends at seqLenKv.
    for (let fromKey = firstKey, start = first; ;) {
      const next = start - (start % PAGE_KEYS) + kv.maxKeys;
      const toKey = next < end ? next : seqLenKv;
      kv.locate(args, sequence, index, start, Math.max(start, Math.min(next, end)), 0);
      args.fromKey = fromKey;
      args.toKey = toKey;
      writeStruct(arena.buffer, pointers.args, ATTEND_ARGS, args);
      const written = kernels.attend(pointers.args, pointers.scratch, 0, kernels.workItems(pointers.args));
      if (toKey === seqLenKv) {
        if (written !== 0) return;
        break;
      }
      fromKey = start = toKey;
    }
  }
}

/** A sequence as the kernels get it: where keepMask is padding, a shorter one without a mask. */
export function withoutPadding({ arena }: Instance, { keepMask }: Problem, sequence: Sequence): Sequence {
  const kept = keepMask && keptLength(keepMask, sequence, arena.buffer);
  return kept === undefined ? sequence : { ...sequence, seqLenKv: kept, masked: false };
}

/** The arguments of the kernels for all keys of one sequence, not careful; KvSource.locate adds those of K and V. */
export function attendArgsOf(
  { constants, useTile6x2 }: Instance,
  problem: Problem,
  pointers: CallPointers,
  sequence: Sequence,
  sequenceIndex: number,
): AttendArgs {
  const { numHeads, numKvHeads, headDim, valueDim, layout, rowsQ, keepMask, bias } = problem;
  const { batch, startQ, startKv, seqLenQ, seqLenKv, queryOffset, masked } = sequence;
  const { qType, outType } = pointers;
  const q = stridesOf(layout, rowsQ, numHeads, headDim, bytesOf(qType));
  const out = stridesOf(layout, rowsQ, numHeads, valueDim, bytesOf(outType));
  const slopesPerSequence = problem.alibiSlopes && problem.alibiSlopes.length > numHeads ? numHeads * 4 : 0;
  const { queryScale, scoreScale } = splitScale(problem.scale);
  // The address of the first query of the sequence, and of its first key, in the array at `ptr`.
  const sequencePtr = (ptr: number, strides: { batch: number; row: number; key?: number } | undefined): number =>
    ptr && strides ? ptr + batch * strides.batch + startQ * strides.row + startKv * (strides.key ?? 0) : 0;
  // In the order of the struct, for writeStruct.
  return {
    out: sequencePtr(pointers.out, out),
    lse: pointers.lse && pointers.lse + (batch * numHeads * rowsQ + startQ) * 4,
    q: sequencePtr(pointers.q, q),
    k: 0,
    v: 0,
    keepMask: sequencePtr(masked ? pointers.keepMask : 0, keepMask),
    bias: sequencePtr(pointers.bias, bias),
    alibiSlopes: pointers.alibiSlopes && pointers.alibiSlopes + sequenceIndex * slopesPerSequence,
    sinks: pointers.sinks,
    pages: 0,
    pageCount: 0,
    kType: 0,
    vType: 0,
    qType,
    outType,
    kScales: 0,
    vScales: 0,
    tiles: pointers.tiles,
    constants,
    numKvHeads,
    group: numHeads / numKvHeads,
    seqLenQ,
    seqLenKv,
    firstKey: 0,
    headDim,
    valueDim,
    fromKey: 0,
    toKey: seqLenKv,
    outRowStride: out.row,
    outHeadStride: out.head,
    lseHeadStride: rowsQ * 4,
    qRowStride: q.row,
    qHeadStride: q.head,
    kRowStride: 0,
    kHeadStride: 0,
    vRowStride: 0,
    vHeadStride: 0,
    maskRowStride: keepMask?.row ?? 0,
    maskHeadStride: keepMask?.head ?? 0,
    maskKeyStride: keepMask?.key ?? 0,
    biasRowStride: bias?.row ?? 0,
    biasHeadStride: bias?.head ?? 0,
    biasKeyStride: bias?.key ?? 0,
    useTile6x2: Number(useTile6x2),
    careful: 0,
    reproducible: Number(problem.reproducible),
    half: Number(problem.half),
    queryOffset,
    left: problem.left,
    right: problem.right,
    queryScale,
    scoreScale,
    softcap: problem.softcap,
    lostSum: NaN,
  };
}

/**
 * Splits the scale into queryScale · scoreScale. q is multiplied by queryScale, ± a power of two: that rounds nothing,
 * and q·k overflows only where scale·q·k does. The scores are multiplied by scoreScale, the rest, which rounds once, as
 * a plain implementation does.
 */
export function splitScale(scale: number): { queryScale: number; scoreScale: number } {
  const magnitude = Math.abs(Math.fround(scale));
  if (magnitude === 0) return { queryScale: 0, scoreScale: 1 };
  // With a larger power, q·queryScale might overflow; with a smaller one, it might become subnormal and lose bits.
  let power = 1;
  if (magnitude >= 2 ** -24) while (power > magnitude) power /= 2;
  return { queryScale: Math.sign(scale) * power, scoreScale: magnitude / power };
}
