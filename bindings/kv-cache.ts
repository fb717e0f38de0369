import type { Arena } from "./arena.ts";
import { type AttentionResult, type Context, type KeysOf, solve } from "./attention.ts";
import { checkChoice, checkInt32Array, checkInteger, checkObject, wrongKind, wrongValue } from "./check.ts";
import { Frame } from "./frame.ts";
import { PAGE_KEYS } from "./module.ts";
import { type AttentionOptions, type Layout, type Problem, checkKeys, checkProblem, stridesOf } from "./options.ts";
import { type Dtype, PageLayout, type PageRows, Pages } from "./pages.ts";
import type { Tensor } from "./tensor.ts";
import { weigh } from "./weigh.ts";
import { type WeightsOptions, type WeightsResult, checkSelection, checkStage, upTo } from "./weights.ts";

export type { Dtype } from "./pages.ts";

/** What a cache holds. */
export interface KvCacheOptions {
  /** KV heads. */
  numKvHeads: number;
  /** Values in a row of k. */
  headDim: number;
  /** Values in a row of v. Default headDim. */
  valueDim?: number | undefined;
  /** Tokens that a sequence may reach; memory is taken as it fills, 128 tokens at a time. */
  capacity: number;
  /** Sequences. Default 1. */
  batch?: number | undefined;
  /** How K and V are stored. Default "f32". */
  dtype?: Dtype | { k: Dtype; v: Dtype } | undefined;
  /** No query looks further than this many keys to the left of its own position; what none can see any more is given back. */
  window?: number | undefined;
}

/** How tokens are appended. */
export interface AppendOptions {
  /** Of k and v. Default "blhd" = [batch, newTokens, numKvHeads, dim]. */
  layout?: Layout | undefined;
  /** Shape [batch]: how many of the new tokens each sequence takes, from the front. Default all. */
  lengths?: Int32Array | undefined;
}

/** The options of `attention` but for those that the cache settles. */
export type CacheAttentionOptions = Omit<AttentionOptions, Settled>;

/** The options of `attentionWeights` but for those that the cache settles. */
export type CacheWeightsOptions = Omit<WeightsOptions, Settled>;

type Settled = "numKvHeads" | "headDim" | "valueDim" | "batch" | "kvLengths" | "cuSeqlensQ" | "cuSeqlensKv";

const NOTHING = { ptr: 0, length: 0 };

/** K and V of a batch of sequences, in linear memory, read where they stand. Made by `heed.createKvCache`. */
export class KvCache {
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly capacity: number;
  readonly batch: number;
  readonly dtype: Readonly<{ k: Dtype; v: Dtype }>;
  /** Keys to the left of its position that a query may see; Infinity without a window. */
  readonly window: number;
  readonly #context: Context;
  readonly #layout: PageLayout;
  /** The pages of all sequences, which the leak net gives back if the cache is forgotten. */
  readonly #held = new Set<number>();
  #lengths: Int32Array;
  #pages: Pages[];
  #disposed = false;

