// Colour where the terminal has it.
import { WriteStream } from "node:tty";
import type { Rgb } from "./colours.ts";

export interface Style {
  fg?: Rgb | undefined;
  bg?: Rgb | undefined;
  bold?: boolean;
  dim?: boolean;
}

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
