import type { KvSource } from "../attention/kv-source.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { TakeRows } from "../memory/staged-rows.ts";
import { Uses } from "../memory/uses.ts";
import { MAX_ITEMS } from "../threads/control.ts";
import type { CacheRotary } from "./cache-rotary.ts";
import type { PageLayout } from "./page-layout.ts";
import { pagedSource } from "./paged-source.ts";
import { NEW_PAGE, type Page, Pages } from "./pages.ts";
import { storeRows } from "./store-rows.ts";
import { type Run, TokenPositions } from "./token-positions.ts";
import type { KeyTurner } from "./turn-keys.ts";

/** A sequence: where its tokens are, and which positions they have. */
interface Sequence {
  readonly pages: Pages;
  readonly positions: TokenPositions;
}

/** The positions of the first `count` new tokens of sequence `b`, where they are given. */
export type PositionsOf = (b: number, count: number) => Int32Array | undefined;

/**
 * The tokens of a batch of sequences in linear memory: how many each sequence has, and its pages. A method that throws
 * changes nothing.
 */
export class KvStore {
  readonly instance: Instance;
  readonly uses = new Uses("cache", "KvCache");
  /** Rotates the keys before they are stored. */
  readonly rotary: CacheRotary | undefined;
  readonly layout: PageLayout;
  /** The position of the first token of each sequence. */
  readonly firstPosition: number;
  #batch: number;
  /** Undefined until the first tokens come, as they do for every sequence at once: a batch may be large. */
  #lengths: Int32Array | undefined;
  /** [batch], with a hole where no tokens have come yet; forEach and map pass over holes. */
  #sequences: Sequence[] = [];

  constructor(
    instance: Instance,
    layout: PageLayout,
    { batch, firstPosition }: { batch: number; firstPosition: number },
    rotary: CacheRotary | undefined,
  ) {
    this.instance = instance;
    this.layout = layout;
    this.#batch = batch;
    this.firstPosition = firstPosition;
    this.rotary = rotary;
  }

  /** Axes of a position. */
  get axes(): number {
    return this.rotary?.axes ?? 1;
  }

  /** How many sequences there are. */
  get batch(): number {
    return this.#batch;
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
    return this.#lengths?.length ? this.#lengths.reduce((least, length) => Math.min(least, length)) : 0;
  }

