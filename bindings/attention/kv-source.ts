import { type AttendArgs, MAX_PIECE_ROWS, PAGE_KEYS } from "../engine/abi.ts";
import type { Arena } from "../memory/arena.ts";
import type { CallScope } from "../memory/call-scope.ts";
import { stridesOf } from "../memory/layout.ts";
import { StagedRows } from "../memory/staged-rows.ts";
import { type Problem, rowsOf, seenKeys } from "./problem.ts";
import type { Sequence } from "./sequences.ts";

/** Where the kernels find the keys [first, end) of sequence s: fields of `Head`, for the first KV head, as if key 0 stood there too. */
export type KeysOf = (
  sequence: Sequence,
  s: number,
  first: number,
  end: number,
  kvHead: number,
) => Pick<
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

/** Where a call finds K and V, and how many keys of a sequence it may ask for at once: whole pages of PAGE_KEYS, or Infinity. */
export interface KeySource {
  atOnce: number;
  keysOf: KeysOf;
}

/** What the keys and values that are copied in at once should take. */
const PIECE_BYTES = 2 ** 19;

/**
 * K and V of `attention`, all KV heads at once. Arrays are copied in, one sequence at a time: whole, or, where few rows look at them, piece
 * by piece, so that a piece is still in the processor's cache when it is read.
 */
export function keysAndValues(arena: Arena, problem: Problem, scope: CallScope): KeySource {
  const { k, v, numKvHeads, headDim, valueDim, layout, rowsKv, sequences } = problem;
  const longest = sequences.reduce((most, sequence) => {
    const [first, end] = seenKeys(problem, sequence);
    return Math.max(most, end - first);
  }, 0);
  const pages = Math.max(1, Math.floor(PIECE_BYTES / (PAGE_KEYS * numKvHeads * (headDim + valueDim) * 4)));
  const inPieces = (k.array ?? v.array) !== undefined && rowsOf(problem) <= MAX_PIECE_ROWS;
  const atOnce = inPieces && pages * PAGE_KEYS < longest ? pages * PAGE_KEYS : Infinity;
  const most = Math.min(atOnce, longest);
  const keys = new StagedRows(scope, k, layout, rowsKv, numKvHeads, headDim, most);
  const values = new StagedRows(scope, v, layout, rowsKv, numKvHeads, valueDim, most);
  const keysOf: KeysOf = ({ batch, startKv }, _, first, end) => {
    keys.take(arena, batch, startKv + first, end - first);
    values.take(arena, batch, startKv + first, end - first);
    return {
      ...CONTIGUOUS,
      k: keys.ptr - first * keys.row,
      v: values.ptr - first * values.row,
      kRowStride: keys.row,
      kHeadStride: keys.head,
      vRowStride: values.row,
      vHeadStride: values.head,
    };
  };
  return { atOnce, keysOf };
}

/** What the keys of `attentionWeights` that are copied in may take. */
const BYTES = 2 ** 18;

/** Rows of f32 in linear memory. */
const CONTIGUOUS = { pages: 0, pageCount: 0, kType: 0, vType: 0, kScales: 0, vScales: 0 };

const NO_VALUES = { ...CONTIGUOUS, v: 0, vRowStride: 0, vHeadStride: 0 };

/** K of `attentionWeights`, one KV head at a time: an array is copied in piece by piece, so that it never stands in linear memory as a whole. */
export function keysOfArray(arena: Arena, problem: Problem, scope: CallScope): KeySource {
  const { k, layout, rowsKv, numKvHeads, headDim } = problem;
  const of = stridesOf(layout, rowsKv, numKvHeads, headDim);
  const placeOf = ({ batch, startKv }: Sequence): number => batch * of.batch + startKv * of.row;
  if (k.array === undefined) {
    const { ptr } = k;
    const keysOf: KeysOf = (sequence) => ({
      ...NO_VALUES,
      k: ptr + placeOf(sequence),
      kRowStride: of.row,
      kHeadStride: of.head,
    });
    return { atOnce: Infinity, keysOf };
  }
  const { array } = k;
  const row = headDim * 4;
  const atOnce = Math.max(1, Math.floor(BYTES / row / PAGE_KEYS)) * PAGE_KEYS;
  const piece = scope.reserve(Math.min(atOnce, rowsKv) * row);
  return {
    atOnce,
    keysOf: (sequence, _, first, end, kvHead) => {
      const to = new Float32Array(arena.buffer, piece, (end - first) * headDim);
      const from = (placeOf(sequence) + kvHead * of.head + first * of.row) / 4;
      if (of.row === row) to.set(array.subarray(from, from + to.length));
      else copyRows(to, array, from, of.row / 4, headDim);
      // As if key 0, and every KV head, stood in the same memory.
      return { ...NO_VALUES, k: piece - first * row, kRowStride: row, kHeadStride: 0 };
    },
  };
}

function copyRows(to: Float32Array, from: Float32Array, at: number, row: number, dim: number): void {
  for (let n = 0; n < to.length; at += row) {
    for (let d = 0; d < dim; d++) to[n++] = from[at + d]!;
  }
}
