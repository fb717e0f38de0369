import { type AttendArgs, writeAttendArgs } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { PAGE_KEYS } from "../engine/kernels.ts";
import { stridesOf } from "../memory/layout.ts";
import { keptLength } from "./broadcast.ts";
import type { KvArgs, KvSource } from "./kv-source.ts";
import { type Problem, seenKeys } from "./problem.ts";
import type { Sequence } from "./sequences.ts";

/** Addresses of what a call reads and writes, but for K and V. 0 for an option that is absent. */
export interface CallPointers {
  head: number;
  scratch: number;
  q: number;
  keepMask: number;
  bias: number;
  alibiSlopes: number;
  sinks: number;
  out: number;
  lse: number;
}

/** Computes attention: one kernel call for each sequence, or one for each piece of its keys. */
export function run(instance: Instance, problem: Problem, pointers: CallPointers, source: KvSource): void {
  problem.sequences.forEach((whole, s) => {
    const sequence = withoutPadding(instance, problem, whole);
    if (!attendPieces(instance, problem, pointers, source, sequence, s, false)) {
      attendPieces(instance, problem, pointers, source, sequence, s, true);
    }
  });
}

/**
 * Runs the kernel over the keys of one sequence, piece by piece.
 *
 * @returns false where masked values that are not finite spoiled a row: then the sequence must be done once more, with
 * `careful`
 */
function attendPieces(
  instance: Instance,
  problem: Problem,
  pointers: CallPointers,
  source: KvSource,
  sequence: MaskedSequence,
  s: number,
  careful: boolean,
): boolean {
  const { seqLenKv } = sequence;
  const [first, end] = seenKeys(problem, sequence);
  // Only the keys [first, end) are seen by any query, so only they are located. The pieces cover all keys nevertheless:
  // the first piece begins at key 0, the last ends at seqLenKv.
  for (let fromKey = 0, start = first; ;) {
    const next = start - (start % PAGE_KEYS) + source.maxKeys;
    const toKey = next < end ? next : seqLenKv;
    const keys = source.locate(sequence, s, start, Math.min(next, end), 0);
    const head = attendArgsOf(instance, problem, pointers, sequence, s, keys);
    Object.assign(head, { fromKey, toKey, careful: Number(careful) });
    writeAttendArgs(instance.arena.buffer, pointers.head, head);
    const written = instance.kernels.attend(pointers.head);
    if (toKey === seqLenKv) return written !== 0;
    fromKey = start = toKey;
  }
}

/** A sequence for the kernels. */
export interface MaskedSequence extends Sequence {
  /** Whether the kernels must read keepMask; false where there is none, or where seqLenKv says it all. */
  readonly masked: boolean;
}

/** A sequence for the kernels; a shorter one without a mask where keepMask is padding. */
export function withoutPadding({ arena }: Instance, { keepMask }: Problem, sequence: Sequence): MaskedSequence {
  const kept = keepMask && keptLength(keepMask, sequence, arena.buffer);
  return { ...sequence, seqLenKv: kept ?? sequence.seqLenKv, masked: kept === undefined };
}

/** The arguments of the kernels for one sequence. */
export function attendArgsOf(
  { constants, tall }: Instance,
  problem: Problem,
  pointers: CallPointers,
  sequence: MaskedSequence,
  s: number,
  keys: KvArgs,
): AttendArgs {
  const { numHeads, numKvHeads, headDim, valueDim, layout, rowsQ, keepMask, bias } = problem;
  const { batch, startQ, startKv, seqLenQ, seqLenKv, queryOffset, masked } = sequence;
  const q = stridesOf(layout, rowsQ, numHeads, headDim);
  const out = stridesOf(layout, rowsQ, numHeads, valueDim);
  const slopesOfSequence = problem.alibiSlopes && problem.alibiSlopes.length > numHeads ? numHeads * 4 : 0;
  const { queryScale, scoreScale } = splitScale(problem.scale);
  const at = (base: number, of: { batch: number; row: number; key?: number } | undefined): number =>
    base && of ? base + batch * of.batch + startQ * of.row + startKv * (of.key ?? 0) : 0;
  return {
    out: at(pointers.out, out),
    lse: pointers.lse && pointers.lse + (batch * numHeads * rowsQ + startQ) * 4,
    q: at(pointers.q, q),
    ...keys,
    keepMask: at(masked ? pointers.keepMask : 0, keepMask),
    bias: at(pointers.bias, bias),
    alibiSlopes: pointers.alibiSlopes && pointers.alibiSlopes + s * slopesOfSequence,
    sinks: pointers.sinks,
    scratch: pointers.scratch,
    constants,
    numKvHeads,
    group: numHeads / numKvHeads,
    seqLenQ,
    seqLenKv,
    headDim,
    valueDim,
    fromKey: 0,
    toKey: seqLenKv,
    outRow: out.row,
    outHead: out.head,
    lseHead: rowsQ * 4,
    qRow: q.row,
    qHead: q.head,
    maskRow: keepMask?.row ?? 0,
    maskHead: keepMask?.head ?? 0,
    maskKey: keepMask?.key ?? 0,
    biasRow: bias?.row ?? 0,
    biasHead: bias?.head ?? 0,
    biasKey: bias?.key ?? 0,
    tall: Number(tall),
    careful: 0,
    queryOffset,
    left: problem.left,
    right: problem.right,
    queryScale,
    scoreScale,
    softcap: problem.softcap,
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
  const power = magnitude > 1 || magnitude < 2 ** -24 ? 1 : 2 ** Math.floor(Math.log2(magnitude));
  return { queryScale: Math.sign(scale) * power, scoreScale: magnitude / power };
}
