// The page that `npm start` prints, section by section.
import { HEAD_COLOURS, type Rgb } from "./colours.ts";
import { clip, wrap } from "./columns.ts";
import { type Attended, bestWindow, guessedRight, strongestLooks, tellingTokens, windowWeights } from "./findings.ts";
import { glance, glanceTitle } from "./glance.ts";
import { HEADS, INDUCTION, SAME } from "./heads.ts";
import { drawHeatMap } from "./heatmap.ts";
import { drawLinks } from "./links.ts";
import { type Depth, type Paint, painter } from "./paint.ts";
import { count, number } from "./phrases.ts";
import { inOneCall, inWords, overall, type Run, theCall, tokenByToken } from "./words.ts";

export interface Page {
  title: string;
  /** What was left out of the text, if anything. */
  cut: string | undefined;
  /** What the tokens are: "the whole chapter", "the whole text", "all that was read". */
  scope: string;
  text: Attended;
  run: Run;
}

const LINK_COLOURS: readonly Rgb[] = [
  [46, 196, 120],
  [240, 168, 48],
  [92, 160, 255],
  [235, 110, 160],
  [180, 210, 70],
  [170, 130, 250],
];
const INTRODUCTION =
  "Attention lets every token look back: a head scores all tokens up to its own, softmax turns the scores into " +
  "shares of 1, and the output is what stands there, mixed in those shares. Nobody trained these four heads. They " +
  "are built from codes whose products say what to look at, so you can see for yourself whether the answer is " +
  "right. The tokens are those of gpt-tokenizer, encoding o200k_base.";

/** Behind the tokens of the passage, by turns, to show where one ends. */
const TILES: readonly Rgb[] = [
  [36, 39, 54],
  [50, 54, 74],
];
const INK: Rgb = [225, 225, 232];

/** The page: what stands on the first screen, and the rest, each as lines. `columns` is the width of the terminal. */
export function report(page: Page, columns: number, depth: Depth): { first: string[]; rest: string[] } {
  const paint = painter(depth);
  const width = Math.max(40, Math.min(columns, 120)) - 2;
  const { text } = page;
  const size = Math.min(text.tokens.length, mapSize(width));
  const start = bestWindow(text, size);
  const [telling] = tellingTokens(text, start, size);
  const heading = (whole: string): string[] => {
    const title = clip(whole, width - 6);
    const rule = "─".repeat(Math.max(2, width - title.length - 4));
    return ["", `${paint("──", { dim: true })} ${paint(title, { bold: true })} ${paint(rule, { dim: true })}`, ""];
  };
  const first = [
    ...headline(page, width, paint),
    "",
    ...wrap(glanceTitle(text, telling!), width),
    ...glance(text, telling!, width, paint),
  ];
  const rest = [
    ...wrap(INTRODUCTION, width).map((line) => paint(line, { dim: true })),
    ...heading("The text, and what the induction head looks at"),
    ...passage(text, start, size, width, depth),
    ...heading("The four heads on that passage"),
    ...heatMaps(text, start, size, width, depth),
    ...heading("In words"),
    ...inWords(text, start, size, width, paint),
    ...heading(`Over ${page.scope}`),
    ...overall(text, width, paint),
    ...heading("The call"),
    ...theCall(text.tokens.length, page.run, width, paint),
    ...heading("Token by token, as a model writes"),
    ...tokenByToken(text.tokens.length, page.run, width, paint),
  ];
  const indented = (lines: string[]): string[] => lines.map((line) => ` ${line}`.trimEnd());
  return { first: indented(first), rest: indented(rest) };
}

/** Tokens along a side of a heat map such that two stand side by side. */
function mapSize(width: number): number {
  return Math.min(48, Math.floor((width - 3) / 2));
}

/** What was read, and what that took. */
function headline({ title, cut, text, run }: Page, width: number, paint: Paint): string[] {
  const length = text.tokens.length;
  const distinct = new Set(text.tokens).size;
  return [
    "",
    paint("heed", { bold: true, fg: HEAD_COLOURS[INDUCTION] }) +
      paint(" attention at work on a real text", { bold: true }),
    ...wrap(`Reading ${title}: ${count(length, "token")}, ${number(distinct)} distinct`, width),
    ...(cut === undefined ? [] : wrap(cut, width)),
    ...wrap(inOneCall(length, run), width).map((line) => paint(line, { bold: true, fg: HEAD_COLOURS[SAME] })),
  ];
}

function passage(text: Attended, start: number, size: number, width: number, depth: Depth): string[] {
  const paint = painter(depth);
  const links = strongestLooks(text, start, size, LINK_COLOURS.length).map((look, nth) => ({
    ...look,
    colour: LINK_COLOURS[nth]!,
  }));
  const labels = text.labels.slice(start, start + size);
  const styles = labels.map((_, i) => {
    const foretold = start + i > 0 && guessedRight(text, start + i - 1) === true;
    const tile = depth >= 8 ? { fg: INK, bg: TILES[i % 2] } : {};
    return foretold ? { ...tile, fg: HEAD_COLOURS[INDUCTION], bold: true } : tile;
  });
  const from = start > 0 || size < text.tokens.length ? ` Tokens ${start} to ${start + size - 1} are shown.` : "";
  const green = depth > 1 ? " Tokens that it foretold are green." : "";
  const what =
    links.length > 0
      ? "Each line runs from a token to the one it looks at (▾), which followed it the last time: that is the head's " +
        "guess of what comes next."
      : "No token here has an earlier occurrence to learn from, so the head looks at nothing.";
  return [...drawLinks(labels, links, styles, width, paint), "", ...wrap(`${what}${green}${from}`, width)];
}

function heatMaps(text: Attended, start: number, size: number, width: number, depth: Depth): string[] {
  const paint = painter(depth);
  const column = Math.max(mapSize(width), size);
  const maps = HEADS.map((head, h) => {
    const colour = HEAD_COLOURS[h]!;
    const picture = drawHeatMap(windowWeights(text, h, start, size), colour, depth, paint);
    const name = clip(head.name, column);
    const does = clip(head.does, column);
    return [
      paint(name, { bold: true, fg: colour }) + " ".repeat(column - name.length),
      paint(does, { dim: true }) + " ".repeat(column - does.length),
      ...picture.map((line) => line + " ".repeat(column - size)),
    ];
  });
  const lines: string[] = [];
  for (let h = 0; h < maps.length; h += 2) {
    maps[h]!.forEach((line, row) => lines.push(`${line}   ${maps[h + 1]![row]!}`));
    lines.push("");
  }
  const key =
    "Down: the token that looks, two to a line. Across: the token looked at. Brighter is more; each row of a head";
  const how =
    "shares out 1 among all tokens up to its own and the sink. The weights are exp(score − lse), from q, k and the " +
    "lse returned.";
  return [...lines, ...wrap(`${key} ${how}`, width)];
}
