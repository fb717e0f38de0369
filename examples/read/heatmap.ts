// A triangle of attention weights as a picture of characters.
import { mix, type Rgb } from "./colours.ts";
import type { Depth, Paint } from "./paint.ts";

const NIGHT: Rgb = [22, 24, 36];
const WHITE: Rgb = [255, 250, 235];
const UNSEEN: Rgb = [10, 10, 16];
const SHADES = "·░▒▓█";

/**
 * Weights [row][column], rows that look by columns looked at, as lines of one character a column and one line for two
 * rows. With 256 colours or more a cell is half a character; with fewer, a shade for the larger of the two weights.
 */
export function drawHeatMap(weights: number[][], colour: Rgb, depth: Depth, paint: Paint): string[] {
  const size = weights.length;
  const lines: string[] = [];
  for (let row = 0; row < size; row += 2) {
    let line = "";
    for (let column = 0; column < size; column++) {
      const upper = weights[row]![column];
      const lower = weights[row + 1]?.[column];
      line +=
        depth >= 8
          ? paint("▀", { fg: heat(upper, colour), bg: row + 1 < size ? heat(lower, colour) : undefined })
          : paint(shade(upper, lower), { fg: colour });
    }
    lines.push(line);
  }
  return lines;
}

/** Night for 0, the head's colour around 0.5, white for 1. The square root lets small weights show. */
function heat(weight: number | undefined, colour: Rgb): Rgb {
  if (weight === undefined) return UNSEEN;
  const t = Math.sqrt(Math.min(1, weight));
  return t < 0.7 ? mix(NIGHT, colour, t / 0.7) : mix(colour, WHITE, (t - 0.7) / 0.3);
}

/** A blank where the mask forbids to look. */
function shade(upper: number | undefined, lower: number | undefined): string {
  if (upper === undefined && lower === undefined) return " ";
  const t = Math.sqrt(Math.min(1, Math.max(upper ?? 0, lower ?? 0)));
  return SHADES[Math.min(SHADES.length - 1, Math.round(t * (SHADES.length - 1)))]!;
}
