// From a weight to a colour: nothing, the head's own colour around a half, and as far from the ground as can be at 1.
import { rgb } from "d3-color";
import { interpolateRgbBasis } from "d3-interpolate";
import { HEAD_COLOURS } from "../read/colours.ts";

export const GROUND = { light: "#eef0f6", dark: "#272c3e" } as const;

export type Theme = keyof typeof GROUND;

/** Colours of a head for weights 0 … 1 in 256 steps, as RGBA bytes. The square root lets small weights show. */
export function ramp(head: number, theme: Theme): Uint8ClampedArray {
  const [red, green, blue] = HEAD_COLOURS[head]!;
  const own = rgb(red, green, blue);
  const full = theme === "light" ? own.darker(1.8) : rgb(255, 250, 235);
  const colour = interpolateRgbBasis([GROUND[theme], own.formatHex(), full.formatHex()]);
  const bytes = new Uint8ClampedArray(4 * 256);
  for (let step = 0; step < 256; step++) {
    const { r, g, b } = rgb(colour(Math.sqrt(step / 255)));
    bytes.set([r, g, b, 255], 4 * step);
  }
  return bytes;
}

/** Copies the colour of a weight to pixel `at` of an image. */
export function colourPixel(image: ImageData, at: number, weight: number, colours: Uint8ClampedArray): void {
  const step = 4 * Math.round(255 * Math.max(0, Math.min(1, weight)));
  for (let channel = 0; channel < 4; channel++) image.data[4 * at + channel] = colours[step + channel]!;
}
