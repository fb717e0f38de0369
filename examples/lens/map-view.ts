// The large heat map of one head: a canvas of cells under an SVG of labels, with zoom, a cursor and arrow keys.
import { type D3ZoomEvent, pointer, select, zoom, zoomIdentity, type ZoomTransform } from "d3";
import { type Cell, EARLIER, LEAD, type Picture, SUNK, walk, weightOf } from "./picture.ts";
import { colourPixel, ramp, type Theme } from "./ramp.ts";

/** CSS pixels: from which size of a cell on there is room for labels, and for its weight in digits. */
const [LABEL_CELL, DIGIT_CELL] = [7, 30];
/** The longest label, in characters. */
const LABEL = 10;

export class MapView {
  readonly #root: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #svg: SVGSVGElement;
  readonly #cells = document.createElement("canvas");
  readonly #zoom = zoom<HTMLElement, unknown>();
  readonly #point: (cell: Cell | undefined, isChosen: boolean) => void;
  #picture: Picture | undefined;
  #cursor: Cell = { row: 0, key: 0 };
  #transform: ZoomTransform = zoomIdentity;
  /**
   * Sizes of the cells and of the whole with its labels. Measured once, since measuring makes the page lay itself out.
   */
  #box = { left: 0, top: 0, width: 1, height: 1, right: 1, bottom: 1 };

