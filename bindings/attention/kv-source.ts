import { type AttendArgs, MAX_PIECE_ROWS, PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { Arena } from "../memory/arena.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { type Strides, stridesOf } from "../memory/layout.ts";
import { type TakeRows, stageRows } from "../memory/staged-rows.ts";
import { bytesOf } from "../memory/float-types.ts";
import { viewAt } from "../memory/tensor.ts";
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

/** Where rows of K and V are copied to, at most `maxKeys` at a time. */
interface KvStage {
  maxKeys: number;
  takeKeys: TakeRows;
  takeValues: TakeRows;
}

/** Bytes of K and V that are copied in together: they should stay in the second-level cache until they are read. */
const KV_PIECE_BYTES = 2 ** 19;

/**
 * From this many query rows of a KV head on, threads share the KV heads: then K and V of a sequence are copied in whole,
 * up to so many bytes. With fewer rows the copy takes longer than what is computed.
 */
const SHARED_ROWS = 32;
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
  // A call in steps keeps all rows until it ends.
  const k = scope.inSteps ? { ptr: scope.input(kv.k), length: kv.k.length, type: kv.k.type } : kv.k;
  const v = scope.inSteps ? { ptr: scope.input(kv.v), length: kv.v.length, type: kv.v.type } : kv.v;
  const longest = sequences.reduce((most, sequence) => {
    const [first, end] = seenKeys(problem, sequence);
    return Math.max(most, end - first);
  }, 0);
  const floats = numKvHeads * (headDim + valueDim);
  const keyBytes = numKvHeads * (headDim * bytesOf(k.type) + valueDim * bytesOf(v.type));
  const pieceKeys = wholePages(KV_PIECE_BYTES, keyBytes);
  const rows = maxRowsPerKvHead(problem);
  const inPieces = (k.array ?? v.array) !== undefined && rows <= MAX_PIECE_ROWS && pieceKeys < longest;
  const stage = (most: number): KvStage => {
    const maxRows = Math.min(most, longest);
    const shapeOf = (dim: number) => ({ layout, rows: rowsKv, heads: numKvHeads, maxRows, dim });
    const takeKeys = stageRows(arena, scope, k, shapeOf(headDim));
    return { maxKeys: most, takeKeys, takeValues: stageRows(arena, scope, v, shapeOf(valueDim)) };
  };
  const isShared =
    inPieces &&
    rows >= SHARED_ROWS &&
    numKvHeads > 1 &&
    longest * keyBytes <= SHARED_BYTES &&
    pool?.itemsFor(rows * longest * floats);
  const whole = isShared ? scope.attempt(() => stage(Infinity)) : undefined;
  const { maxKeys, takeKeys, takeValues } = whole ?? stage(inPieces ? pieceKeys : Infinity);
  return {
    maxKeys,
    locate: (args, { batch, startKv }, _, first, end) => {
      const kRows = takeKeys(batch, startKv + first, end - first);
      const vRows = takeValues(batch, startKv + first, end - first);
      setKeys(args, kRows.ptr - first * kRows.rowStride, kRows.rowStride, kRows.headStride);
      setValues(args, vRows.ptr - first * vRows.rowStride, vRows.rowStride, vRows.headStride);
      args.kType = k.type;
      args.vType = v.type;
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
  const { type } = k;
  const bytes = bytesOf(type);
  const strides = stridesOf(layout, rowsKv, numKvHeads, headDim, bytes);
  if (k.array === undefined) {
    const { ptr } = k;
    return {
      maxKeys: Infinity,
      locate: (args, sequence) => {
        setKeys(args, ptr + sequenceOffset(sequence, strides), strides.row, strides.head);
        args.kType = type;
      },
    };
  }
  const { array } = k;
  const rowBytes = headDim * bytes;
  const pieceOf = (bytes: number) => {
    const maxKeys = wholePages(bytes, rowBytes);
    return { maxKeys, piece: scope.reserve(Math.min(maxKeys, rowsKv) * rowBytes) };
  };
  const { maxKeys, piece } = (shared && scope.attempt(() => pieceOf(K_SHARED_BYTES))) || pieceOf(K_PIECE_BYTES);
  // What the piece holds: neighbouring passes read the same keys.
  let heldFrom = -1;
  let heldLength = 0;
  return {
    maxKeys,
    locate: (args, sequence, _, first, end, kvHead) => {
      const from = (sequenceOffset(sequence, strides) + kvHead * strides.head + first * strides.row) / bytes;
      const length = (end - first) * headDim;
      if (from !== heldFrom || length !== heldLength) {
        const to = viewAt(arena, piece, length, type);
        if (strides.row === rowBytes) to.set(array.subarray(from, from + length));
        else copyRows(to, array, from, strides.row / bytes, headDim);
        heldFrom = from;
        heldLength = length;
      }
      // The piece holds one KV head, so every KV head has the same address.
      setKeys(args, piece - first * rowBytes, rowBytes, 0);
      args.kType = type;
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
function copyRows(
  to: Float32Array | Uint16Array,
  from: Float32Array | Uint16Array,
  start: number,
  rowStride: number,
  dim: number,
): void {
  for (let n = 0; n < to.length; start += rowStride) {
    for (let d = 0; d < dim; d++) to[n++] = from[start + d]!;
  }
}
