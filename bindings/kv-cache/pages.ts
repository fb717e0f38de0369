import { PAGE_KEYS } from "../engine/abi.ts";
import type { Arena } from "../memory/arena.ts";
import type { PageLayout } from "./page-layout.ts";

/** A page in linear memory. Sequences share one as long as none of them writes to it. */
export interface Page {
  readonly ptr: number;
  /** How many sequences have it, of whichever cache. */
  users: number;
}

/** What a plan of {@link Pages.keep} says of a page that is written to where it stands, and of a new one. */
const SAME_PAGE = -1;
export const NEW_PAGE = -2;

/**
 * The pages of one sequence. Page n holds the tokens from n·PAGE_KEYS on. A window may have given back the oldest
 * pages; those from `first` on are there without a gap.
 */
export class Pages {
  readonly #arena: Arena;
  readonly #layout: PageLayout;
  #first = 0;
  /** The pages from #first on. */
  #pages: Page[] = [];
  /** Pages that a window no longer needs, kept for new tokens, so that a cache with a window allocates nothing. */
  readonly #spare: Page[] = [];
  /** How many of the spare pages the latest `extend` has taken. */
  #taken = 0;
  /** The shared page of which the latest `extend` has made a copy to write to. */
  #replaced: Page | undefined;

  constructor(arena: Arena, layout: PageLayout) {
    this.#arena = arena;
    this.#layout = layout;
  }

  /** The number of the oldest page that is still there. */
  get first(): number {
    return this.#first;
  }

  /** How many pages hold tokens. */
  get count(): number {
    return this.#pages.length;
  }

  /** The address of the page that holds token `token`. */
  addressOf(token: number): number {
    return this.#pages[Math.floor(token / PAGE_KEYS) - this.#first]!.ptr;
  }

