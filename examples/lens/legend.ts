// What the colours of the map mean.
import { select } from "d3-selection";
import { colourPixel, ramp, type Theme } from "./ramp.ts";

export function drawLegend(root: HTMLElement, head: number, theme: Theme): void {
  select(root)
    .selectAll("span, canvas")
    .data(["0 %", "", "100 %"])
    .join((enter) => enter.append((text) => document.createElement(text === "" ? "canvas" : "span")))
    .filter((text) => text !== "")
    .text((text) => text);
  const canvas = root.querySelector("canvas")!;
  [canvas.width, canvas.height] = [256, 1];
  const image = new ImageData(256, 1);
  const colours = ramp(head, theme);
  for (let x = 0; x < 256; x++) colourPixel(image, x, x / 255, colours);
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}