  /** @internal */
  constructor(context: Context, options: KvCacheOptions) {
    context.arena.check();
    checkObject("options", options);
    const { numKvHeads, headDim, valueDim = headDim, capacity, batch = 1, dtype = "f32", window } = options;
    this.numKvHeads = checkInteger("numKvHeads", numKvHeads, 1);
    this.headDim = checkInteger("headDim", headDim, 1);
    this.valueDim = checkInteger("valueDim", valueDim, 1);
    this.capacity = checkInteger("capacity", capacity, 0, 2 ** 30);
    this.batch = checkInteger("batch", batch, 1);
    this.dtype = checkDtype(dtype);
    this.window = window === undefined ? Infinity : checkInteger("window", window, 0);
    this.#context = context;
    this.#layout = new PageLayout(numKvHeads, headDim, valueDim, this.dtype.k, this.dtype.v);
    this.#lengths = new Int32Array(batch);
    this.#pages = Array.from({ length: batch }, () => new Pages(context.arena, this.#layout.bytes, this.#held));
    context.arena.watch(this, this.#held);
  }

  /** Tokens in the longest sequence. */
  get length(): number {
    this.#check();
    return Math.max(...this.#lengths);
  }

  /** Tokens in each sequence, [batch]; a copy. */
  get lengths(): Int32Array {
    this.#check();
    return this.#lengths.slice();
  }

  /** Bytes of linear memory that the cache holds. */
  get bytes(): number {
    this.#check();
    return this.#held.size * this.#layout.bytes;
  }

  /** @internal Whether its memory is that of `arena`. */
  livesIn(arena: Arena): boolean {
    this.#check();
    return arena === this.#context.arena;
  }

  /**
   * Appends tokens to every sequence.
   *
   * @param k [batch, newTokens, numKvHeads, headDim], or as `layout` says
   * @param v [batch, newTokens, numKvHeads, valueDim]
   * @throws RangeError past `capacity`, for a wrong size or where memory cannot grow, TypeError for the wrong kind, ReferenceError
   * after `dispose`; nothing changes then
   */
  append(k: Float32Array | Tensor, v: Float32Array | Tensor, options: AppendOptions = {}): void {
    this.#check();
    checkObject("options", options);
    const { numKvHeads, headDim, valueDim, batch } = this;
    const { layout = "blhd", lengths } = options;
    checkChoice("layout", layout, ["blhd", "bhld"]);
    const { arena } = this.#context;
    const keys = checkKeys(arena, k, v, { batch, numKvHeads, headDim, valueDim });
    const counts = lengths ?? new Int32Array(batch).fill(keys.rowsKv);
    checkInt32Array("lengths", counts, batch, "batch", 0, keys.rowsKv);
    const grown = this.#lengths.map((length, b) => length + counts[b]!);
    const over = grown.findIndex((length) => length > this.capacity);
    if (over >= 0) {
      const left = this.capacity - this.#lengths[over]!;
      throw wrongValue("k", `at most ${left} more tokens (capacity ${this.capacity})`, counts[over]);
    }

    const frame = new Frame(arena);
    try {
      const kPtr = frame.input(keys.k);
      const vPtr = frame.input(keys.v);
      this.#extend(grown);
      for (const [rows, dim, ptr] of [
        [this.#layout.k, headDim, kPtr],
        [this.#layout.v, valueDim, vPtr],
      ] as const) {
        const from = stridesOf(layout, keys.rowsKv, numKvHeads, dim);
        counts.forEach((count, b) => {
          for (let head = 0; head < numKvHeads; head++) {
            this.#store(b, head, count, rows, dim, ptr + b * from.batch + head * from.head, from.row);
          }
        });
      }
    } finally {
      frame.release();
    }
    // The next queries may be as many as the new tokens.
    const queries = Math.max(1, keys.rowsKv);
    this.#pages.forEach((pages, b) => pages.dropBefore(grown[b]! - queries - this.window));
    this.#lengths = grown;
  }

  /**
   * Attention from q over the tokens in the cache, see `Heed.attention`. Masks and bias broadcast to
   * [batch, numHeads, seqLenQ, cache.length]. By default the last query of a sequence stands at its last token.
   *
   * @param q [batch, seqLenQ, numHeads, headDim]
   * @throws as `Heed.attention`, and a RangeError where a query could see tokens that the window has given back
   */
  attention<const O extends CacheAttentionOptions>(q: Float32Array | Tensor, options: O): AttentionResult<O> {
    const { problem, full } = this.#problemOf(q, options);
    this.#checkReach(problem);
    return solve(this.#context, problem, full, (frame) => this.#keysOf(frame)) as AttentionResult<O>;
  }

  /**
   * The attention weights of q over the tokens in the cache, see `Heed.attentionWeights`; seqLenKv is cache.length.
   *
   * @param q [batch, seqLenQ, numHeads, headDim]
   * @throws as `Heed.attentionWeights`, and a RangeError where a chosen query could see tokens that the window has given back
   */
  attentionWeights<const O extends CacheWeightsOptions>(q: Float32Array | Tensor, options: O): WeightsResult<O> {
    const { problem: whole, full } = this.#problemOf(q, options);
    const problem = upTo(checkStage(options), whole, this.window);
    const selection = checkSelection(this.#context.arena, problem, full);
    this.#checkReach(problem, selection.rows);
    const keysIn = (frame: Frame) => ({ atOnce: Infinity, keysOf: this.#keysOf(frame) });
    return weigh(this.#context, problem, selection, full, keysIn) as WeightsResult<O>;
  }

  /** Forgets the tokens from `length` on, of all sequences or [batch] of each. */
  truncate(length: number | Int32Array): void {
    this.#check();
    const shortest = Math.min(...this.#lengths);
    const lengths =
      typeof length === "number"
        ? new Int32Array(this.batch).fill(checkInteger("length", length, 0, shortest))
        : checkInt32Array("length", length, this.batch, "batch", 0, this.capacity);
    lengths.forEach((to, b) => {
      const gone = this.#pages[b]!.first * PAGE_KEYS;
      if (to > this.#lengths[b]!)
        throw wrongValue(`length[${b}]`, `at most ${this.#lengths[b]!} (tokens of the sequence)`, to);
      if (to < gone) throw wrongValue(`length[${b}]`, `at least ${gone} (keys before are gone)`, to);
    });
    this.#pages.forEach((pages, b) => pages.truncate(lengths[b]!));
    this.#lengths = lengths.slice();
  }

  /** Forgets all tokens. */
  reset(): void {
    this.#check();
    this.#pages.forEach((pages) => pages.clear());
    this.#lengths = new Int32Array(this.batch);
  }

  /** Sequence b becomes what sequence indices[b] was: beam search, batch compaction. */
  reorder(indices: Int32Array): void {
    this.#check();
    checkInt32Array("indices", indices, this.batch, "batch", 0, this.batch - 1);
    const taken = new Set<number>();
    const copies: Pages[] = [];
    let pages: Pages[];
    try {
      pages = Array.from(indices, (from) => {
        if (!taken.has(from)) {
          taken.add(from);
          return this.#pages[from]!;
        }
        const copy = this.#pages[from]!.copy(this.#held);
        copies.push(copy);
        return copy;
      });
    } catch (error) {
      copies.forEach((copy) => copy.clear());
      throw error;
    }
    this.#pages.forEach((old, b) => {
      if (!taken.has(b)) old.clear();
    });
    this.#lengths = Int32Array.from(indices, (from) => this.#lengths[from]!);
    this.#pages = pages;
  }

  /** A cache with the same tokens that shares nothing with this one. */
  fork(): KvCache {
    this.#check();
    const { numKvHeads, headDim, valueDim, capacity, batch, dtype } = this;
    const window = this.window === Infinity ? undefined : this.window;
    const fork = new KvCache(this.#context, { numKvHeads, headDim, valueDim, capacity, batch, dtype, window });
    try {
      fork.#pages = this.#pages.map((pages) => pages.copy(fork.#held));
    } catch (error) {
      fork.dispose();
      throw error;
    }
    fork.#lengths = this.#lengths.slice();
    return fork;
  }

  /** Gives the memory back. Calling it again does nothing; any other use throws a ReferenceError. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#context.arena.unwatch(this);
    for (const ptr of this.#held) this.#context.arena.release(ptr);
    this.#held.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #check(): void {
    if (this.#disposed) throw new ReferenceError('"cache" expected a live KvCache, got a disposed one');
    this.#context.arena.check();
  }

  /** The options and the problem of a call over all tokens. */
  #problemOf<O extends CacheAttentionOptions | CacheWeightsOptions>(q: unknown, options: O) {
    this.#check();
    checkObject("options", options);
    const { numKvHeads, headDim, valueDim, batch } = this;
    const full = { ...options, numKvHeads, headDim, valueDim, batch, kvLengths: this.#lengths };
    const keys = { k: NOTHING, v: NOTHING, rowsKv: this.length };
    const problem = checkProblem(this.#context.arena, q, full, () => keys);
    problem.left = Math.min(problem.left, this.window);
    return { problem, full };
  }

  /** Throws a RangeError where a query, of `rows` or of all, could see keys that are gone. */
  #checkReach({ sequences, left }: Problem, rows?: Int32Array): void {
    for (const { batch: b, seqLenQ, queryOffset } of sequences) {
      const gone = this.#pages[b]!.first * PAGE_KEYS;
      const firstRow = rows ? rows.reduce((least, row) => Math.min(least, row), seqLenQ) : 0;
      if (gone > 0 && firstRow < seqLenQ && queryOffset + firstRow - left < gone) {
        throw wrongValue("queryOffset", `at least ${gone + left - firstRow} (keys further left are gone)`, queryOffset);
      }
    }
  }

  /** Room for `lengths` tokens in every sequence, or none of it. */
  #extend(lengths: Int32Array): void {
    try {
      this.#pages.forEach((pages, b) => pages.extend(lengths[b]!));
    } catch (error) {
      this.#pages.forEach((pages, b) => pages.truncate(this.#lengths[b]!));
      throw error;
    }
  }

  /** Stores `count` rows of one head behind the tokens of sequence `b`, page by page. */
  #store(b: number, head: number, count: number, rows: PageRows, dim: number, from: number, fromRow: number): void {
    const start = this.#lengths[b]!;
    for (let done = 0; done < count;) {
      const token = start + done;
      const inPage = token % PAGE_KEYS;
      const page = this.#pages[b]!.at(token);
      const here = Math.min(count - done, PAGE_KEYS - inPage);
      const to = page + rows.base + head * rows.head + inPage * rows.row;
      const scales = rows.scales && page + rows.scales + (head * PAGE_KEYS + inPage) * 4;
      this.#context.kernels.storeRows(to, scales, from + done * fromRow, here, dim, rows.row, fromRow, rows.type);
      done += here;
    }
  }

  /** The page tables, and where the heads stand in a page. */
  #keysOf(frame: Frame): KeysOf {
    const { arena } = this.#context;
    const tables = this.#pages.map(({ count }) => frame.reserve(count * 4));
    this.#pages.forEach((pages, b) => pages.writeTable(new Int32Array(arena.buffer, tables[b], pages.count)));
    const { k, v } = this.#layout;
    return (_, b) => ({
      k: k.base,
      v: v.base,
      kRow: k.row,
      kHead: k.head,
      vRow: v.row,
      vHead: v.head,
      pages: tables[b]!,
      pageCount: this.#pages[b]!.count,
      kType: k.type,
      vType: v.type,
      kScales: k.scales,
      vScales: v.scales,
    });
  }
}

function checkDtype(dtype: unknown): { k: Dtype; v: Dtype } {
  const choices = ["f32", "f16", "int8"] as const;
  if (typeof dtype === "string") {
    const both = checkChoice("dtype", dtype, choices);
    return { k: both, v: both };
  }
  if (typeof dtype !== "object" || dtype === null) throw wrongKind("dtype", "a string or { k, v }", dtype);
  const { k, v } = dtype as Partial<Record<string, unknown>>;
  return { k: checkChoice("dtype.k", k, choices), v: checkChoice("dtype.v", v, choices) };
}
