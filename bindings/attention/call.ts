import { ATTEND_ARGS, type AttendArgs, PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { writeStruct } from "../engine/kernels.ts";
import { stridesOf } from "../memory/layout.ts";
import { keptLength } from "./broadcast.ts";
import type { KeySource, KeysOf } from "./kv-source.ts";
import { type Problem, seenKeys } from "./problem.ts";
import type { Sequence } from "./sequences.ts";

/** Pointers to everything that a call reads and writes. */
export interface CallPointers {
  args: number;
  scratch: number;
  /** Where K and V come in pieces, the query tiles of every KV head; else 0. */
  tiles: number;
  q: number;
  keepMask: number;
  bias: number;
  alibiSlopes: number;
  sinks: number;
  out: number;
  lse: number;
}

/** One kernel call for each sequence, or for each piece of its keys. */
export function run(instance: Instance, problem: Problem, pointers: CallPointers, source: KeySource): void {
  problem.sequences.forEach((whole, s) => {
    const sequence = withoutPadding(instance, problem, whole);
    if (!attendPieces(instance, problem, pointers, source, sequence, s, false)) {
      attendPieces(instance, problem, pointers, source, sequence, s, true);
    }
  });
}

/** One sequence; false where it must be done once more, carefully. */
function attendPieces(
  instance: Instance,
  problem: Problem,
  pointers: CallPointers,
  { atOnce, keysOf }: KeySource,
  sequence: MaskedSequence,
  s: number,
  careful: boolean,
): boolean {
  const { arena, kernels } = instance;
  const { seqLenKv } = sequence;
  const [first, end] = seenKeys(problem, sequence);
  // The first piece also stands for the keys before the first that a row sees, the last piece for those behind the last.
  for (let fromKey = 0, start = first; ;) {
    const next = start - (start % PAGE_KEYS) + atOnce;
    const toKey = next < end ? next : seqLenKv;
    const keys = keysOf(sequence, s, start, Math.min(next, end), 0);
    const args = attendArgsOf(instance, problem, pointers, sequence, s, keys);
    writeStruct(arena.buffer, pointers.args, ATTEND_ARGS, { ...args, fromKey, toKey, careful: Number(careful) });
    const written = kernels.attend(pointers.args, pointers.scratch, 0, kernels.workItems(pointers.args));
    if (toKey === seqLenKv) return written !== 0;
    fromKey = start = toKey;
  }
}

/** A sequence, and whether keepMask says more of it than how many keys it has. */
export interface MaskedSequence extends Sequence {
  masked: boolean;
}

/** A sequence, shorter where all that keepMask takes away is keys at the end. */
export function withoutPadding({ arena }: Instance, { keepMask }: Problem, sequence: Sequence): MaskedSequence {
  const kept = keepMask && keptLength(keepMask, sequence, arena.buffer);
  return { ...sequence, seqLenKv: kept ?? sequence.seqLenKv, masked: kept === undefined };
}

/** The arguments of the kernels for one sequence. */
export function attendArgsOf(
  { constants, useTile6x2 }: Instance,
  problem: Problem,
  pointers: CallPointers,
  sequence: MaskedSequence,
  s: number,
  keys: ReturnType<KeysOf>,
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
    tiles: pointers.tiles,
    constants,
    numKvHeads,
    group: numHeads / numKvHeads,
    seqLenQ,
    seqLenKv,
    headDim,
    valueDim,
    fromKey: 0,
    toKey: seqLenKv,
    outRowStride: out.row,
    outHeadStride: out.head,
    lseHeadStride: rowsQ * 4,
    qRowStride: q.row,
    qHeadStride: q.head,
    maskRowStride: keepMask?.row ?? 0,
    maskHeadStride: keepMask?.head ?? 0,
    maskKeyStride: keepMask?.key ?? 0,
    biasRowStride: bias?.row ?? 0,
    biasHeadStride: bias?.head ?? 0,
    biasKeyStride: bias?.key ?? 0,
    useTile6x2: Number(useTile6x2),
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
 * scale = queryScale · scoreScale. q is multiplied by ± a power of two, which rounds nothing and keeps q·k from overflowing where
 * scale·q·k does not; the scores by the rest, once, as a plain implementation does.
 */
export function splitScale(scale: number): { queryScale: number; scoreScale: number } {
  const magnitude = Math.abs(Math.fround(scale));
  if (magnitude === 0) return { queryScale: 0, scoreScale: 1 };
  // Far below 1 the product with q would leave the normal floats, above 1 it might overflow.
  const power = magnitude > 1 || magnitude < 2 ** -24 ? 1 : 2 ** Math.floor(Math.log2(magnitude));
  return { queryScale: Math.sign(scale) * power, scoreScale: magnitude / power };
}
