import type { Problem } from "../attention/problem.ts";
import type { Sequence } from "../attention/sequences.ts";
import type { Selection } from "./selection.ts";

/** One selected query row of one selected query head: one row of weights. */
export interface RowHead {
  /** Places in Selection.rows and Selection.heads. */
  readonly row: number;
  readonly head: number;
  /** The row of the result that these weights are, or are added to. */
  readonly resultRow: number;
}

/** Row heads of one sequence and KV head that go through the kernels together. */
export interface Pass {
  readonly sequenceIndex: number;
  readonly kvHead: number;
  readonly rowHeads: readonly RowHead[];
  /** The place of the first of them in the buffers of the plan. */
  readonly place: number;
  /** Address of the AttendArgs, which passes of the same sequence and KV head share. */
  readonly args: number;
}

/** Some of the selected rows and heads, by their places in the selection. */
export interface Subset {
  readonly rows: readonly number[];
  readonly heads: readonly number[];
}

/**
 * The row of the result that a selected row of a selected head goes to: [batch, heads, rows], or without what is summed
 * up.
 */
export function resultRowOf({ rows, heads, reduce }: Selection, batch: number, row: number, head: number): number {
  if (reduce === "mean") return batch * rows.length + row;
  if (reduce === "keySum") return batch * heads.length + head;
  return (batch * heads.length + head) * rows.length + row;
}

/** The places of a subset's heads that read each KV head, in the order of the KV heads that any reads. */
export function headsByKvHead(
  { numHeads, numKvHeads }: Problem,
  selection: Selection,
  subset: Subset,
): [kvHead: number, heads: number[]][] {
  const group = numHeads / numKvHeads;
  return groupBy(subset.heads, (head) => Math.floor(selection.heads[head]! / group)).sort(([a], [b]) => a - b);
}

/** The places of a subset's rows that lie in each packed sequence, in any order of the sequences. */
export function rowsBySequence(
  sequences: readonly Sequence[],
  selection: Selection,
  subset: Subset,
): [sequence: number, rows: number[]][] {
  return groupBy(subset.rows, (row) => {
    // The last sequence that starts at or before the row. Empty ones before it start there too.
    let [low, high] = [0, sequences.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (sequences[middle]!.startQ <= selection.rows[row]!) low = middle;
      else high = middle;
    }
    return low;
  });
}

function groupBy(places: readonly number[], keyOf: (place: number) => number): [number, number[]][] {
  const groups = new Map<number, number[]>();
  for (const place of places) {
    const key = keyOf(place);
    const group = groups.get(key);
    if (group) group.push(place);
    else groups.set(key, [place]);
  }
  return [...groups];
}

/**
 * The row heads of some rows and heads of one sequence and one KV head. Those of one result row follow each other, so
 * that they can be added up together.
 */
export function rowHeadsOf(selection: Selection, batch: number, { rows, heads }: Subset): RowHead[] {
  const rowHead = (row: number, head: number) => ({ row, head, resultRow: resultRowOf(selection, batch, row, head) });
  if (selection.reduce === "keySum") return heads.flatMap((head) => rows.map((row) => rowHead(row, head)));
  // The heads of one row see the same keys, and neighbouring rows see much the same.
  return rows.flatMap((row) => heads.map((head) => rowHead(row, head)));
}
