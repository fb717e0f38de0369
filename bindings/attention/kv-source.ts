import { type AttendArgs, MAX_PIECE_ROWS, PAGE_KEYS } from "../engine/abi.ts";
import { type Arena, floatsAt } from "../memory/arena.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { type Strides, stridesOf } from "../memory/layout.ts";
import { stageRows } from "../memory/staged-rows.ts";
import { type KeysAndValues, type Problem, maxRowsPerKvHead, seenKeys } from "./problem.ts";
import type { Sequence } from "./sequences.ts";

/** Where the kernels read K and V during one call. */
export interface KvSource {
  /** The most keys that one `locate` may ask for: a multiple of PAGE_KEYS, or Infinity. */
  readonly maxKeys: number;
  /**
   * Makes the keys [first, end) of a sequence readable, until the next `locate`. `index` is the place of `sequence`
   * in Problem.sequences. The source of `attention` answers for every KV head, that of `attentionWeights`
   * for `kvHead` alone.
   *
   * @param args gets the addresses that key 0 of the first KV head has, or would have if it were there, with how rows
   * are stored; what it does not get stays 0
   */
  locate(args: AttendArgs, sequence: Sequence, index: number, first: number, end: number, kvHead: number): void;
}

/** Bytes of K and V that are copied in together: they should stay in the second-level cache until they are read. */
const KV_PIECE_BYTES = 2 ** 19;

/**
 * The source of `attention` over the caller's k and v, for all KV heads together. Tensors are read in place. Arrays are
 * copied in, one sequence at a time. Where few query rows read them, each key is read once, so they are copied piece by
 * piece, and a piece is still in the processor's cache when it is read.
 */
export function stageKeysAndValues(arena: Arena, scope: CallScope, problem: Problem, kv: KeysAndValues): KvSource {
  const { numKvHeads, headDim, valueDim, layout, rowsKv, sequences } = problem;
  // A call in steps keeps all rows until it ends.
  const k = scope.inSteps ? { ptr: scope.input(kv.k), length: kv.k.length } : kv.k;
  const v = scope.inSteps ? { ptr: scope.input(kv.v), length: kv.v.length } : kv.v;
  const longest = sequences.reduce((most, sequence) => {
    const [first, end] = seenKeys(problem, sequence);
    return Math.max(most, end - first);
  }, 0);
  const pieceKeys = wholePages(KV_PIECE_BYTES, numKvHeads * (headDim + valueDim) * 4);
  const inPieces = (k.array ?? v.array) !== undefined && maxRowsPerKvHead(problem) <= MAX_PIECE_ROWS;
  const maxKeys = inPieces && pieceKeys < longest ? pieceKeys : Infinity;
  const maxRows = Math.min(maxKeys, longest);
  const shapeOf = (dim: number) => ({ layout, rows: rowsKv, heads: numKvHeads, maxRows, dim });
  const takeKeys = stageRows(arena, scope, k, shapeOf(headDim));
  const takeValues = stageRows(arena, scope, v, shapeOf(valueDim));
  return {
    maxKeys,
    locate: (args, { batch, startKv }, _, first, end) => {
      const kRows = takeKeys(batch, startKv + first, end - first);
      const vRows = takeValues(batch, startKv + first, end - first);
      setKeys(args, kRows.ptr - first * kRows.rowStride, kRows.rowStride, kRows.headStride);
      setValues(args, vRows.ptr - first * vRows.rowStride, vRows.rowStride, vRows.headStride);
    },
  };
}

/** Bytes of K of one KV head that `attentionWeights` copies in together. */
const K_PIECE_BYTES = 2 ** 18;

/**
 * The source of `attentionWeights` over the caller's k, for one KV head at a time. A Tensor is read in place. An array
 * is copied in piece by piece, so that linear memory never holds all of it.
 */
export function stageKeys(arena: Arena, scope: CallScope, problem: Problem, k: Floats): KvSource {
  const { layout, rowsKv, numKvHeads, headDim } = problem;
  const strides = stridesOf(layout, rowsKv, numKvHeads, headDim);
  if (k.array === undefined) {
    const { ptr } = k;
    return {
      maxKeys: Infinity,
      locate: (args, sequence) => setKeys(args, ptr + sequenceOffset(sequence, strides), strides.row, strides.head),
    };
  }
  const { array } = k;
  const rowBytes = headDim * 4;
  const maxKeys = wholePages(K_PIECE_BYTES, rowBytes);
  const piece = scope.reserve(Math.min(maxKeys, rowsKv) * rowBytes);
  return {
    maxKeys,
    locate: (args, sequence, _, first, end, kvHead) => {
      const to = floatsAt(arena, piece, (end - first) * headDim);
      const from = (sequenceOffset(sequence, strides) + kvHead * strides.head + first * strides.row) / 4;
      if (strides.row === rowBytes) to.set(array.subarray(from, from + to.length));
      else copyRows(to, array, from, strides.row / 4, headDim);
      // The piece holds one KV head, so every KV head has the same address.
      setKeys(args, piece - first * rowBytes, rowBytes, 0);
    },
  };
}

/** Says where the keys are: row i of head h at ptr + i·rowStride + h·headStride. */
export function setKeys(args: AttendArgs, ptr: number, rowStride: number, headStride: number): void {
  args.k = ptr;
  args.kRowStride = rowStride;
  args.kHeadStride = headStride;
}

/** The same for the values. */
export function setValues(args: AttendArgs, ptr: number, rowStride: number, headStride: number): void {
  args.v = ptr;
  args.vRowStride = rowStride;
  args.vHeadStride = headStride;
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
