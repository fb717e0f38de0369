import { type KvSource, setKeys, setValues } from "../attention/kv-source.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { integersAt } from "../memory/arena.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { RowsInMemory, TakeRows } from "../memory/staged-rows.ts";
import { Uses } from "../memory/uses.ts";
import { MAX_ITEMS } from "../threads/control.ts";
import type { CacheRotary } from "./cache-rotary.ts";
import { type PageLayout, type PageRows, Pages } from "./pages.ts";

/**
 * The tokens of a batch of sequences in linear memory: how many each sequence has, and its pages. A method that throws
 * changes nothing.
 */
export class KvStore {
  /** The addresses of the pages of all sequences at any time. */
  readonly held = new Set<number>();
  readonly instance: Instance;
  readonly uses = new Uses("cache", "KvCache");
  /** Rotates the keys before they are stored. */
  readonly rotary: CacheRotary | undefined;
  readonly #layout: PageLayout;
  readonly #batch: number;
  /** Undefined until the first tokens come, as they do for every sequence at once: a batch may be large. */
  #lengths: Int32Array | undefined;
  /** [batch], or none as long as there are no lengths. */
  #pages: Pages[] = [];

  constructor(instance: Instance, layout: PageLayout, batch: number, rotary: CacheRotary | undefined) {
    this.instance = instance;
    this.#layout = layout;
    this.#batch = batch;
    this.rotary = rotary;
  }

  /** Whether there have been no tokens yet, or none since `clear`. Then every length is 0. */
  get isUntouched(): boolean {
    return this.#lengths === undefined;
  }

  /** Tokens in each sequence, [batch]. Do not write to it. */
  get lengths(): Int32Array {
    return this.#lengths ?? new Int32Array(this.#batch);
  }