  /** Bytes of the pages that no other cache has, and of those that others have too. */
  get bytes(): { own: number; shared: number } {
    const users = new Map<Page, number>();
    this.#sequences.forEach(({ pages }) => {
      for (const page of pages.all()) users.set(page, (users.get(page) ?? 0) + 1);
    });
    let own = 0;
    for (const [page, count] of users) if (page.users === count) own++;
    return { own: own * this.layout.bytes, shared: (users.size - own) * this.layout.bytes };
  }

  /** The address of the page with token `token` of sequence `b`. */
  addressOf(b: number, token: number): number {
    return this.#sequences[b]!.pages.addressOf(token);
  }

  /** The oldest token of sequence `b` that has not been given back. */
  firstToken(b: number): number {
    return (this.#sequences[b]?.pages.first ?? 0) * PAGE_KEYS;
  }

  /** The positions of `count` queries that stand at the tokens of sequence `b` from `token` on, or would stand there. */
  runs(b: number, token: number, count: number): Run[] {
    const sequence = this.#sequences[b];
    if (!sequence) return [{ position: this.firstPosition + token, count }];
    return sequence.positions.runs(token, count, this.#lengths![b]!);
  }

  /**
   * The positions of `rows` tokens of each sequence from `shift` tokens behind its last one on: that of the first one
   * where they follow each other and are the same for every sequence, else [batch·rows].
   */
  positionsFrom(shift: number, rows: number): number | Int32Array {
    if (!this.#lengths) return this.firstPosition + shift;
    const runs = Array.from(this.#lengths, (length, b) => this.runs(b, length + shift, rows));
    const first = runs[0]?.[0]?.position ?? 0;
    if (runs.every((some) => some.length === 1 && some[0]!.position === first)) return first;
    const all = runs.flat().flatMap(({ position, count }) => Array.from({ length: count }, (_, n) => position + n));
    return Int32Array.from(all);
  }

  /** The position that the next token of each sequence has unless another is given, [batch]. */
  get nextPositions(): Int32Array {
    const next = new Int32Array(this.#batch).fill(this.firstPosition);
    this.#sequences.forEach(({ positions }, b) => (next[b] = positions.at(this.#lengths![b]!, this.#lengths![b]!)));
    return next;
  }

  /**
   * Appends rows of keys and values, from the first on, until the sequences have `lengths` tokens, [batch].
   *
   * @param maxRows the most rows that may be taken at once
   * @param isLarge whether that pays on all threads
   * @param spare room for the angles of positions on several axes, where some are given
   * @throws RangeError where memory cannot grow, or for a position without angles
   */
  append(
    lengths: Int32Array,
    takeKeys: TakeRows,
    takeValues: TakeRows,
    positionsOf: PositionsOf,
    maxRows: number,
    isLarge: boolean,
    spare: number,
  ): void {
    const before = this.lengths;
    const { k, v } = this.layout;
    this.#extend(before, lengths, positionsOf);
    const most = Math.max(maxRows, PAGE_KEYS);
    lengths.forEach((length, b) => {
      const start = before[b]!;
      for (let token = start; token < length;) {
        const count = Math.min(length - token, most - (token % PAGE_KEYS));
        const kRows = takeKeys(b, token - start, count);
        this.rotary?.rotateRuns(kRows.ptr, kRows, this.#sequences[b]!.positions.runs(token, count, length), spare);
        const items = isLarge ? [] : undefined;
        const { pages } = this.#sequences[b]!;
        storeRows(this.instance.kernels, pages, token, count, k, kRows, items);
        storeRows(this.instance.kernels, pages, token, count, v, takeValues(b, token - start, count), items);
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
    this.#sequences.forEach(({ pages }, b) => pages.undoExtend(lengths[b]!));
    this.rotary?.angles.undoReserve();
    this.#lengths = lengths;
  }

  /** Ends the latest `append`, which cannot be undone any more. */
  settle(): void {
    this.#sequences.forEach(({ pages }) => pages.settle());
  }

  /**
   * Drops the pages that hold none of the last `count` tokens of a sequence. Up to `spare` of them are kept for new
   * tokens.
   */
  keepLast(count: number, spare: number): void {
    const { lengths } = this;
    this.#sequences.forEach(({ pages }, b) => pages.dropBefore(lengths[b]! - count, spare));
  }

  /** Keeps the first lengths[b] tokens of each sequence b. */
  truncate(lengths: Int32Array): void {
    this.#sequences.forEach(({ pages }, b) => pages.truncate(lengths[b]!));
    this.#lengths = lengths;
  }

  /**
   * Keeps tokens[b] of each sequence b, or all of them where there are none given. They ascend. With a `turner` K is
   * turned to positions that follow each other from the first one on.
   *
   * @throws RangeError where memory cannot grow
   */
  keep(tokens: readonly (Int32Array | undefined)[], turner: KeyTurner | undefined): void {
    const lengths = this.#lengths?.slice();
    if (!lengths) return;
    const turnsOf = ({ positions }: Sequence, b: number, n: number, count: number) =>
      turner ? positions.turns(tokens[b]!, n, count, lengths[b]!) : [];
    const plans = this.#sequences.map((sequence, b) => {
      const changes = (n: number, count: number) => turnsOf(sequence, b, n, count).length > 0;
      return tokens[b] && sequence.pages.planKeep(tokens[b], changes);
    });
    const missing = plans.reduce((sum, plan) => sum + (plan?.filter((from) => from === NEW_PAGE).length ?? 0), 0);
    const fresh = this.instance.arena.allocateMany(this.layout.bytes, missing);
    this.#sequences.forEach((sequence, b) => {
      const { pages, positions } = sequence;
      const kept = tokens[b];
      if (!kept) return;
      const turns = turnsOf(sequence, b, 0, kept.length);
      pages.keep(kept, plans[b]!, fresh);
      for (const { n, count, from } of turns) {
        turner!.turn(pages.addressOf(n), n % PAGE_KEYS, count, from, this.firstPosition + n);
      }
      positions.keep(kept, lengths[b]!);
      if (turner) positions.reset();
      lengths[b] = kept.length;
    });
    this.#lengths = lengths;
  }

  /** Forgets all tokens. */
  clear(): void {
    this.#sequences.forEach(({ pages }) => pages.clear());
    this.#sequences = [];
    this.#lengths = undefined;
  }

  /** Adds `count` sequences without tokens. */
  add(count: number): void {
    this.#batch += count;
    if (!this.#lengths) return;
    const lengths = new Int32Array(this.#batch);
    lengths.set(this.#lengths);
    this.#lengths = lengths;
    this.#sequences.length = this.#batch;
  }

  /** Forgets sequence `b`; those behind it move up. */
  remove(b: number): void {
    this.#batch--;
    this.#lengths = this.#lengths?.filter((_, n) => n !== b);
    this.#sequences.splice(b, 1).forEach(({ pages }) => pages.clear());
  }

  /**
   * Fills the store, which must be empty, with sequences whose rows are still to be written: with lengths[b] tokens, of
   * which those before firsts[b] have been given back.
   *
   * @throws RangeError where memory cannot grow
   */
  restore(lengths: Int32Array, firsts: Int32Array, positions: readonly TokenPositions[]): void {
    const { arena } = this.instance;
    const counts = lengths.map((length, b) => Math.ceil(length / PAGE_KEYS) - firsts[b]! / PAGE_KEYS);
    const fresh = arena.allocateMany(
      this.layout.bytes,
      counts.reduce((sum, count) => sum + count, 0),
    );
    this.#sequences = positions.map((positions, b) => {
      const pages = new Pages(arena, this.layout);
      pages.restore(firsts[b]! / PAGE_KEYS, fresh.splice(fresh.length - counts[b]!));
      return { pages, positions };
    });
    this.#lengths = lengths;
  }

  /**
   * [tokens, axes]: the positions of the tokens of sequence `b` from token `from` on; undefined where they follow each
   * other from the first one on.
   */
  positions(b: number, from: number): Int32Array | undefined {
    return this.#sequences[b]?.positions.list(from, this.#lengths![b]!);
  }

  /** Sequence b becomes what sequence indices[b] was. A sequence that is taken twice shares its pages. */
  reorder(indices: Int32Array): void {
    const lengths = this.#lengths;
    if (!lengths) return;
    const before = this.#sequences;
    const taken = new Set<Sequence>();
    const after = new Array<Sequence>(indices.length);
    indices.forEach((from, b) => {
      const sequence = before[from];
      if (!sequence) return;
      after[b] = taken.has(sequence) ? shared(sequence) : sequence;
      taken.add(sequence);
    });
    this.#sequences = after;
    before.forEach((sequence) => {
      if (!taken.has(sequence)) sequence.pages.clear();
    });
    this.#lengths = indices.map((from) => lengths[from]!);
  }

  /** Fills this store, which must be empty, with the tokens of `other`, whose pages have the same layout. */
  shareWith(other: KvStore): void {
    this.#sequences = other.#sequences.map(shared);
    this.#lengths = other.#lengths?.slice();
  }

  /** Gives the memory back, and ends the use of `rotary`. Nothing else may be called after it. */
  release(): void {
    for (const ptr of this.blocks()) this.instance.arena.release(ptr);
  }

  /** What `release` gives back, as it is when it is asked for: also for a cache that was never disposed. */
  *blocks(): Iterable<number> {
    yield* this.#sequences.flatMap(({ pages }) => pages.releasing());
    if (this.rotary) yield* this.rotary.angles.releasing();
  }

  /** Where the kernels find the tokens: writes the page tables into the memory of a call. */
  placePages(scope: CallScope): KvSource {
    return pagedSource(
      this.instance.arena,
      scope,
      this.layout,
      this.#sequences.map(({ pages }) => pages),
    );
  }

  /**
   * Allocates pages and angles for `lengths` tokens, [batch], after the tokens `before`: all that are missing, or none
   * where memory cannot grow.
   */
  #extend(before: Int32Array, lengths: Int32Array, positionsOf: PositionsOf): void {
    const { arena } = this.instance;
    this.#sequences.length = this.#batch;
    lengths.forEach((length, b) => {
      if (length > before[b]!) this.#sequences[b] ??= this.#emptySequence();
    });
    // Positions behind the last token of a sequence count for nothing until its length says so.
    const runs = this.#sequences.flatMap(({ positions }, b) => {
      const [start, end] = [before[b]!, lengths[b]!];
      if (start === end) return [];
      positions.append(start, end - start, positionsOf(b, end - start));
      return this.rotary ? positions.runs(start, end - start, end) : [];
    });
    this.rotary?.checkRuns("positions", runs);
    const following = runs.filter(({ mixed }) => !mixed);
    const missing = this.#sequences.reduce((sum, { pages }, b) => sum + pages.missing(before[b]!, lengths[b]!), 0);
    const fresh = arena.allocateMany(this.layout.bytes, missing);
    try {
      this.rotary?.angles.reserve(
        following.map(({ position }) => position),
        following.map(({ count }) => count),
      );
    } catch (error) {
      for (const ptr of fresh) arena.release(ptr);
      throw error;
    }
    this.#sequences.forEach(({ pages }, b) => pages.extend(before[b]!, lengths[b]!, fresh));
  }

  #emptySequence(): Sequence {
    const pages = new Pages(this.instance.arena, this.layout);
    return { pages, positions: new TokenPositions(this.firstPosition, this.axes) };
  }
}

/** The same tokens for one more sequence. */
function shared({ pages, positions }: Sequence): Sequence {
  return { pages: pages.share(), positions: positions.share() };
}

/** The longest of some lengths. */
export function longestOf(lengths: Int32Array | undefined): number | undefined {
  return lengths?.reduce((most, length) => Math.max(most, length), 0);
}
