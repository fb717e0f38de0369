// The weights that the map shows, as a table for other programs.
import type { Picture } from "./picture.ts";

/** Offers a table as a download. */
export function saveCsv(csv: string, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
  link.download = name;
  link.click();
  // The browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A row for each token that looks; RFC 4180. */
export function toCsv({ view, labels }: Picture, start: number): string {
  const size = labels.length;
  const header = ["position", "token", "sink", "before", ...labels];
  const rows = labels.map((label, row) => [
    String(start + row),
    label,
    String(view.sunk[row]),
    String(view.earlier[row]),
    ...Array.from(view.weights.subarray(row * size, (row + 1) * size), String),
  ]);
  return [header, ...rows].map((cells) => `${cells.map(quoteCell).join(",")}\r\n`).join("");
}

function quoteCell(cell: string): string {
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
