// The passage with its strongest links drawn above it: a line from the token that looks to the token it looks at.
import type { Rgb } from "./colours.ts";
import { charWidth, clip, textWidth } from "./columns.ts";
import type { Paint, Style } from "./paint.ts";

/** Token `from` looks at token `to`; both count from the start of the passage. */
export interface Link {
  from: number;
  to: number;
  colour: Rgb;
}

interface Cell {
  char: string;
  style: Style;
}

/** Where a token stands: its line, its first column, and the columns of what is visible in it. */
export interface Place {
  line: number;
  column: number;
  label: string;
  visible: number[];
}

/** A link with its two ends on the page, and the lane of the left margin that joins them. */
interface Route {
  link: Link;
  upper: End;
  lower: End;
  lane: number;
}

interface End {
  line: number;
  column: number;
  isTarget: boolean;
}

/** Lines of text, none wider than `width`. */
export function drawLinks(labels: string[], links: Link[], styles: Style[], width: number, paint: Paint): string[] {
  const margin = links.length + 3;
  const places = layOut(labels, margin, width);
  const routes = route(places, links);
  const lines = (places.at(-1)?.line ?? 0) + 1;

  // Each line of text has above it a row for every link that touches it, then a row of arrow heads.
  const touching = Array.from({ length: lines }, (_, line) => routesTouching(routes, line));
  const textRow: number[] = [];
  let rows = 0;
  for (const here of touching) {
    rows += here.length > 0 ? here.length + 1 : 0;
    textRow.push(rows++);
  }
  const canvas: (Cell | undefined)[][] = Array.from({ length: rows }, () => []);

  for (const r of routes) drawLane(canvas, r, touching, textRow);
  for (const r of routes) drawEnds(canvas, r, touching, textRow);
  places.forEach(({ line, column, label }, i) => {
    const row = canvas[textRow[line]!]!;
    for (const char of label) {
      const columns = charWidth(char);
      if (columns === 0) row[column - 1] = { char: (row[column - 1]?.char ?? "") + char, style: styles[i]! };
      else row[column] = { char, style: styles[i]! };
      if (columns === 2) row[column + 1] = { char: "", style: {} };
      column += columns;
    }
  });
  return canvas.map((row) => print(row, paint));
}

/** The place of each token on lines that begin at column `margin` and end before column `width`. */
export function layOut(labels: string[], margin: number, width: number): Place[] {
  let line = 0;
  let column = margin;
  return labels.map((whole) => {
    const label = clip(whole, width - margin);
    const columns = textWidth(label);
    if (column + columns > width) {
      line++;
      column = margin;
    }
    const place: Place = { line, column, label, visible: [] };
    for (const char of label) {
      if (charWidth(char) > 0 && char !== " ") place.visible.push(column);
      column += charWidth(char);
    }
    if (place.visible.length === 0) place.visible.push(Math.max(place.column, column - 1));
    return place;
  });
}

/**
 * Gives each end of a link a column of its own token, and links between lines a lane each, so that parallel links nest.
 */
function route(places: Place[], links: Link[]): Route[] {
  const taken = new Map<number, number>();
  const end = (token: number, isTarget: boolean): End => {
    const nth = taken.get(token) ?? 0;
    taken.set(token, nth + 1);
    const { line, visible } = places[token]!;
    return { line, column: visible[Math.min(nth * 2, visible.length - 1)]!, isTarget };
  };
  const ordered = [...links].sort((a, b) => b.from - a.from);
  return ordered.map((link, lane) => {
    const [to, from] = [end(link.to, true), end(link.from, false)];
    return { link, upper: to, lower: from, lane: lane + 1 };
  });
}

/** The routes that touch a line, the one with the rightmost end first: it gets the top row, and no two cross. */
function routesTouching(routes: Route[], line: number): Route[] {
  const reach = (r: Route): number =>
    Math.max(...[r.upper, r.lower].filter((end) => end.line === line).map((end) => end.column));
  return routes.filter((r) => r.upper.line === line || r.lower.line === line).sort((a, b) => reach(b) - reach(a));
}

function rowOf(r: Route, line: number, touching: Route[][], textRow: number[]): number {
  const here = touching[line]!;
  return textRow[line]! - here.length - 1 + here.indexOf(r);
}

function drawLane(canvas: (Cell | undefined)[][], r: Route, touching: Route[][], textRow: number[]): void {
  if (r.upper.line === r.lower.line) return;
  const style = { fg: r.link.colour };
  const top = rowOf(r, r.upper.line, touching, textRow);
  const bottom = rowOf(r, r.lower.line, touching, textRow);
  for (let row = top; row <= bottom; row++) {
    canvas[row]![r.lane] = { char: row === top ? "╭" : row === bottom ? "╰" : "│", style };
  }
}

function drawEnds(canvas: (Cell | undefined)[][], r: Route, touching: Route[][], textRow: number[]): void {
  const style = { fg: r.link.colour };
  const sameLine = r.upper.line === r.lower.line;
  const left = sameLine ? Math.min(r.upper.column, r.lower.column) : r.lane;
  for (const end of [r.upper, r.lower]) {
    const row = rowOf(r, end.line, touching, textRow);
    for (let column = left + 1; column < end.column; column++) canvas[row]![column] = { char: "─", style };
    canvas[row]![end.column] = { char: sameLine && end.column === left ? "╭" : "╮", style };
    for (let below = row + 1; below < textRow[end.line]!; below++) canvas[below]![end.column] = { char: "│", style };
    if (end.isTarget) canvas[textRow[end.line]! - 1]![end.column] = { char: "▾", style };
  }
}

function print(row: (Cell | undefined)[], paint: Paint): string {
  let text = "";
  for (let column = 0; column < row.length; column++) {
    const cell = row[column];
    text += cell ? paint(cell.char, cell.style) : " ";
  }
  return text.trimEnd();
}
