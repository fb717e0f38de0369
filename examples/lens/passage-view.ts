// The tokens of the passage: how much each is looked at, under it, and where one of them looks, as links.
import { line, path, curveBumpY, select } from "d3";

/** A token looked at, within the passage, and how hard. */
export interface Link {
  to: number;
  weight: number;
}

/** Links thinner than this are left out, and those beyond so many. */
const [FAINTEST, MOST_LINKS] = [0.02, 16];

export class PassageView {
  readonly #tokens: HTMLElement;
  readonly #links: SVGSVGElement;
  #buttons: HTMLButtonElement[] = [];
  #start = 0;
  #picked = 0;
  #drawn: { from: number; links: Link[] } | undefined;

  /**
   * `pick` is called with a chosen token, `hover` with the one under the pointer, both from the start of the passage.
   */
  constructor(
    tokens: HTMLElement,
    links: SVGSVGElement,
    pick: (token: number) => void,
    hover: (token: number | undefined) => void,
  ) {
    this.#tokens = tokens;
    this.#links = links;
    const tokenOf = (event: Event): number | undefined => {
      const at = this.#buttons.indexOf((event.target as Element).closest("button")!);
      return at < 0 ? undefined : at;
    };
    select(tokens)
      .on("click", (event: Event) => {
        const token = tokenOf(event);
        if (token !== undefined) pick(token);
      })
      .on("pointerover", (event: Event) => hover(tokenOf(event)))
      .on("pointerleave", () => hover(undefined))
      .on("keydown", (event: KeyboardEvent) => {
        const to = this.#target(event.key);
        if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        pick(to);
        this.#buttons[to]!.focus();
      });
    new ResizeObserver(() => this.#drawLinks()).observe(tokens);
  }

  /** Shows tokens; those foretold are the ones that the induction head guessed. */
  show(labels: string[], start: number): void {
    this.#start = start;
    select(this.#tokens)
      .selectAll<HTMLButtonElement, string>("button")
      .data(labels)
      .join("button")
      .attr("type", "button")
      .attr("class", "token")
      .attr("aria-label", (label, i) => `${label.trim() || "space"}, token ${start + i}`)
      .text((label) => label);
    this.#buttons = Array.from(this.#tokens.querySelectorAll("button"));
    this.#drawn = undefined;
    this.#drawLinks();
  }

  /** Chooses the token that the Tab key comes to. */
  pick(token: number): void {
    this.#picked = token;
    this.#buttons.forEach((button, i) => {
      button.tabIndex = i === token ? 0 : -1;
      button.setAttribute("aria-pressed", String(i === token));
    });
  }

  foretell(isForetold: (token: number) => boolean): void {
    this.#buttons.forEach((button, i) => button.classList.toggle("foretold", isForetold(this.#start + i)));
  }

  /** A bar under each token, the longest for the one looked at most. */
  weigh(importance: Float32Array | undefined, head: number): void {
    const most = Math.max(1e-9, ...(importance ?? []));
    this.#tokens.style.setProperty("--own", `var(--head-${head})`);
    this.#links.style.setProperty("--own", `var(--head-${head})`);
    this.#buttons.forEach((button, i) => {
      button.style.setProperty("--importance", ((importance?.[i] ?? 0) / most).toFixed(3));
      button.title = importance ? `looked at with ${importance[i]!.toFixed(2)} in all` : "";
    });
  }

  /** Draws links from a token to those it looks at. */
  link(from: number, weights: Float32Array): void {
    const links = Array.from(weights, (weight, to) => ({ to, weight }))
      .filter(({ weight }) => weight >= FAINTEST)
      .sort((a, b) => b.weight - a.weight)
      .slice(0, MOST_LINKS);
    this.#drawn = { from, links };
    this.#drawLinks();
  }

  #target(key: string): number | undefined {
    const last = this.#buttons.length - 1;
    const steps: Record<string, number> = {
      ArrowRight: this.#picked + 1,
      ArrowLeft: this.#picked - 1,
      ArrowDown: this.#nextLine(1),
      ArrowUp: this.#nextLine(-1),
      Home: 0,
      End: last,
    };
    const to = steps[key];
    return to === undefined ? undefined : Math.max(0, Math.min(last, to));
  }

  /** The token nearest to the picked one on the line above or below. */
  #nextLine(step: 1 | -1): number {
    const here = this.#buttons[this.#picked]!;
    const lines = [...new Set(this.#buttons.map((button) => button.offsetTop))];
    const top = lines[lines.indexOf(here.offsetTop) + step];
    if (top === undefined) return this.#picked;
    const distance = (i: number): number => Math.abs(this.#buttons[i]!.offsetLeft - here.offsetLeft);
    const inLine = this.#buttons.flatMap((button, i) => (button.offsetTop === top ? [i] : []));
    return inLine.reduce((best, i) => (distance(i) < distance(best) ? i : best));
  }

  #drawLinks(): void {
    const { from, links } = this.#drawn ?? { from: 0, links: [] };
    this.#buttons.forEach((button, i) =>
      button.classList.toggle(
        "looked-at",
        links.some(({ to }) => to === i),
      ),
    );
    select(this.#links)
      .selectAll("path")
      .data(this.#buttons.length > 0 ? links : [])
      .join("path")
      .attr("d", ({ to }) => this.#route(from, to))
      .attr("stroke-width", ({ weight }) => 1 + 3 * weight)
      .attr("stroke-opacity", ({ weight }) => 0.3 + 0.7 * Math.sqrt(weight));
  }

  /**
   * An arc above the line if both tokens are in it, else a curve from line to line; a small loop from a token to
   * itself.
   */
  #route(from: number, to: number): string {
    const [a, b] = [this.#buttons[from]!, this.#buttons[to]!].map((button) => ({
      x: this.#tokens.offsetLeft + button.offsetLeft + button.offsetWidth / 2,
      top: this.#tokens.offsetTop + button.offsetTop,
      bottom: this.#tokens.offsetTop + button.offsetTop + button.offsetHeight,
    })) as [{ x: number; top: number; bottom: number }, { x: number; top: number; bottom: number }];
    if (a.top !== b.top) {
      return line().curve(curveBumpY)([
        [a.x, a.top],
        [b.x, b.bottom],
      ])!;
    }
    const half = from === to ? 5 : 0;
    const height = from === to ? 12 : Math.min(22, 8 + Math.abs(a.x - b.x) / 12);
    const arc = path();
    arc.moveTo(a.x + half, a.top);
    arc.bezierCurveTo(a.x + half, a.top - height, b.x - half, b.top - height, b.x - half, b.top);
    return arc.toString();
  }
}
