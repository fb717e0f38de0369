// The four heads as small multiples: a heat map each, and the entropy of its rows.
import { scaleLinear } from "d3-scale";
import { select } from "d3-selection";
import { area, line } from "d3-shape";
import { HEADS } from "../read/heads.ts";
import { colourPixel, ramp, type Theme } from "./ramp.ts";
import type { HeadWeights } from "./reading.ts";

/** Units of the entropy chart, which stretches to its place. */
const [WIDTH, HEIGHT] = [100, 36];

export class HeadsView {
  readonly #canvases: HTMLCanvasElement[] = [];
  readonly #entropies: { chart: SVGSVGElement; text: HTMLElement }[] = [];
  readonly #radios: HTMLInputElement[] = [];

  constructor(root: HTMLElement, chosen: number, choose: (head: number) => void) {
    for (const [head, { name, does }] of HEADS.entries()) {
      const label = select(root).append("label").attr("class", "head").style("--own", `var(--head-${head})`);
      const radio = label.append("input").attr("type", "radio").attr("name", "head").attr("value", head);
      radio.property("checked", head === chosen).on("change", () => choose(head));
      label.append("b").text(name);
      label.append("span").attr("class", "does").text(does);
      const canvas = label.append("canvas").attr("aria-hidden", "true");
      const chart = label
        .append("svg")
        .attr("aria-hidden", "true")
        .attr("viewBox", `0 0 ${WIDTH} ${HEIGHT}`)
        .attr("preserveAspectRatio", "none");
      chart.append("path").attr("class", "entropy-area");
      chart.append("path").attr("class", "entropy-line");
      chart.append("line").attr("class", "entropy-base").attr("x2", WIDTH).attr("y1", HEIGHT).attr("y2", HEIGHT);
      this.#radios.push(radio.node()!);
      this.#canvases.push(canvas.node()!);
      this.#entropies.push({ chart: chart.node()!, text: label.append("span").node()! });
    }
  }

  /** Draws one head; without weights it is blank. `keys` is how many keys the last row sees. */
  draw(head: number, view: HeadWeights | undefined, size: number, keys: number, theme: Theme): void {
    drawTriangle(this.#canvases[head]!, view?.weights, size, ramp(head, theme));
    const { chart, text } = this.#entropies[head]!;
    const entropy = Array.from(view?.entropy ?? []);
    const x = scaleLinear([0, Math.max(1, size - 1)], [0, WIDTH]);
    // The entropy of a row that looks at all its keys alike: the most there can be.
    const y = scaleLinear([0, Math.max(1, Math.log(Math.max(1, keys)))], [HEIGHT, 0]);
    const of = area<number>(
      (_, i) => x(i),
      HEIGHT,
      (value) => y(value),
    );
    const along = line<number>(
      (_, i) => x(i),
      (value) => y(value),
    );
    select(chart).select(".entropy-area").attr("d", of(entropy));
    select(chart).select(".entropy-line").attr("d", along(entropy));
    if (entropy.length === 0) text.textContent = "";
    else {
      const mean = entropy.reduce((sum, value) => sum + value, 0) / entropy.length;
      text.textContent = `entropy ${Math.abs(mean).toFixed(2)} nats: as if ${Math.exp(mean).toFixed(1)} keys`;
    }
  }

  choose(head: number): void {
    this.#radios[head]!.checked = true;
  }
}

/** Weights [size, size] up to the diagonal, a pixel each. */
export function drawTriangle(
  canvas: HTMLCanvasElement,
  weights: Float32Array | undefined,
  size: number,
  colours: Uint8ClampedArray,
): void {
  canvas.width = canvas.height = Math.max(1, size);
  if (!weights || size === 0) return;
  const image = new ImageData(size, size);
  for (let row = 0; row < size; row++) {
    for (let key = 0; key <= row; key++) colourPixel(image, row * size + key, weights[row * size + key]!, colours);
  }
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}
