import type { Run } from "./generate.ts";

/** One line on one run. */
export function summary(run: Run, variant: string): string {
  const { dtype, tokens, cacheBytes } = run;
  return `${tokens.length} tokens, ${rate(run)} tokens/s, ${bytes(cacheBytes)} of ${dtype} KV cache, heed ${variant}\n`;
}

/** A table of runs that differ in their cache alone; the first is what the others are compared with. */
export function comparison(title: string, runs: readonly Run[]): string {
  const [first] = runs;
  const rows = runs.map((run) => [run.dtype, rate(run), bytes(run.cacheBytes), agreement(run, first!)]);
  const table = [["cache", "tokens/s", "bytes", `first tokens as ${first!.dtype}`], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const lines = table.map((row) => row.map((cell, column) => cell.padStart(widths[column]!)).join("   "));
  return `${title}\n${lines.join("\n")}\n`;
}

function rate({ tokens, seconds }: Run): string {
  return Math.round(tokens.length / seconds).toLocaleString("en-US");
}

function bytes(count: number): string {
  return `${count.toLocaleString("en-US")} bytes`;
}

/** How many tokens are the same before the first one that differs. */
function agreement({ tokens }: Run, first: Run): string {
  const differs = tokens.findIndex((token, i) => token !== first.tokens[i]);
  return `${differs < 0 ? tokens.length : differs} of ${first.tokens.length}`;
}
