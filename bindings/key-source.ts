import type { Arena } from "./arena.ts";
import type { KeysOf } from "./attention.ts";
import type { Frame } from "./frame.ts";
import { PAGE_KEYS } from "./module.ts";
import { type Problem, stridesOf } from "./options.ts";
import type { Sequence } from "./sequences.ts";

/** Where a call finds the keys [first, end) of a KV head of a sequence, and how many it may ask for. */
export interface KeySource {
  atOnce: number;
  keysOf: (sequence: Sequence, s: number, kvHead: number, first: number, end: number) => ReturnType<KeysOf>;
}

/** What the keys that are copied in may take. */
const BYTES = 2 ** 18;

const NO_VALUES = { v: 0, vRow: 0, vHead: 0, pages: 0, pageCount: 0, kType: 0, vType: 0, kScales: 0, vScales: 0 };

/** An array is copied in piece by piece, so that it never stands in linear memory as a whole. */
export function keysOfArray(arena: Arena, problem: Problem, frame: Frame): KeySource {
  const { k, layout, rowsKv, numKvHeads, headDim } = problem;
  const of = stridesOf(layout, rowsKv, numKvHeads, headDim);
  const placeOf = ({ batch, startKv }: Sequence): number => batch * of.batch + startKv * of.row;
  if (k.array === undefined) {
    const { ptr } = k;
    const keysOf: KeysOf = (sequence) => ({ ...NO_VALUES, k: ptr + placeOf(sequence), kRow: of.row, kHead: of.head });
    return { atOnce: Infinity, keysOf };
  }
  const { array } = k;
  const row = headDim * 4;
  const atOnce = Math.max(1, Math.floor(BYTES / row / PAGE_KEYS)) * PAGE_KEYS;
  const piece = frame.reserve(Math.min(atOnce, rowsKv) * row);
  return {
    atOnce,
    keysOf: (sequence, _, kvHead, first, end) => {
      const to = new Float32Array(arena.buffer, piece, (end - first) * headDim);
      const from = (placeOf(sequence) + kvHead * of.head + first * of.row) / 4;
      if (of.row === row) to.set(array.subarray(from, from + to.length));
      else copyRows(to, array, from, of.row / 4, headDim);
      // As if key 0, and every KV head, stood in the same memory.
      return { ...NO_VALUES, k: piece - first * row, kRow: row, kHead: 0 };
    },
  };
}

function copyRows(to: Float32Array, from: Float32Array, at: number, row: number, dim: number): void {
  for (let n = 0; n < to.length; at += row) {
    for (let d = 0; d < dim; d++) to[n++] = from[at + d]!;
  }
}
