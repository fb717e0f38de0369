import type { Score } from "./score.ts";

/** A table of scores; the first is what the others are compared with. */
export function table(scores: readonly Score[]): string {
  const [full] = scores;
  const head = ["policy", "tokens", "bytes", "nats a token", "perplexity", "worse by"];
  const rows = scores.map(({ policy, budget, bytes, loss }) => [
    policy.name,
    budget === undefined ? "all" : String(budget),
    bytes.toLocaleString("en-US"),
    loss.toFixed(4),
    Math.exp(loss).toFixed(3),
    budget === undefined ? "" : `${((Math.exp(loss - full!.loss) - 1) * 100).toFixed(1)} %`,
  ]);
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const lines = all.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("   ")
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}
