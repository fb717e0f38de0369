// Where the passage stands in the text: the two controls that say so.
import type { Tokens } from "./tokeniser.ts";

/** CSS pixels of a window below which fewer tokens are shown at first. */
const NARROW = 600;

export class Place {
  readonly #start: HTMLInputElement;
  readonly #size: HTMLSelectElement;

  /** `moved` hears of every change by hand. */
  constructor(start: HTMLInputElement, size: HTMLSelectElement, moved: () => void) {
    this.#start = start;
    this.#size = size;
    if (innerWidth < NARROW) size.value = "32";
    start.addEventListener("input", moved);
    size.addEventListener("change", moved);
  }

  /** The first token. */
  get start(): number {
    return this.#start.valueAsNumber;
  }

  /** Tokens, where the text has as many. */
  get size(): number {
    return Number(this.#size.value);
  }

  /** Settles the first token, as near to `start` as a text of `length` tokens allows. */
  moveTo(start: number, length: number): void {
    const size = Math.min(this.size, length);
    this.#start.max = String(length - size);
    this.#start.value = String(Math.max(0, Math.min(start, length - size)));
  }

  /** Where it has to start so that the caret is in it: as it does, unless the caret has left it. */
  startFor(caret: number, { tokens, ends, covered }: Tokens): number {
    if (caret >= covered && caret > 0) return this.#has(tokens.length - 1) ? this.start : Infinity;
    const token = ends.findIndex((end) => end >= caret);
    return this.#has(token) ? this.start : token - Math.floor(this.size / 2);
  }

  #has(token: number): boolean {
    return token >= this.start && token < this.start + this.size;
  }
}
