// Colour where the terminal has it, and how wide text stands in one.
import { WriteStream } from "node:tty";

export type Rgb = readonly [red: number, green: number, blue: number];

export interface Style {
  fg?: Rgb | undefined;
  bg?: Rgb | undefined;
  bold?: boolean;
  dim?: boolean;
}

/** One colour a head, in their order. */
export const HEAD_COLOURS: readonly Rgb[] = [
  [72, 149, 239],
  [240, 168, 48],
  [46, 196, 120],
  [214, 93, 177],
];

/** Wraps text in the codes of a style; on plain output it is the identity. */
export type Paint = (text: string, style: Style) => string;

/** Bits of colour: 1 is none, 4 the sixteen of old, 8 a cube of 216 and 24 greys, 24 all. */
export type Depth = 1 | 4 | 8 | 24;

/** Bits of colour of an output, by what it is and by NO_COLOR, FORCE_COLOR, COLORTERM and TERM, as Node reads them. */
export function colourDepth(isTerminal: boolean, env: NodeJS.ProcessEnv): Depth {
  const forced = env["FORCE_COLOR"];
  if (!isTerminal && forced === undefined) return 1;
  // FORCE_COLOR beats NO_COLOR in Node, which warns where it finds both.
  const asked = forced === undefined ? env : { ...env, NO_COLOR: undefined, NODE_DISABLE_COLORS: undefined };
  return WriteStream.prototype.getColorDepth(asked) as Depth;
}

export function painter(depth: Depth): Paint {
  if (depth === 1) return (text) => text;
  return (text, style) => {
    const codes: string[] = [];
    if (style.bold) codes.push("1");
    if (style.dim) codes.push("2");
    if (style.fg) codes.push(colourCode(depth, style.fg, 38));
    if (style.bg) codes.push(colourCode(depth, style.bg, 48));
    return codes.length === 0 || text === "" ? text : `\x1b[${codes.join(";")}m${text}\x1b[0m`;
  };
}

/** `plane`: 38 for the foreground, 48 for the background. */
function colourCode(depth: Depth, [red, green, blue]: Rgb, plane: 38 | 48): string {
  if (depth === 24) return `${plane};2;${red};${green};${blue}`;
  if (depth === 8) return `${plane};5;${nearestOf256([red, green, blue])}`;
  // Of the sixteen, the one whose lit channels are those near the strongest.
  const lit = 0.65 * Math.max(red, green, blue);
  return String(plane - 8 + Number(red > lit) + 2 * Number(green > lit) + 4 * Number(blue > lit));
}

const CUBE_LEVELS = [0, 95, 135, 175, 215, 255];

/** The nearest of the 6 × 6 × 6 cube (16 to 231) and the 24 greys 8, 18 … 238 (232 to 255). */
function nearestOf256(colour: Rgb): number {
  const distance = (other: readonly number[]): number => colour.reduce((sum, c, i) => sum + (c - other[i]!) ** 2, 0);
  const steps = colour.map(
    (c) => CUBE_LEVELS.filter((level, i) => c > (level + (CUBE_LEVELS[i + 1] ?? 999)) / 2).length,
  );
  const grey = Math.max(0, Math.min(23, Math.round(((colour[0] + colour[1] + colour[2]) / 3 - 8) / 10)));
  const inCube = steps.map((step) => CUBE_LEVELS[step]!);
  const inGreys = colour.map(() => 8 + 10 * grey);
  return distance(inCube) < distance(inGreys) ? 16 + 36 * steps[0]! + 6 * steps[1]! + steps[2]! : 232 + grey;
}

/** The colour a share t of the way from a to b. */
export function mix(a: Rgb, b: Rgb, t: number): Rgb {
  return [0, 1, 2].map((c) => Math.round(a[c]! + (b[c]! - a[c]!) * t)) as unknown as Rgb;
}

const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}\ufe0f]$/u;
const EMOJI = /^\p{Emoji_Presentation}$/u;
/** East Asian wide and fullwidth, by the blocks of Unicode's EastAsianWidth.txt. */
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{17000}-\u{18aff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]$/u;

/** Columns that a character takes in a terminal: 0, 1 or 2. */
export function charWidth(char: string): number {
  if (ZERO_WIDTH.test(char)) return 0;
  return EMOJI.test(char) || WIDE.test(char) ? 2 : 1;
}

/** Columns that a text takes in a terminal. It must hold no colour codes. */
export function textWidth(text: string): number {
  let width = 0;
  for (const char of text) width += charWidth(char);
  return width;
}

/** The text cut to at most `width` columns, the last an ellipsis where something went. */
export function clip(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  let kept = "";
  let used = 0;
  for (const char of text) {
    used += charWidth(char);
    if (used > width - 1) break;
    kept += char;
  }
  return `${kept}…`;
}

/** The text followed by as many spaces as make it `width` columns. */
export function padTo(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - textWidth(text)));
}

/** Words in lines of at most `width` columns. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && textWidth(line) + 1 + textWidth(word) > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