  /** `point` hears of the cell under the pointer, and of the cell that was clicked or moved to. */
  constructor(root: HTMLElement, point: (cell: Cell | undefined, isChosen: boolean) => void) {
    this.#root = root;
    this.#point = point;
    this.#canvas = select(root).append("canvas").attr("aria-hidden", "true").node()!;
    this.#svg = select(root).append("svg").attr("aria-hidden", "true").node()!;
    for (const layer of ["rows", "columns", "percents", "cursor"]) select(this.#svg).append("g").attr("class", layer);
    select(this.#svg).select(".cursor").append("rect").attr("class", "row");
    select(this.#svg).select(".cursor").append("rect").attr("class", "cell");
    this.#listen();
    new ResizeObserver(() => this.#layOut()).observe(root);
  }

  /** Shows a picture, or nothing. The zoom stays as long as the number of tokens does. */
  show(picture: Picture | undefined, theme: Theme): void {
    const before = this.#picture?.labels.length;
    this.#picture = picture;
    if (picture) {
      const size = picture.labels.length;
      this.#cursor = { row: Math.min(this.#cursor.row, size - 1), key: Math.min(this.#cursor.key, size - 1) };
      this.#paintCells(picture, ramp(picture.head, theme));
    }
    if (picture?.labels.length !== before) {
      this.#layOut();
      this.zoomTo(0);
    } else this.#draw();
  }

  get cursor(): Cell {
    return this.#cursor;
  }

  /** Moves the cursor, and what is zoomed into with it. */
  moveTo(cell: Cell): void {
    this.#cursor = cell;
    const { k } = this.#transform;
    if (k > 1) {
      const [x, y, side] = this.#placeOf(cell);
      const { left, top, width, height } = this.#box;
      const dx = Math.max(left + side - x, 0) || Math.min(left + width - 2 * side - x, 0);
      const dy = Math.max(top + side - y, 0) || Math.min(top + height - 2 * side - y, 0);
      if (dx !== 0 || dy !== 0) this.#zoom.translateBy(select(this.#root), dx / k, dy / k);
    }
    this.#draw();
  }

  /** Zooms by a factor about the cursor; 0 shows all. */
  zoomTo(factor: number): void {
    const root = select(this.#root);
    if (factor === 0) this.#zoom.transform(root, zoomIdentity);
    else {
      const [x, y, side] = this.#placeOf(this.#cursor);
      this.#zoom.scaleBy(root, factor, [x + side / 2, y + side / 2]);
    }
  }

  #listen(): void {
    // A wheel scrolls the page, but with Ctrl or while the map has the focus; one finger does while all is shown.
    this.#zoom.filter((event: MouseEvent | TouchEvent) => {
      if (event.type === "wheel") return event.ctrlKey || document.activeElement === this.#root;
      if ("touches" in event) return event.touches.length > 1 || this.#transform.k > 1;
      return event.button === 0 && event.type !== "dblclick";
    });
    this.#zoom.on("zoom", (event: D3ZoomEvent<HTMLElement, unknown>) => {
      this.#transform = event.transform;
      this.#root.style.touchAction = event.transform.k > 1 ? "none" : "";
      this.#draw();
    });
    select(this.#root)
      .call(this.#zoom)
      .on("pointermove", (event: PointerEvent) => this.#point(this.#cellAt(event), false))
      .on("pointerleave", () => this.#point(undefined, false))
      .on("click", (event: PointerEvent) => this.#choose(this.#cellAt(event)))
      .on("keydown", (event: KeyboardEvent) => this.#press(event));
  }

  #choose(cell: Cell | undefined): void {
    if (!cell) return;
    this.moveTo(cell);
    this.#point(cell, true);
  }

  #press(event: KeyboardEvent): void {
    if (!this.#picture || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = walk(this.#cursor, event.key, this.#picture.labels.length - 1);
    const zooms: Record<string, number> = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, "0": 0 };
    if (to) this.#choose(to);
    else if (zooms[event.key] !== undefined) this.zoomTo(zooms[event.key]!);
    else return;
    event.preventDefault();
  }

  /** One pixel a cell. */
  #paintCells({ view, labels }: Picture, colours: Uint8ClampedArray): void {
    const size = labels.length;
    const columns = size + LEAD;
    [this.#cells.width, this.#cells.height] = [columns, size];
    const image = new ImageData(columns, size);
    for (let row = 0; row < size; row++) {
      const at = row * columns + LEAD;
      colourPixel(image, at + SUNK, view.sunk[row]!, colours);
      colourPixel(image, at + EARLIER, view.earlier[row]!, colours);
      for (let key = 0; key <= row; key++) colourPixel(image, at + key, view.weights[row * size + key]!, colours);
    }
    this.#cells.getContext("2d")!.putImageData(image, 0, 0);
  }

  #layOut(): void {
    const size = this.#picture?.labels.length ?? 1;
    const outer = this.#root.clientWidth;
    const margin = outer < 480 ? 62 : 78;
    const width = Math.max(1, outer - margin);
    const height = (width * size) / (size + LEAD);
    const top = margin - 8;
    this.#box = { left: margin, top, width, height, right: outer, bottom: top + height };
    this.#root.style.height = `${top + height}px`;
    const ratio = devicePixelRatio;
    this.#canvas.width = Math.round(outer * ratio);
    this.#canvas.height = Math.round((top + height) * ratio);
    const corner: [number, number] = [this.#box.left, this.#box.top];
    const end: [number, number] = [corner[0] + width, corner[1] + height];
    this.#zoom
      .extent([corner, end])
      .translateExtent([corner, end])
      .scaleExtent([1, Math.max(1, size / 6)]);
    this.#draw();
  }

  /** Left, top and side of a cell, in CSS pixels of the map. */
  #placeOf({ row, key }: Cell): [number, number, number] {
    const { left, top, width } = this.#box;
    const side = width / ((this.#picture?.labels.length ?? 1) + LEAD);
    const { k, x, y } = this.#transform;
    return [x + k * (left + (key + LEAD) * side), y + k * (top + row * side), k * side];
  }

  #cellAt(event: PointerEvent): Cell | undefined {
    const [x, y] = pointer(event, this.#root);
    const { left, top } = this.#box;
    if (!this.#picture || x < left || y < top) return undefined;
    const [x0, y0, side] = this.#placeOf({ row: 0, key: 0 });
    const row = Math.floor((y - y0) / side);
    const key = Math.floor((x - x0) / side);
    const size = this.#picture.labels.length;
    if (row < 0 || row >= size || key > row || key < SUNK || key === -1) return undefined;
    return { row, key };
  }

  #draw(): void {
    const context = this.#canvas.getContext("2d")!;
    const ratio = devicePixelRatio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.#box.right, this.#box.bottom);
    const picture = this.#picture;
    select(this.#svg).attr("visibility", picture ? "visible" : "hidden");
    if (!picture) return;
    const { left, top, width, height } = this.#box;
    const size = picture.labels.length;
    const [x, y, side] = this.#placeOf({ row: 0, key: SUNK });
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.imageSmoothingEnabled = false;
    context.drawImage(this.#cells, x, y, (size + LEAD) * side, size * side);
    context.restore();
    this.#drawLabels(picture, side);
    this.#drawCursor(side);
  }

  #drawLabels(picture: Picture, side: number): void {
    const { left, top, width, height } = this.#box;
    const { labels } = picture;
    const keys = Array.from({ length: labels.length + LEAD }, (_, i) => i - LEAD).filter((key) => key !== -1);
    // Where cells are too narrow, the two leading columns still have names: they are all that needs telling apart.
    const columns = keys.filter((key) => {
      const x = this.#placeOf({ row: 0, key })[0] + side / 2;
      return x > left && x < left + width && (side >= LABEL_CELL || key === this.#cursor.key);
    });
    const rows = labels
      .map((_, row) => row)
      .filter((row) => {
        const y = this.#placeOf({ row, key: 0 })[1] + side / 2;
        return y > top && y < top + height && (side >= LABEL_CELL || row === this.#cursor.row);
      });
    const svg = select(this.#svg);
    svg.style("--label", `${side < LABEL_CELL ? 11 : Math.min(11, side + 1)}px`);
    svg
      .select(".columns")
      .selectAll("text")
      .data(columns)
      .join("text")
      .attr(
        "transform",
        (key) => `translate(${this.#placeOf({ row: 0, key })[0] + side / 2 + 3},${top - 5}) rotate(-90)`,
      )
      .attr("class", (key) => (key === this.#cursor.key ? "picked" : null))
      .text((key) => (key === SUNK ? "(sink)" : key === EARLIER ? "(before)" : shorten(labels[key]!)));
    svg
      .select(".rows")
      .selectAll("text")
      .data(rows)
      .join("text")
      .attr("text-anchor", "end")
      .attr("x", left - 6)
      .attr("y", (row) => this.#placeOf({ row, key: 0 })[1] + side / 2 + 4)
      .attr("class", (row) => (row === this.#cursor.row ? "picked" : null))
      .text((row) => shorten(labels[row]!));
    this.#drawPercents(picture, rows, columns, side);
  }

  #drawPercents(picture: Picture, rows: number[], columns: number[], side: number): void {
    const cells = side < DIGIT_CELL ? [] : rows.flatMap((row) => columns.map((key) => ({ row, key })));
    select(this.#svg)
      .select(".percents")
      .selectAll("text")
      .data(cells.filter((cell) => cell.key <= cell.row && weightOf(picture, cell) >= 0.005))
      .join("text")
      .attr("class", "percent")
      .attr("x", (cell) => this.#placeOf(cell)[0] + side / 2)
      .attr("y", (cell) => this.#placeOf(cell)[1] + side / 2 + 4)
      .text((cell) => Math.round(100 * weightOf(picture, cell)));
  }

  #drawCursor(side: number): void {
    const { left, top, width, height } = this.#box;
    const [x, y] = this.#placeOf(this.#cursor);
    const cursor = select(this.#svg).select(".cursor");
    const isIn = x > left - side && y > top - side && x < left + width && y < top + height;
    cursor.attr("visibility", isIn ? null : "hidden");
    const rowLeft = Math.max(left, this.#placeOf({ row: 0, key: SUNK })[0]);
    const rowRight = Math.min(left + width, this.#placeOf({ row: 0, key: this.#cursor.row + 1 })[0]);
    cursor
      .select(".row")
      .attr("x", rowLeft)
      .attr("y", y)
      .attr("width", Math.max(0, rowRight - rowLeft))
      .attr("height", side);
    cursor.select(".cell").attr("x", x).attr("y", y).attr("width", side).attr("height", side);
  }
}

function shorten(label: string): string {
  const visible = label.trim() || label.replaceAll(" ", "␣");
  const chars = Array.from(visible);
  return chars.length > LABEL ? `${chars.slice(0, LABEL - 1).join("")}…` : visible;
}
