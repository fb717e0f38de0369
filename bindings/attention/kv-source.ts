import { type AttendArgs, MAX_PIECE_ROWS, PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { Arena } from "../memory/arena.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { type Strides, stridesOf } from "../memory/layout.ts";
import { StagedRows } from "../memory/staged-rows.ts";
import { type KeysAndValues, type Problem, maxRowsPerKvHead, seenKeys } from "./problem.ts";
import type { Sequence } from "./sequences.ts";

/** The fields of AttendArgs that say where K and V are and how they are stored. */
export type KvArgs = Pick<
  AttendArgs,
  | "k"
  | "v"
  | "kRowStride"
  | "kHeadStride"
  | "vRowStride"
  | "vHeadStride"
  | "pages"
  | "pageCount"
  | "kType"
  | "vType"
  | "kScales"
  | "vScales"
>;

/** Where the kernels read K and V during one call. */
export interface KvSource {
  /** The most keys that one `locate` may ask for: a multiple of PAGE_KEYS, or Infinity. */
  readonly maxKeys: number;
  /**
   * Makes the keys [first, end) of a sequence readable, until the next `locate`. `sequenceIndex` is the place of
   * `sequence` in Problem.sequences. The source of `attention` answers for every KV head, that of `attentionWeights`
   * for `kvHead` alone.
   *
   * @returns the addresses that key 0 of the first KV head has, or would have if it were there
   */
  locate(sequence: Sequence, sequenceIndex: number, first: number, end: number, kvHead: number): KvArgs;
}

/** Rows of f32 in linear memory, without pages. Written out: a spread takes V8 longer than all checks of a small call. */
function contiguous(
  k: number,
  kRowStride: number,
  kHeadStride: number,
  v: number = 0,
  vRowStride: number = 0,
  vHeadStride: number = 0,
): KvArgs {
  return {
    k,
    v,
    kRowStride,
    kHeadStride,
    vRowStride,
    vHeadStride,
    pages: 0,
    pageCount: 0,
    kType: 0,
    vType: 0,
    kScales: 0,
    vScales: 0,
  };
}

/** Where rows of K and V are copied to, at most `maxKeys` at a time. */
interface KvStage {
  maxKeys: number;
  keys: StagedRows;
  values: StagedRows;
}

/** Bytes of K and V that are copied in together: they should stay in the second-level cache until they are read. */
const KV_PIECE_BYTES = 2 ** 19;

/**
 * From this many query rows of a KV head on, threads share the KV heads: then K and V of a sequence are copied in whole,
 * up to so many bytes. With fewer rows the copy takes longer than what is computed.
 */
const SHARED_ROWS = 16;
const SHARED_BYTES = 2 ** 26;

/**
 * The source of `attention` over the caller's k and v, for all KV heads together. Tensors are read in place. Arrays are
 * copied in, one sequence at a time. Where few query rows read them, each key is read once, so they are copied piece by
 * piece, and a piece is still in the processor's cache when it is read.
 */
export function stageKeysAndValues(
  { arena, pool }: Instance,
  scope: CallScope,
  problem: Problem,
  kv: KeysAndValues,
): KvSource {
  const { numKvHeads, headDim, valueDim, layout, rowsKv, sequences } = problem;
  const { k, v } = kv;
  const longest = sequences.reduce((most, sequence) => {
    const [first, end] = seenKeys(problem, sequence);
    return Math.max(most, end - first);
  }, 0);
  const floats = numKvHeads * (headDim + valueDim);
  const pieceKeys = wholePages(KV_PIECE_BYTES, floats * 4);
  const rows = maxRowsPerKvHead(problem);
  const inPieces = (k.array ?? v.array) !== undefined && rows <= MAX_PIECE_ROWS && pieceKeys < longest;
  const stage = (most: number): KvStage => {
    const maxRows = Math.min(most, longest);
    const shapeOf = (dim: number) => ({ layout, rows: rowsKv, heads: numKvHeads, maxRows, dim });
    const keys = new StagedRows(arena, scope, k, shapeOf(headDim));
    return { maxKeys: most, keys, values: new StagedRows(arena, scope, v, shapeOf(valueDim)) };
  };
  const isShared =
    inPieces &&
    rows >= SHARED_ROWS &&
    numKvHeads > 1 &&
    longest * floats * 4 <= SHARED_BYTES &&
    pool?.itemsFor(rows * longest * floats);
  const whole = isShared ? scope.attempt(() => stage(Infinity)) : undefined;
  const { maxKeys, keys, values } = whole ?? stage(inPieces ? pieceKeys : Infinity);
  return {
    maxKeys,
    locate: ({ batch, startKv }, _, first, end) => {
      const kRows = keys.take(batch, startKv + first, end - first);
      const vRows = values.take(batch, startKv + first, end - first);
      const [kPtr, vPtr] = [kRows.ptr - first * kRows.rowStride, vRows.ptr - first * vRows.rowStride];
      return contiguous(kPtr, kRows.rowStride, kRows.headStride, vPtr, vRows.rowStride, vRows.headStride);
    },
  };
}

/** Bytes of K of one KV head that `attentionWeights` copies in together, and where threads share the work on them. */
const K_PIECE_BYTES = 2 ** 18;
const K_SHARED_BYTES = 2 ** 22;

/**
 * The source of `attentionWeights` over the caller's k, for one KV head at a time. A Tensor is read in place. An array
 * is copied in piece by piece, so that linear memory never holds all of it.
 */
export function stageKeys(arena: Arena, scope: CallScope, problem: Problem, k: Floats, shared: boolean): KvSource {
  const { layout, rowsKv, numKvHeads, headDim } = problem;
  const strides = stridesOf(layout, rowsKv, numKvHeads, headDim);
  if (k.array === undefined) {
    const { ptr } = k;
    return {
      maxKeys: Infinity,
      locate: (sequence) => contiguous(ptr + sequenceOffset(sequence, strides), strides.row, strides.head),
    };
  }
  const { array } = k;
  const rowBytes = headDim * 4;
  const pieceOf = (bytes: number) => {
    const maxKeys = wholePages(bytes, rowBytes);
    return { maxKeys, piece: scope.reserve(Math.min(maxKeys, rowsKv) * rowBytes) };
  };
  const { maxKeys, piece } = (shared && scope.attempt(() => pieceOf(K_SHARED_BYTES))) || pieceOf(K_PIECE_BYTES);
  return {
    maxKeys,
    locate: (sequence, _, first, end, kvHead) => {
      const to = new Float32Array(arena.buffer, piece, (end - first) * headDim);
      const from = (sequenceOffset(sequence, strides) + kvHead * strides.head + first * strides.row) / 4;
      if (strides.row === rowBytes) to.set(array.subarray(from, from + to.length));
      else copyRows(to, array, from, strides.row / 4, headDim);
      // The piece holds one KV head, so every KV head has the same address.
      return contiguous(piece - first * rowBytes, rowBytes, 0);
    },
  };
}

/** Keys of `keyBytes` bytes each that fit in `bytes`: whole pages, and at least one. */
function wholePages(bytes: number, keyBytes: number): number {
  return Math.max(1, Math.floor(bytes / (PAGE_KEYS * keyBytes))) * PAGE_KEYS;
}

/** Bytes from the start of k to the first key of a sequence. */
function sequenceOffset({ batch, startKv }: Sequence, strides: Strides): number {
  return batch * strides.batch + startKv * strides.row;
}

/** Fills `to` with rows of `dim` floats that are `rowStride` floats apart in `from`, the first at element `start`. */
function copyRows(to: Float32Array, from: Float32Array, start: number, rowStride: number, dim: number): void {
  for (let n = 0; n < to.length; start += rowStride) {
    for (let d = 0; d < dim; d++) to[n++] = from[start + d]!;
  }
}
