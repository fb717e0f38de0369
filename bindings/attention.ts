import type { AngleTable } from "./angles.ts";
import type { Arena } from "./arena.ts";
import { Frame } from "./frame.ts";
import { HEAD_BYTES, type Head, writeHead } from "./head.ts";
import { type KeySource, type KeysOf, keysAndValues } from "./key-source.ts";
import { keptLength } from "./mask.ts";
import { type Kernels, PAGE_KEYS } from "./module.ts";
import {
  type AttentionOptions,
  type Problem,
  checkKeys,
  checkProblem,
  rowsOf,
  seenKeys,
  stridesOf,
} from "./options.ts";
import { Result, type Written } from "./result.ts";
import type { Sequence } from "./sequences.ts";
import type { Tensor } from "./tensor.ts";

/** What `attention` returns. */
export type AttentionResult<O extends Pick<AttentionOptions, "out" | "lse"> = AttentionOptions> = {
  /** [batch, seqLenQ, numHeads, valueDim] in the layout of the call. */
  out: Written<O["out"]>;
} & (O["lse"] extends true | Float32Array | Tensor
  ? {
      /** Natural logarithm of each softmax denominator, [batch, numHeads, seqLenQ]; packed [numHeads, totalQ]. */
      lse: Written<O["lse"]>;
    }
  : { lse?: Written<O["lse"]> });

/** What the kernels of one instance need besides their arguments. */
export interface Context {
  kernels: Kernels;
  arena: Arena;
  /** The table of constants. */
  constants: number;
  /** Whether the engine keeps the tall tile of assembly/tile.ts in registers. */
  tall: boolean;
  /** What the caches that rotate share. */
  angles: AngleTable[];
}

/** Exact attention over the arrays k and v. */
export function attention(
  context: Context,
  q: unknown,
  k: unknown,
  v: unknown,
  options: AttentionOptions,
): PlainResult {
  const { arena } = context;
  const problem = checkProblem(arena, q, options, (dims) => checkKeys(arena, k, v, dims));
  return solve(context, problem, options, (frame) => keysAndValues(arena, problem, frame));
}

/** `out`, and `lse` where it was asked for. */
export interface PlainResult {
  out: Float32Array | Tensor;
  lse?: Float32Array | Tensor;
}

/** A checked problem: copy in, run, copy out, release. */
export function solve(
  context: Context,
  problem: Problem,
  options: AttentionOptions,
  keysIn: (frame: Frame) => KeySource,
  queriesIn = (frame: Frame) => frame.input(problem.q),
): PlainResult {
  const { arena, kernels } = context;
  const { q, k, v, bias, outLength, lseLength } = problem;
  const out = new Result("out", options.out, "when absent", arena, outLength, OUT_SHAPE);
  const lse = new Result("lse", options.lse, "when true", arena, lseLength, "batch × numHeads × seqLenQ");
  out.checkApartFrom({ q, k, v, bias: bias?.data, lse: lse.place });
  lse.checkApartFrom({ q, k, v, bias: bias?.data });

  const frame = new Frame(arena);
  try {
    const queries = queriesIn(frame);
    const source = keysIn(frame);
    const heads = source.atOnce < Infinity ? problem.numKvHeads : 1;
    const places = {
      head: frame.reserve(HEAD_BYTES),
      scratch: frame.reserve(kernels.scratchBytes(problem.headDim, problem.valueDim, rowsOf(problem), heads)),
      q: queries,
      keepMask: frame.input(problem.keepMask?.data),
      bias: frame.input(bias?.data),
      alibiSlopes: frame.input(problem.alibiSlopes),
      sinks: frame.input(problem.sinks),
      out: out.reserve(frame),
      lse: lse.reserve(frame),
    };
    run(context, problem, places, source);
    const written = out.take()!;
    const writtenLse = lse.take();
    return writtenLse ? { out: written, lse: writtenLse } : { out: written };
  } finally {
    frame.release();
  }
}

const OUT_SHAPE = "batch × seqLenQ × numHeads × valueDim";

/** Pointers to everything that a call reads and writes. */
export interface Places {
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

/** One kernel call for each sequence, or for each piece of its keys. */
function run(context: Context, problem: Problem, places: Places, source: KeySource): void {
  problem.sequences.forEach((whole, s) => {
    const sequence = withoutPadding(context, problem, whole);
    if (!attendPieces(context, problem, places, source, sequence, s, false)) {
      attendPieces(context, problem, places, source, sequence, s, true);
    }
  });
}

/** One sequence; false where it must be done once more, carefully. */
function attendPieces(
  context: Context,
  problem: Problem,
  places: Places,
  { atOnce, keysOf }: KeySource,
  sequence: MaskedSequence,
  s: number,
  careful: boolean,
): boolean {
  const { seqLenKv } = sequence;
  const [first, end] = seenKeys(problem, sequence);
  // Keys before the first that a row sees are none of the kernels' business: the first piece takes them, and the last those behind the last.
  for (let fromKey = 0, start = first; ;) {
    const next = start - (start % PAGE_KEYS) + atOnce;
    const toKey = next < end ? next : seqLenKv;
    const keys = keysOf(sequence, s, start, Math.min(next, end), 0);
    const head = headOf(context, problem, places, sequence, s, keys);
    Object.assign(head, { fromKey, toKey, careful: Number(careful) });
    writeHead(context.arena.buffer, places.head, head);
    const written = context.kernels.attend(places.head);
    if (toKey === seqLenKv) return written !== 0;
    fromKey = start = toKey;
  }
}

/** A sequence, and whether keepMask says more of it than how many keys it has. */
export interface MaskedSequence extends Sequence {
  masked: boolean;
}

/** A sequence, shorter where all that keepMask takes away is keys at the end. */
export function withoutPadding({ arena }: Context, { keepMask }: Problem, sequence: Sequence): MaskedSequence {
  const kept = keepMask && keptLength(keepMask, sequence, arena.buffer);
  return { ...sequence, seqLenKv: kept ?? sequence.seqLenKv, masked: kept === undefined };
}

/** The arguments of the kernels for one sequence. */
export function headOf(
  { constants, tall }: Context,
  problem: Problem,
  places: Places,
  sequence: MaskedSequence,
  s: number,
  keys: ReturnType<KeysOf>,
): Head {
  const { numHeads, numKvHeads, headDim, valueDim, layout, rowsQ, keepMask, bias } = problem;
  const { batch, startQ, startKv, seqLenQ, seqLenKv, queryOffset, masked } = sequence;
  const q = stridesOf(layout, rowsQ, numHeads, headDim);
  const out = stridesOf(layout, rowsQ, numHeads, valueDim);
  const slopesOfSequence = problem.alibiSlopes && problem.alibiSlopes.length > numHeads ? numHeads * 4 : 0;
  const { queryScale, scoreScale } = splitScale(problem.scale);
  const at = (base: number, of: { batch: number; row: number; key?: number } | undefined): number =>
    base && of ? base + batch * of.batch + startQ * of.row + startKv * (of.key ?? 0) : 0;
  return {
    out: at(places.out, out),
    lse: places.lse && places.lse + (batch * numHeads * rowsQ + startQ) * 4,
    q: at(places.q, q),
    ...keys,
    keepMask: at(masked ? places.keepMask : 0, keepMask),
    bias: at(places.bias, bias),
    alibiSlopes: places.alibiSlopes && places.alibiSlopes + s * slopesOfSequence,
    sinks: places.sinks,
    scratch: places.scratch,
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