  /** All pages, those among them that hold no tokens. */
  *all(): Iterable<Page> {
    yield* this.#pages;
    yield* this.#spare;
    if (this.#replaced) yield this.#replaced;
  }

  /** How many pages must be allocated before the tokens [from, length) can be written. */
  missing(from: number, length: number): number {
    const fresh = this.#needed(length) - this.#pages.length + Number(this.#writesShared(from, length));
    return Math.max(0, fresh - this.#spare.length);
  }

  /** Makes room for the tokens [from, length). Takes the pages that are missing from the end of `fresh`. */
  extend(from: number, length: number, fresh: number[]): void {
    this.#taken = 0;
    const add = (): Page => {
      const page = this.#spare.pop();
      if (page) this.#taken++;
      return page ?? { ptr: fresh.pop()!, users: 1 };
    };
    if (this.#writesShared(from, length)) {
      this.#replaced = this.#pages.pop()!;
      const page = add();
      const rows = from % PAGE_KEYS;
      this.#layout.copyRows(new Uint8Array(this.#arena.buffer), page.ptr, 0, this.#replaced.ptr, 0, rows);
      this.#pages.push(page);
    }
    while (this.#pages.length < this.#needed(length)) this.#pages.push(add());
  }

  /** Undoes the latest `extend`: there are pages for `length` tokens, as there were before it. */
  undoExtend(length: number): void {
    const before = this.#needed(length) - Number(this.#replaced !== undefined);
    for (let extra = this.#pages.length - before; extra > 0; extra--) {
      const page = this.#pages.pop()!;
      if (extra > this.#taken) this.#release(page);
      else this.#spare.push(page);
    }
    if (this.#replaced) this.#pages.push(this.#replaced);
    this.#replaced = undefined;
  }

  /** Ends the latest `extend`, which cannot be undone any more. */
  settle(): void {
    if (this.#replaced) this.#release(this.#replaced);
    this.#replaced = undefined;
  }

  /** Keeps the first `length` tokens, and gives back the pages that hold none of them. */
  truncate(length: number): void {
    const count = Math.max(0, this.#needed(length));
    while (this.#pages.length > count) this.#release(this.#pages.pop()!);
    if (count === 0) this.#first = Math.floor(length / PAGE_KEYS);
  }

  /** Drops the pages that hold only tokens before `token`. Up to `spare` of them are kept for new tokens. */
  dropBefore(token: number, spare: number): void {
    while (this.#pages.length > 0 && (this.#first + 1) * PAGE_KEYS <= token) {
      const page = this.#pages.shift()!;
      if (page.users > 1) this.#release(page);
      else this.#spare.push(page);
      this.#first++;
    }
    while (this.#spare.length > spare) this.#release(this.#spare.pop()!);
  }

  /** Fills the pages, of which there must be none: those at `ptrs`, the oldest of which has the number `first`. */
  restore(first: number, ptrs: readonly number[]): void {
    this.#first = first;
    this.#pages = ptrs.map((ptr) => ({ ptr, users: 1 }));
  }

  /** The same tokens for one more sequence, in the same pages. */
  share(): Pages {
    const other = new Pages(this.#arena, this.#layout);
    other.#first = this.#first;
    other.#pages = this.#pages.slice();
    for (const page of other.#pages) page.users++;
    return other;
  }

  /**
   * What {@link keep} makes page n of: of page plan[n], counted from the first one that is there, as it is; or of rows
   * of several, in the page that stands there or in a new one.
   *
   * @param changes whether the rows of the tokens from the n-th kept one on, on one page, will be written to
   */
  planKeep(tokens: Int32Array, changes: (n: number, count: number) => boolean): number[] {
    const plan: number[] = [];
    for (let start = 0; start < tokens.length; start += PAGE_KEYS) {
      const last = Math.min(start + PAGE_KEYS, tokens.length) - 1;
      const isWhole = tokens[start]! % PAGE_KEYS === 0 && tokens[last]! - tokens[start]! === last - start;
      const from = tokens[start]! / PAGE_KEYS - this.#first;
      const isFree = isWhole && (this.#pages[from]!.users === 1 || !changes(start, last - start + 1));
      plan.push(isFree ? from : SAME_PAGE);
    }
    // Of a page that moves as it is, and of a shared one, the place is not written to.
    const moved = new Set(plan);
    return plan.map((from, n) => (from === SAME_PAGE && (moved.has(n) || this.#pages[n]!.users > 1) ? NEW_PAGE : from));
  }

  /** Keeps `tokens`, which ascend and are all there, as the tokens from 0 on. Takes new pages from the end of `fresh`. */
  keep(tokens: Int32Array, plan: readonly number[], fresh: number[]): void {
    const before = this.#pages;
    this.#pages = plan.map((from, n) => {
      if (from === NEW_PAGE) return { ptr: fresh.pop()!, users: 1 };
      return before[from === SAME_PAGE ? n : from]!;
    });
    const kept = new Set(this.#pages);
    const memory = new Uint8Array(this.#arena.buffer);
    for (let n = 0; n < tokens.length;) {
      const token = tokens[n]!;
      const [row, toRow] = [token % PAGE_KEYS, n % PAGE_KEYS];
      const most = Math.min(PAGE_KEYS - Math.max(row, toRow), tokens.length - n);
      let count = 1;
      while (count < most && tokens[n + count] === token + count) count++;
      const from = before[Math.floor(token / PAGE_KEYS) - this.#first]!;
      const to = this.#pages[Math.floor(n / PAGE_KEYS)]!;
      // No token moves to a place from which a later one is still to be read: it moves towards the start.
      if (to !== from || row !== toRow) this.#layout.copyRows(memory, to.ptr, toRow, from.ptr, row, count);
      n += count;
    }
    for (const page of before) if (!kept.has(page)) this.#release(page);
    this.#first = 0;
  }

  /** Writes the page table that the kernels read, [count]: the address of page n at entry n % count. */
  writeTable(table: Int32Array): void {
    this.#pages.forEach(({ ptr }, n) => (table[(this.#first + n) % this.#pages.length] = ptr));
  }

  /** Forgets all tokens and gives all pages back. */
  clear(): void {
    for (const ptr of this.releasing()) this.#arena.release(ptr);
    this.#first = 0;
  }

  /** Forgets all tokens, and says which pages are to be released. */
  releasing(): number[] {
    const pages = [...this.all()];
    this.#pages = [];
    this.#spare.length = 0;
    this.#replaced = undefined;
    return pages.filter((page) => --page.users === 0).map(({ ptr }) => ptr);
  }

  /** Whether tokens [from, length) would be written to a page that others have too. */
  #writesShared(from: number, length: number): boolean {
    return length > from && from % PAGE_KEYS > 0 && this.#pages.at(-1)!.users > 1;
  }

  /** How many pages from #first on `length` tokens need; negative where they end before that page. */
  #needed(length: number): number {
    return Math.ceil(length / PAGE_KEYS) - this.#first;
  }

  /** Ends the use of a page. The last one gives it back to the arena. */
  #release(page: Page): void {
    if (--page.users === 0) this.#arena.release(page.ptr);
  }
}
