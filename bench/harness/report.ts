/** 10⁹ operations a second from operations and milliseconds. */
export function gflops(flops: number, ms: number): number {
  return flops / ms / 1e6;
}

/** Columns as wide as they need to be: the first `texts` and the last to the left, numbers to the right. */
export function formatTable(head: readonly string[], lines: readonly (readonly string[])[], texts = 1): string {
  const all = [head, ...lines];
  const widths = head.map((_, column) => Math.max(...all.map((line) => line[column]!.length)));
  const isText = (column: number): boolean => column < texts || column === head.length - 1;
  return all
    .map((line) =>
      line
        .map((cell, column) => (isText(column) ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Three significant digits, without an exponent. */
export function milliseconds(ms: number): string {
  return ms >= 100 ? ms.toFixed(0) : ms.toPrecision(3);
}

/** One line on the terminal that says what goes on; nothing where the output is a file. */
export function progress(text: string): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(`\r\x1b[2K${text.slice(0, (process.stderr.columns || 80) - 1)}`);
}

/** A ratio that the project promises itself. */
export interface Bar {
  what: string;
  value: number;
  atLeast: number;
}

/** Each ratio beside its bar. */
export function formatBars(bars: readonly Bar[]): string {
  return formatTable(
    ["", "ratio", "bar", ""],
    bars.map(({ what, value, atLeast }) => [what, value.toFixed(2), `≥ ${atLeast}`, value >= atLeast ? "ok" : "below"]),
  );
}

/** The first line of an error, for the table's notes. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0]!.slice(0, 100);
}
