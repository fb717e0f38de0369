// The first screen: a few lines of the text and, under each, what the four heads look at from one token.
import { HEAD_COLOURS } from "./colours.ts";
import { clip, padTo, textWidth } from "./columns.ts";
import { type Attended, guessedRight, lookedAt } from "./findings.ts";
import { HEADS, INDUCTION, weightAt } from "./heads.ts";
import { layOut, type Place } from "./links.ts";
import type { Paint, Style } from "./paint.ts";
import { percent, quote } from "./phrases.ts";

/** A number before each row of bars. */
const MARGIN = 2;
const FEWEST_LINES = 2;
const MOST_LINES = 3;
const BARS = "▁▂▃▄▅▆▇";
/** Weights below this have no bar. */
const FAINTEST = 0.01;

/** The tokens from `first` up to and including `last`, each with its place on lines of at most `width` columns. */
interface Excerpt {
  first: number;
  last: number;
  places: Place[];
}

/** The excerpt, its bars, and a line for each head, for someone who stands on token i. */
export function glance(text: Attended, i: number, width: number, paint: Paint): string[] {
  const excerpt = excerptTo(text, i, width);
  const lines = excerpt.places.at(-1)!.line + 1;
  const drawn = Array.from({ length: lines }, (_, line) => [
    textLine(text, i, excerpt, line, paint),
    ...HEADS.map((_, head) => barLine(text, i, excerpt, line, head, paint)),
  ]);
  return [...drawn.flat(), "", ...HEADS.map((_, head) => headLine(text, i, head, width, paint))];
}

/**
 * As much of the text before token i as fills the lines that reach back to where the induction head looks, and token i
 * + 1.
 */
function excerptTo(text: Attended, i: number, width: number): Excerpt {
  const last = Math.min(i + 1, text.labels.length - 1);
  const from = (first: number): Excerpt => {
    return { first, last, places: layOut(text.labels.slice(first, last + 1), MARGIN, width) };
  };
  const linesFrom = (first: number): number => from(first).places.at(-1)!.line + 1;
  const reach = Math.max(0, i - (lookedAt(text, INDUCTION, i).seen[0]?.back ?? 0) - 1);
  const lines = reach < last - MOST_LINES * width ? FEWEST_LINES : linesFrom(reach);
  const most = lines > MOST_LINES ? FEWEST_LINES : Math.max(FEWEST_LINES, lines);
  let first = last;
  while (first > 0 && linesFrom(first - 1) <= most) first--;
  return from(first);
}

function textLine(text: Attended, i: number, { first, places }: Excerpt, line: number, paint: Paint): string {
  const words = places.map((place, nth) => {
    const token = first + nth;
    const foretold = token === i + 1 && guessedRight(text, i) === true;
    const style: Style = foretold ? { bold: true, fg: HEAD_COLOURS[INDUCTION] } : { bold: token === i };
    return place.line === line ? paint(place.label, style) : "";
  });
  return " ".repeat(MARGIN) + words.join("");
}

function barLine(text: Attended, i: number, excerpt: Excerpt, line: number, head: number, paint: Paint): string {
  const { first, places } = excerpt;
  const number = padTo(String(head + 1), MARGIN);
  let bars = "";
  places.forEach(({ line: its, label, visible }, nth) => {
    if (its !== line) return;
    const weight = first + nth <= i ? weightAt(text.built, text.answer.lse, head, i, first + nth) : 0;
    const lead = visible[0]! - places[nth]!.column;
    const bar = weight < FAINTEST ? " " : BARS[Math.min(BARS.length - 1, Math.floor(Math.sqrt(weight) * BARS.length))]!;
    bars += " ".repeat(lead) + bar.repeat(textWidth(label) - lead);
  });
  return paint(number + bars.trimEnd(), { fg: HEAD_COLOURS[head] });
}

/** A head's number and name, what it does where there is room for that, and what it looks at. */
function headLine(text: Attended, i: number, head: number, width: number, paint: Paint): string {
  const { name, does } = HEADS[head]!;
  const title = padTo(`${head + 1} ${name}`, 18);
  const about = width >= 76 ? padTo(does, 28) : "";
  const looks = sayLooks(text, i, head, width - textWidth(title + about));
  return paint(title, { fg: HEAD_COLOURS[head], bold: true }) + paint(about, { dim: true }) + looks;
}

/** The hardest looks first, as many as stand in `width` columns. */
function sayLooks(text: Attended, i: number, head: number, width: number): string {
  const { seen, sunk } = lookedAt(text, head, i);
  if (sunk > 0.5) return "nothing";
  const right = head === INDUCTION ? guessedRight(text, i) : undefined;
  const verdict = right === undefined ? "" : right ? ": guess right ✓" : ": guess wrong ✗";
  if (seen.length === 0) return `many, none with 2 %${verdict}`;
  const looks = seen.map(({ back, weight }) => `${quote(text.labels[i - back]!)} ${percent(weight)}`);
  const say = (count: number): string =>
    looks.slice(0, count).join(", ") + (count < looks.length ? ", …" : "") + verdict;
  let most = Math.min(3, looks.length);
  while (most > 1 && textWidth(say(most)) > width) most--;
  return clip(say(most), width);
}

/** What the excerpt shows, in a sentence. */
export function glanceTitle(text: Attended, i: number): string {
  return `What four heads look at from ${quote(text.labels[i]!)}, token ${i}; a taller bar is more:`;
}
