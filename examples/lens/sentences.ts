// What a token looks at, in words.
import { select } from "d3";
import { HEADS, INDUCTION } from "../read/heads.ts";
import { percent, quote } from "../read/phrases.ts";
import type { Top } from "./reading.ts";

/** The induction head's guess of the next token: none where it has seen nothing like this. */
export interface Guess {
  word: string | undefined;
}

/** A head's keys in a row, the sink where it took anything worth a word, and, once it is known, the guess of the induction head. */
export function sayTop(top: Top, head: number, token: number, labels: readonly string[], guess?: Guess): string {
  const seen = top.keys.flatMap((key, nth) => {
    const weight = top.weights[nth]!;
    if (weight < 0.02) return [];
    const where = key === token ? "itself" : `${quote(labels[key]!)} ${token - key} back`;
    return [`${where} ${percent(weight)}`];
  });
  if (top.sunk >= 0.02) seen.push(`the sink ${percent(top.sunk)}`);
  const line = seen.join(", ");
  if (head !== INDUCTION || !guess) return line;
  const { word } = guess;
  if (word === undefined) return `${line}; it has seen nothing like this, and guesses nothing`;
  const next = labels[token + 1];
  const verdict = next === undefined ? "" : next === word ? ": right" : `, and ${quote(next)} comes: wrong`;
  return `${line}; so it guesses ${quote(word)}${verdict}`;
}

/** A line for each head. */
export function listSentences(list: HTMLElement, sentences: string[]): void {
  select(list)
    .selectAll("div")
    .data(sentences)
    .join((enter) => {
      const entry = enter.append("div").style("display", "contents");
      entry.append("dt").text((_, head) => HEADS[head]!.name);
      entry.append("dd");
      return entry;
    })
    .style("--own", (_, head) => `var(--head-${head})`)
    .select("dd")
    .text((sentence) => sentence);
}