  /** Tokens in the longest sequence. */
  get longest(): number {
    return longestOf(this.#lengths) ?? 0;
  }

  /** Tokens in the shortest sequence. */
  get shortest(): number {
    return this.#lengths?.reduce((least, length) => Math.min(least, length)) ?? 0;
  }

  /** Bytes of linear memory that the pages take. */
  get bytes(): number {
    return this.held.size * this.#layout.bytes;
  }

  /** The oldest token of sequence `b` that has not been given back. */
  firstToken(b: number): number {
    return (this.#pages[b]?.first ?? 0) * PAGE_KEYS;
  }

  /**
   * Appends rows of keys and values, from the first on, until the sequences have `lengths` tokens, [batch].
   *
   * @param maxRows the most rows that may be taken at once
   * @param isLarge whether that pays on all threads
   * @throws RangeError where memory cannot grow
   */
  append(lengths: Int32Array, takeKeys: TakeRows, takeValues: TakeRows, maxRows: number, isLarge: boolean): void {
    const before = this.lengths;
    const { k, v } = this.#layout;
    this.#extend(before, lengths);
    const most = Math.max(maxRows, PAGE_KEYS);
    lengths.forEach((length, b) => {
      const start = before[b]!;
      for (let token = start; token < length;) {
        const count = Math.min(length - token, most - (token % PAGE_KEYS));
        const kRows = takeKeys(b, token - start, count);
        this.rotary?.rotate(kRows.ptr, kRows, token, count);
        const items = isLarge ? [] : undefined;
        this.#store(b, token, count, k, kRows, items);
        this.#store(b, token, count, v, takeValues(b, token - start, count), items);
        // The first rows are taken first, as the processor fetches ahead.
        items?.reverse();
        while (items?.length) this.instance.pool!.run("storeRows", 0, items.splice(-MAX_ITEMS));
        token += count;
      }
    });
    this.#lengths = lengths;
  }

  /** Undoes the latest `append`, before which the sequences had `lengths` tokens. Nothing may have happened since. */
  undoAppend(lengths: Int32Array): void {
    this.#pages.forEach((pages, b) => pages.undoExtend(lengths[b]!));
    this.rotary?.angles.undoReserve();
    this.#lengths = lengths;
  }

  /**
   * Drops the pages that hold none of the last `count` tokens of a sequence. Up to `spare` of them are kept for new
   * tokens.
   */
  keepLast(count: number, spare: number): void {
    const { lengths } = this;
    this.#pages.forEach((pages, b) => pages.dropBefore(lengths[b]! - count, spare));
  }

  /** Keeps the first lengths[b] tokens of each sequence b. */
  truncate(lengths: Int32Array): void {
    this.#pages.forEach((pages, b) => pages.truncate(lengths[b]!));
    this.#lengths = lengths;
  }

  /** Forgets all tokens. */
  clear(): void {
    this.#pages.forEach((pages) => pages.clear());
    this.#pages = [];
    this.#lengths = undefined;
  }

  /**
   * Sequence b becomes what sequence indices[b] was. A sequence that is taken twice is copied.
   *
   * @throws RangeError where memory cannot grow
   */
  reorder(indices: Int32Array): void {
    const lengths = this.#lengths;
    if (!lengths) return;
    const before = new Set(this.#pages);
    const after = new Set<Pages>();
    try {
      for (const from of indices) {
        const pages = this.#pages[from]!;
        after.add(after.has(pages) ? pages.copy(this.held) : pages);
      }
    } catch (error) {
      clearExcept(after, before);
      throw error;
    }
    clearExcept(before, after);
    this.#lengths = indices.map((from) => lengths[from]!);
    this.#pages = [...after];
  }

  /**
   * Fills this store, which must be empty, with the tokens of `other`, whose pages have the same layout.
   *
   * @throws RangeError where memory cannot grow; then only `release` may be called
   */
  copyFrom(other: KvStore): void {
    this.#pages = other.#pages.map((pages) => pages.copy(this.held));
    this.#lengths = other.#lengths?.slice();
  }

  /** Gives the memory back, and ends the use of `rotary`. Nothing else may be called after it. */
  release(): void {
    for (const ptr of this.blocks()) this.instance.arena.release(ptr);
    this.held.clear();
  }

  /** What `release` gives back, as it is when it is asked for: also for a cache that was never disposed. */
  *blocks(): Iterable<number> {
    yield* this.held;
    if (this.rotary) yield* this.rotary.angles.releasing();
  }

  /** Where the kernels find the tokens: writes the page tables into the memory of a call. */
  placePages(scope: CallScope): KvSource {
    const { arena } = this.instance;
    let pageCount = 0;
    const offsets = this.#pages.map(({ count }) => (pageCount += count) - count);
    const start = scope.reserve(pageCount * 4);
    const table = integersAt(arena, start, pageCount);
    this.#pages.forEach((pages, b) => pages.writeTable(table.subarray(offsets[b], offsets[b]! + pages.count)));
    const { k, v } = this.#layout;
    const locate: KvSource["locate"] = (args, _, b) => {
      setKeys(args, k.offset, k.rowStride, k.headStride);
      setValues(args, v.offset, v.rowStride, v.headStride);
      args.pages = start + (offsets[b] ?? 0) * 4;
      args.pageCount = this.#pages[b]?.count ?? 0;
      args.kType = k.type;
      args.vType = v.type;
      args.kScales = k.scales;
      args.vScales = v.scales;
    };
    return { maxKeys: Infinity, locate };
  }

  /**
   * Allocates pages and angles for `lengths` tokens, [batch], after the tokens `before`: all that are missing, or none
   * where memory cannot grow.
   */
  #extend(before: Int32Array, lengths: Int32Array): void {
    const { arena } = this.instance;
    if (this.#pages.length === 0) {
      this.#pages = Array.from(before, () => new Pages(arena, this.#layout.bytes, this.held));
    }
    const missing = this.#pages.reduce((sum, pages, b) => sum + pages.missing(lengths[b]!), 0);
    const fresh = arena.allocateMany(this.#layout.bytes, missing);
    try {
      const newTokens = lengths.map((length, b) => length - before[b]!);
      this.rotary?.angles.reserve(before, newTokens);
    } catch (error) {
      for (const ptr of fresh) arena.release(ptr);
      throw error;
    }
    this.#pages.forEach((pages, b) => pages.extend(lengths[b]!, fresh));
  }

  /**
   * Stores rows of every head as the `count` tokens from `token` on of sequence `b`; or adds what is to be done, page by
   * page, to `items`.
   */
  #store(b: number, token: number, count: number, to: PageRows, from: RowsInMemory, items?: number[][]): void {
    for (let done = 0; done < count;) {
      const rowInPage = (token + done) % PAGE_KEYS;
      const rows = Math.min(count - done, PAGE_KEYS - rowInPage);
      const page = this.#pages[b]!.addressOf(token + done);
      for (let kvHead = 0; kvHead < from.heads; kvHead++) {
        const row = page + to.offset + kvHead * to.headStride + rowInPage * to.rowStride;
        const scale = to.scales && page + to.scales + (kvHead * PAGE_KEYS + rowInPage) * 4;
        const ptr = from.ptr + kvHead * from.headStride + done * from.rowStride;
        const { dim, rowStride } = from;
        if (items) items.push([row, scale, ptr, rows, dim, to.rowStride, rowStride, to.type]);
        else this.instance.kernels.storeRows(row, scale, ptr, rows, dim, to.rowStride, rowStride, to.type);
      }
      done += rows;
    }
  }
}

/** Gives back the pages of every sequence in `some` that is not in `kept`. */
function clearExcept(some: Set<Pages>, kept: Set<Pages>): void {
  for (const pages of some) if (!kept.has(pages)) pages.clear();
}

/** The longest of some lengths. */
export function longestOf(lengths: Int32Array | undefined): number | undefined {
  return lengths?.reduce((most, length) => Math.max(most, length));
}
