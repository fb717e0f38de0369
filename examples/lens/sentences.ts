// What a token looks at, and what a picture shows, in words.
import { select } from "d3-selection";
import { HEADS, INDUCTION } from "../read/heads.ts";
import { NONE, percent, quote } from "../read/phrases.ts";
import { type Cell, EARLIER, type Picture, SUNK, weightOf } from "./picture.ts";
import type { Top } from "./reading.ts";

/** The induction head's guess of the next token: none where it has seen nothing like this. */
export interface Guess {
  word: string | undefined;
}

/** Per cent whose sign a line of a page does not begin with. */
const share = (weight: number): string => percent(weight).replace(" ", "\u00a0");

/**
 * What one row of a head looks at most, its sink if that took much, and the induction head's guess once it is known.
 */
export function sayTop(top: Top, head: number, token: number, labels: readonly string[], guess?: Guess): string {
  const seen = top.keys.flatMap((key, nth) => {
    const weight = top.weights[nth]!;
    if (weight < 0.02) return [];
    const where = key === token ? "itself" : `${quote(labels[key]!)} ${token - key} back`;
    return [`${where} ${share(weight)}`];
  });
  if (top.sunk >= 0.02) seen.push(`the sink ${share(top.sunk)}`);
  const line = seen.join(", ") || NONE;
  if (head !== INDUCTION || !guess) return line;
  const { word } = guess;
  if (word === undefined) return `${line}; it has seen nothing like this, and guesses nothing`;
  const next = labels[token + 1];
  const verdict = next === undefined ? "" : next === word ? ": right" : `, and ${quote(next)} comes: wrong`;
  return `${line}; so it guesses ${quote(word)}${verdict}`;
}

/** What one cell stands for, in a passage that starts at token `start`. */
export function sayCell(picture: Picture, cell: Cell, start: number): string {
  const { labels } = picture;
  const row = Math.min(cell.row, labels.length - 1);
  const key = Math.min(cell.key, row);
  const named = (token: number) => `${quote(labels[token]!)} (${start + token})`;
  const looked = key === SUNK ? "the sink" : key === EARLIER ? "the tokens before" : named(key);
  return `${named(row)} → ${looked}: ${share(weightOf(picture, { row, key }))}`;
}

/** What the links of a row are, and what goes where none leads. */
export function sayLinks(picture: Picture, row: number): string {
  const [sunk, earlier] = [SUNK, EARLIER].map((key) => weightOf(picture, { row, key })) as [number, number];
  return (
    `Links: what ${quote(picture.labels[row]!)} looks at with the head “${HEADS[picture.head]!.name}”` +
    (earlier >= 0.005 ? `, ${share(earlier)} of it before the passage` : "") +
    `${sunk >= 0.005 ? `; ${share(sunk)} goes to the sink, to nothing` : ""}. ` +
    "Bars: how much each token is looked at. Tokens that the induction head foretold are green and bold."
  );
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
