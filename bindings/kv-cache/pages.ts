import { PAGE_KEYS } from "../engine/abi.ts";
import { TYPES } from "../engine/kernels.ts";
import type { Arena } from "../memory/arena.ts";

/** How K and V are stored: "f16" is IEEE binary16, "int8" one byte a value with one f32 scale for each head and token. */
export type Dtype = keyof typeof TYPES;

/** How one of K and V lies in a page, and how the kernels are told. All in bytes. */
export interface PageRows {
  type: number;
  /** From one row of a head to the next: whole eights of values. */
  row: number;
  /** From one head to the next, and the place of head 0. */
  head: number;
  base: number;
  /** The scales of head 0, [PAGE_KEYS] f32 a head; 0 where there are none. */
  scales: number;
}

/** The layout of a page: K of every head, V of every head, the scales of K, those of V. */
export class PageLayout {
  readonly k: PageRows;
  readonly v: PageRows;
  readonly bytes: number;

  constructor(numKvHeads: number, headDim: number, valueDim: number, kType: Dtype, vType: Dtype) {
    const rowsOf = (dtype: Dtype, dim: number, base: number): PageRows => {
      const row = Math.ceil(dim / 8) * 8 * TYPES[dtype].bytes;
      return { type: TYPES[dtype].number, row, head: row * PAGE_KEYS, base, scales: 0 };
    };
    const scaleBytes = (dtype: Dtype) => (dtype === "int8" ? numKvHeads * PAGE_KEYS * 4 : 0);
    this.k = rowsOf(kType, headDim, 0);
    this.v = rowsOf(vType, valueDim, numKvHeads * this.k.head);
    const end = this.v.base + numKvHeads * this.v.head;
    if (kType === "int8") this.k.scales = end;
    if (vType === "int8") this.v.scales = end + scaleBytes(kType);
    this.bytes = end + scaleBytes(kType) + scaleBytes(vType);
  }
}

/** The pages of one sequence: a run of them, numbered from the first token on, of which the oldest may be gone. */
export class Pages {
  readonly #arena: Arena;
  readonly #bytes: number;
  /** Every page that is held, for the leak net of the cache. */
  readonly #held: Set<number>;
  #first = 0;
  #ptrs: number[] = [];
  /** Pages that a window has left behind, for the tokens to come: so the bytes of a window's cache stay the same. */
  readonly #spare: number[] = [];

  constructor(arena: Arena, bytes: number, held: Set<number>) {
    this.#arena = arena;
    this.#bytes = bytes;
    this.#held = held;
  }

  /** The number of the oldest page that is still there. */
  get first(): number {
    return this.#first;
  }

  get count(): number {
    return this.#ptrs.length;
  }

  /** The page of token `token`. */
  at(token: number): number {
    return this.#ptrs[Math.floor(token / PAGE_KEYS) - this.#first]!;
  }

  /** How many pages tokens up to `length` need beyond those that are held. */
  missing(length: number): number {
    return Math.max(0, this.#needed(length) - this.#ptrs.length - this.#spare.length);
  }

  /** Makes room for tokens up to `length`, with as many pages of `fresh` as are missing. */
  extend(length: number, fresh: number[]): void {
    const count = this.#needed(length);
    while (this.#ptrs.length < count) this.#push(this.#spare.pop() ?? fresh.pop()!);
  }

  /** Gives back the pages behind token `length`. */
  truncate(length: number): void {
    const count = Math.max(0, this.#needed(length));
    while (this.#ptrs.length > count) this.#release(this.#ptrs.pop()!);
    if (count === 0) this.#first = Math.floor(length / PAGE_KEYS);
  }

  /** Lets go of the pages that end before token `token`: `spare` of them stay for tokens to come. */
  dropBefore(token: number, spare: number): void {
    while (this.#ptrs.length > 0 && (this.#first + 1) * PAGE_KEYS <= token) {
      this.#spare.push(this.#ptrs.shift()!);
      this.#first++;
    }
    while (this.#spare.length > spare) this.#release(this.#spare.pop()!);
  }

  /** The same tokens in pages of their own, held in `held`. */
  copy(held: Set<number>): Pages {
    const copy = new Pages(this.#arena, this.#bytes, held);
    copy.#first = this.#first;
    const fresh = this.#arena.allocateMany(this.#bytes, this.#ptrs.length);
    const bytes = new Uint8Array(this.#arena.buffer);
    for (const ptr of this.#ptrs) {
      const to = fresh.pop()!;
      bytes.copyWithin(to, ptr, ptr + this.#bytes);
      copy.#push(to);
    }
    return copy;
  }

  /** Writes the table that `Head.pages` points at: page n at entry n % count. */
  writeTable(table: Int32Array): void {
    this.#ptrs.forEach((ptr, n) => (table[(this.#first + n) % this.#ptrs.length] = ptr));
  }

  /** Gives back everything. */
  clear(): void {
    for (const ptr of [...this.#ptrs.splice(0), ...this.#spare.splice(0)]) this.#release(ptr);
    this.#first = 0;
  }

  /** Pages from the oldest one on that tokens up to `length` take. */
  #needed(length: number): number {
    return Math.ceil(length / PAGE_KEYS) - this.#first;
  }

  #push(ptr: number): void {
    this.#held.add(ptr);
    this.#ptrs.push(ptr);
  }

  #release(ptr: number): void {
    this.#held.delete(ptr);
    this.#arena.release(ptr);
  }
}
