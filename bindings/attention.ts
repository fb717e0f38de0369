import type { AngleTable } from "./angles.ts";
import type { Arena } from "./arena.ts";
import { Frame } from "./frame.ts";
import { type Head, writeHead } from "./head.ts";
import { keptLength } from "./mask.ts";
import type { Kernels } from "./module.ts";
import { type AttentionOptions, type Problem, checkKeys, checkProblem, stridesOf } from "./options.ts";
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

/** Where a call finds K and V: fields of `Head`, for the first KV head of a sequence. */
export type KeysOf = (
  sequence: Sequence,
  s: number,
) => Pick<
  Head,
  "k" | "v" | "kRow" | "kHead" | "vRow" | "vHead" | "pages" | "pageCount" | "kType" | "vType" | "kScales" | "vScales"
>;

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
  return solve(context, problem, options, (frame) => contiguous(problem, frame));
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
  keysIn: (frame: Frame) => KeysOf,
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
    const places = {
      head: frame.reserve(kernels.headBytes()),
      scratch: frame.reserve(kernels.scratchBytes(problem.headDim, problem.valueDim, rowsOf(problem))),
      q: queriesIn(frame),
      keepMask: frame.input(problem.keepMask?.data),
      bias: frame.input(bias?.data),
      alibiSlopes: frame.input(problem.alibiSlopes),
      sinks: frame.input(problem.sinks),
      out: out.reserve(frame),
      lse: lse.reserve(frame),
    };
    run(context, problem, places, keysIn(frame));
    const written = out.take()!;
    const writtenLse = lse.take();
    return writtenLse ? { out: written, lse: writtenLse } : { out: written };
  } finally {
    frame.release();
  }
}

/** The most query rows that share a KV head in one sequence. */
function rowsOf({ sequences, numHeads, numKvHeads }: Problem): number {
  return sequences.reduce((most, { seqLenQ }) => Math.max(most, seqLenQ), 0) * (numHeads / numKvHeads);
}

const OUT_SHAPE = "batch × seqLenQ × numHeads × valueDim";

/** K and V as arrays of f32, copied into the frame unless they live in linear memory. */
function contiguous(problem: Problem, frame: Frame): KeysOf {
  const { numKvHeads, headDim, valueDim, layout, rowsKv } = problem;
  const k = stridesOf(layout, rowsKv, numKvHeads, headDim);
  const v = stridesOf(layout, rowsKv, numKvHeads, valueDim);
  const kPtr = frame.input(problem.k);
  const vPtr = frame.input(problem.v);
  return ({ batch, startKv }) => ({
    k: kPtr + batch * k.batch + startKv * k.row,
    v: vPtr + batch * v.batch + startKv * v.row,
    kRow: k.row,
    kHead: k.head,
    vRow: v.row,
    vHead: v.head,
    pages: 0,
    pageCount: 0,
    kType: 0,
    vType: 0,
    kScales: 0,
    vScales: 0,
  });
}

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

/** One kernel call for each sequence. */
function run(context: Context, problem: Problem, places: Places, keysOf: KeysOf): void {
  problem.sequences.forEach((whole, s) => {
    const sequence = withoutPadding(context, problem, whole);
    const head = headOf(context, problem, places, sequence, s, keysOf(whole, s));
    writeHead(context.arena.buffer, places.head, head);
    context.kernels.attend(places.head);
  });
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
