import { PAGE_KEYS } from "../engine/abi.ts";
import { TYPES } from "../engine/kernels.ts";
import { wrongValue } from "../check.ts";
import { MAX_MEMORY } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";

/**
 * How K or V is stored. "f16" is IEEE binary16; "int8" is one byte a value, with one f32 scale for each head and token.
 *
 * @category KV cache
 */
export type Dtype = keyof typeof TYPES;

/** What the layout of a page depends on. */
interface PageSizes {
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly dtype: Readonly<{ k: Dtype; v: Dtype }>;
}

/**
 * Where K, or V, lies in a page, and in which stored type. Offsets are bytes from the start of the page, strides are
 * bytes.
 */
export interface PageRows {
  /** The number of the stored type, as the kernels have it. */
  type: number;
  /** From one token's row of a head to the next: the row, rounded up to whole eights of values. */
  rowStride: number;
  /** From one head to the next: PAGE_KEYS rows. */
  headStride: number;
  /** Where head 0 starts. */
  offset: number;
  /** Where the scales of head 0 start, [PAGE_KEYS] f32 for each head; 0 where the type has no scales. */
  scales: number;
}

/** The layout of a page of PAGE_KEYS tokens: K of every head, V of every head, the scales of K, the scales of V. */
export class PageLayout {
  readonly k: PageRows;
  readonly v: PageRows;
  /** Bytes of a page. */
  readonly bytes: number;

  /** @throws RangeError where no memory can hold a page */
  constructor({ numKvHeads, headDim, valueDim, dtype }: PageSizes) {
    let end = 0;
    const placeBehind = (bytes: number): number => (end += bytes) - bytes;
    const place = (type: Dtype, dim: number): PageRows => {
      const rowStride = Math.ceil(dim / 8) * 8 * TYPES[type].bytes;
      const headStride = rowStride * PAGE_KEYS;
      const offset = placeBehind(numKvHeads * headStride);
      return { type: TYPES[type].number, rowStride, headStride, offset, scales: 0 };
    };
    this.k = place(dtype.k, headDim);
    this.v = place(dtype.v, valueDim);
    for (const name of ["k", "v"] as const) {
      if (dtype[name] === "int8") this[name].scales = placeBehind(numKvHeads * PAGE_KEYS * 4);
    }
    this.bytes = end;
    const most = Math.floor(MAX_MEMORY / (end / numKvHeads));
    if (numKvHeads > most) {
      throw wrongValue("numKvHeads", `at most ${most} (a page of ${PAGE_KEYS} tokens in 4 GiB)`, numKvHeads);
    }
  }
}

/**
 * The pages of one sequence. Page n holds the tokens from n·PAGE_KEYS on. A window may have given back the oldest
 * pages; those from `first` on are there without a gap.
 */
export class Pages {
  readonly #arena: Arena;
  readonly #bytes: number;
  /** The addresses of all pages of the cache. */
  readonly #held: Set<number>;
  #first = 0;
  /** The addresses of the pages from #first on. */
  #ptrs: number[] = [];
  /** Pages that a window no longer needs, kept for new tokens, so that a cache with a window allocates nothing. */
  readonly #spare: number[] = [];
  /** How many of the spare pages the latest `extend` has taken. */
  #taken = 0;

  /**
   * @param bytes bytes of a page
   * @param held a set in which every page of the cache is kept while it is allocated
   */
  constructor(arena: Arena, bytes: number, held: Set<number>) {
    this.#arena = arena;
    this.#bytes = bytes;
    this.#held = held;
  }

  /** The number of the oldest page that is still there. */
  get first(): number {
    return this.#first;
  }

  /** How many pages hold tokens. */
  get count(): number {
    return this.#ptrs.length;
  }

  /** The address of the page that holds token `token`. */
  addressOf(token: number): number {
    return this.#ptrs[Math.floor(token / PAGE_KEYS) - this.#first]!;
  }

  /** How many pages must be allocated before the sequence can have `length` tokens. */
  missing(length: number): number {
    return Math.max(0, this.#needed(length) - this.#ptrs.length - this.#spare.length);
  }

  /** Makes room for `length` tokens. Takes the pages that are missing from the end of `fresh`. */
  extend(length: number, fresh: number[]): void {
    const count = this.#needed(length);
    this.#taken = Math.max(0, Math.min(this.#spare.length, count - this.#ptrs.length));
    while (this.#ptrs.length < count) this.#push(this.#spare.pop() ?? fresh.pop()!);
  }

  /** Undoes the latest `extend`: there are pages for `length` tokens, as there were before it. */
  undoExtend(length: number): void {
    for (let extra = this.#ptrs.length - this.#needed(length); extra > 0; extra--) {
      const ptr = this.#ptrs.pop()!;
      if (extra > this.#taken) this.#release(ptr);
      else this.#spare.push(ptr);
    }
  }

  /** Keeps the first `length` tokens, and gives back the pages that hold none of them. */
  truncate(length: number): void {
    const count = Math.max(0, this.#needed(length));
    while (this.#ptrs.length > count) this.#release(this.#ptrs.pop()!);
    if (count === 0) this.#first = Math.floor(length / PAGE_KEYS);
  }

  /** Drops the pages that hold only tokens before `token`. Up to `spare` of them are kept for new tokens. */
  dropBefore(token: number, spare: number): void {
    while (this.#ptrs.length > 0 && (this.#first + 1) * PAGE_KEYS <= token) {
      this.#spare.push(this.#ptrs.shift()!);
      this.#first++;
    }
    while (this.#spare.length > spare) this.#release(this.#spare.pop()!);
  }

  /**
   * A copy of the tokens in new pages, whose addresses are kept in `held`.
   *
   * @throws RangeError where memory cannot grow; nothing is allocated then
   */
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

  /** Writes the page table that the kernels read, [count]: the address of page n at entry n % count. */
  writeTable(table: Int32Array): void {
    this.#ptrs.forEach((ptr, n) => (table[(this.#first + n) % this.#ptrs.length] = ptr));
  }

  /** Forgets all tokens and gives all pages back. */
  clear(): void {
    for (const ptr of [...this.#ptrs.splice(0), ...this.#spare.splice(0)]) this.#release(ptr);
    this.#first = 0;
  }

  /** How many pages from #first on `length` tokens need; negative where they end before that page. */
  #needed(length: number): number {
    return Math.ceil(length / PAGE_KEYS) - this.#first;
  }

  /** Appends a page. */
  #push(ptr: number): void {
    this.#held.add(ptr);
    this.#ptrs.push(ptr);
  }

  /** Gives one page back to the arena. */
  #release(ptr: number): void {
    this.#held.delete(ptr);
    this.#arena.release(ptr);
  }
}
