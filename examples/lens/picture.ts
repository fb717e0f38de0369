// A heat map's cells: where they stand, what they weigh, and the way from one to the next.
import type { HeadWeights } from "./reading.ts";

/** Columns before those of the passage: the sink, the keys before the passage, and a gap. */
export const [SUNK, EARLIER, LEAD] = [-3, -2, 3];

/** What the map shows. */
export interface Picture {
  head: number;
  view: HeadWeights;
  labels: string[];
}

/** A cell: a row of the passage, and a key of it, SUNK or EARLIER. */
export interface Cell {
  row: number;
  key: number;
}

export function weightOf({ view, labels }: Picture, { row, key }: Cell): number {
  if (key === SUNK) return view.sunk[row]!;
  if (key === EARLIER) return view.earlier[row]!;
  return view.weights[row * labels.length + key]!;
}

/** The cell that a key of the keyboard leads to from `row` and `key`; `last` is the last row. */
export function walk({ row, key }: Cell, pressed: string, last: number): Cell | undefined {
  // Right of EARLIER comes the first key of the passage, and right of the diagonal nothing.
  const right = key === EARLIER ? 0 : Math.min(key + 1, row);
  const left = key === 0 ? EARLIER : Math.max(key - 1, SUNK);
  const below = Math.min(row + 1, last);
  const above = Math.max(row - 1, 0);
  const moves: Record<string, Cell> = {
    ArrowRight: { row, key: key < row ? right : key },
    ArrowLeft: { row, key: left },
    ArrowDown: { row: below, key },
    ArrowUp: { row: above, key: Math.min(key, above) },
    PageDown: { row: Math.min(row + 10, last), key },
    PageUp: { row: Math.max(row - 10, 0), key: Math.min(key, Math.max(row - 10, 0)) },
    Home: { row, key: SUNK },
    End: { row, key: row },
  };
  return moves[pressed];
}
