import type { KvSource } from "../attention/kv-source.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { RowsInMemory, StagedRows } from "../memory/staged-rows.ts";
import type { Rotation } from "./cache-rotary.ts";
import { type PageLayout, type PageRows, Pages } from "./pages.ts";

/** The tokens of a batch of sequences in linear memory: how many each has, and its pages. A call that throws leaves them as they were. */
export class KvStore {
  /** The pages of all sequences at any time, for a leak net. */
  readonly held = new Set<number>();
  readonly #instance: Instance;
  readonly #layout: PageLayout;
  #lengths: Int32Array;
  #pages: Pages[];

  constructor(instance: Instance, layout: PageLayout, batch: number) {
    this.#instance = instance;
    this.#layout = layout;
    this.#lengths = new Int32Array(batch);
    this.#pages = Array.from({ length: batch }, () => new Pages(instance.arena, layout.bytes, this.held));
  }

  /** Tokens in each sequence, [batch]; not to be written to. */
  get lengths(): Int32Array {
    return this.#lengths;
  }

  /** Bytes of linear memory. */
  get bytes(): number {
    return this.held.size * this.#layout.bytes;
  }

  /** The oldest token of sequence `b` that is still there. */
  firstToken(b: number): number {
    return this.#pages[b]!.first * PAGE_KEYS;
  }

  /** Appends the first rows of `keys` and `values`, keys turned by `rotation`, until the sequences have `lengths` tokens, [batch]. */
  append(lengths: Int32Array, keys: StagedRows, values: StagedRows, rotation: Rotation | undefined): void {
    this.#extend(lengths, rotation);
    lengths.forEach((length, b) => {
      const start = this.#lengths[b]!;
      for (let token = start; token < length;) {
        const count = Math.min(length - token, PAGE_KEYS - (token % PAGE_KEYS));
        const kRows = keys.take(b, token - start, count);
        const { ptr, heads, dim, rowStride, headStride } = kRows;
        rotation?.rotate(ptr, ptr, token, count, heads, dim, rowStride, headStride);
        this.#store(b, token, count, this.#layout.k, kRows);
        this.#store(b, token, count, this.#layout.v, values.take(b, token - start, count));
        token += count;
      }
    });
    this.#lengths = lengths;
  }

  /** Lets go of the pages without any of the last `count` tokens of a sequence: `spare` of them stay for tokens to come. */
  keepLast(count: number, spare: number): void {
    this.#pages.forEach((pages, b) => pages.dropBefore(this.#lengths[b]! - count, spare));
  }

  /** Forgets the tokens of each sequence from lengths[b] on. */
  truncate(lengths: Int32Array): void {
    this.#pages.forEach((pages, b) => pages.truncate(lengths[b]!));
    this.#lengths = lengths.slice();
  }

  /** Forgets all tokens. */
  clear(): void {
    this.#pages.forEach((pages) => pages.clear());
    this.#lengths = this.#lengths.map(() => 0);
  }

  /** Sequence b becomes what sequence indices[b] was. */
  reorder(indices: Int32Array): void {
    const before = new Set(this.#pages);
    const after = new Set<Pages>();
    try {
      for (const from of indices) {
        const pages = this.#pages[from]!;
        after.add(after.has(pages) ? pages.copy(this.held) : pages);
      }
    } catch (error) {
      clearOthers(after, before);
      throw error;
    }
    clearOthers(before, after);
    this.#lengths = indices.map((from) => this.#lengths[from]!);
    this.#pages = [...after];
  }

  /** Fills a store that is empty with the tokens of `other`, of the same dims; where it throws, `release` gives back what was copied. */
  copyFrom(other: KvStore): void {
    this.#pages = other.#pages.map((pages) => pages.copy(this.held));
    this.#lengths = other.#lengths.slice();
  }

  /** Gives the memory back, and is not used again. */
  release(): void {
    for (const ptr of this.held) this.#instance.arena.release(ptr);
    this.held.clear();
  }

  /** The page tables, and where the heads stand in a page. */
  placePages(scope: CallScope): KvSource {
    const { arena } = this.#instance;
    const tables = this.#pages.map(({ count }) => scope.reserve(count * 4));
    this.#pages.forEach((pages, b) => pages.writeTable(new Int32Array(arena.buffer, tables[b], pages.count)));
    const { k, v } = this.#layout;
    const locate: KvSource["locate"] = (_, b) => ({
      k: k.base,
      v: v.base,
      kRowStride: k.row,
      kHeadStride: k.head,
      vRowStride: v.row,
      vHeadStride: v.head,
      pages: tables[b]!,
      pageCount: this.#pages[b]!.count,
      kType: k.type,
      vType: v.type,
      kScales: k.scales,
      vScales: v.scales,
    });
    return { maxKeys: Infinity, locate };
  }

  /** Room for `lengths` tokens in every sequence and their angles, or none of it. */
  #extend(lengths: Int32Array, rotation: Rotation | undefined): void {
    const { arena } = this.#instance;
    const missing = this.#pages.reduce((sum, pages, b) => sum + pages.missing(lengths[b]!), 0);
    const fresh = arena.allocateMany(this.#layout.bytes, missing);
    try {
      rotation?.reserve(
        this.#lengths,
        lengths.map((length, b) => length - this.#lengths[b]!),
      );
    } catch (error) {
      for (const ptr of fresh) arena.release(ptr);
      throw error;
    }
    this.#pages.forEach((pages, b) => pages.extend(lengths[b]!, fresh));
  }

  /** Stores rows of every head as those of `count` tokens of sequence `b` from `token` on, which share a page. */
  #store(b: number, token: number, count: number, to: PageRows, from: RowsInMemory): void {
    const inPage = token % PAGE_KEYS;
    const page = this.#pages[b]!.at(token);
    for (let head = 0; head < from.heads; head++) {
      const row = page + to.base + head * to.head + inPage * to.row;
      const scale = to.scales && page + to.scales + (head * PAGE_KEYS + inPage) * 4;
      this.#instance.kernels.storeRows(
        row,
        scale,
        from.ptr + head * from.headStride,
        count,
        from.dim,
        to.row,
        from.rowStride,
        to.type,
      );
    }
  }
}

/** Gives back the pages of `some` that are not among `kept`. */
function clearOthers(some: Set<Pages>, kept: Set<Pages>): void {
  for (const pages of some) if (!kept.has(pages)) pages.clear();
}
