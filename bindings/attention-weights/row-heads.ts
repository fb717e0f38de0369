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

/**
 * The row heads of a subset that belong to one sequence and one KV head. Those of one result row follow each other, so
 * that they can be added up together.
 */
export function rowHeadsOf(
  { numHeads, numKvHeads }: Problem,
  selection: Selection,
  { batch, startQ, seqLenQ }: Sequence,
  kvHead: number,
  subset: Subset,
): RowHead[] {
  const group = numHeads / numKvHeads;
  const heads = subset.heads.filter((head) => Math.floor(selection.heads[head]! / group) === kvHead);
  if (heads.length === 0) return [];
  const rows = subset.rows.filter((row) => selection.rows[row]! >= startQ && selection.rows[row]! < startQ + seqLenQ);
  const rowHead = (row: number, head: number) => ({ row, head, resultRow: resultRowOf(selection, batch, row, head) });
  if (selection.reduce === "keySum") return heads.flatMap((head) => rows.map((row) => rowHead(row, head)));
  // The heads of one row see the same keys, and neighbouring rows see much the same.
  return rows.flatMap((row) => heads.map((head) => rowHead(row, head)));
}
