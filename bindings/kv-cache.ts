import type { Arena } from "./arena.ts";
import { type AttentionResult, type Context, type KeysOf, solve } from "./attention.ts";
import { checkChoice, checkInt32Array, checkInteger, checkObject, wrongValue } from "./check.ts";
import { Frame } from "./frame.ts";
import { Incoming } from "./incoming.ts";
import {
  type AppendOptions,
  type CacheAttentionOptions,
  type CacheWeightsOptions,
  type KvCacheOptions,
  checkDtype,
} from "./kv-options.ts";
import { PAGE_KEYS } from "./module.ts";
import { type Problem, checkKeys, checkProblem } from "./options.ts";
import { type Dtype, PageLayout, type PageRows, Pages, allocatePages } from "./pages.ts";
import type { RotaryForm } from "./rotary.ts";
import { Rotation } from "./rotation.ts";
import type { Tensor } from "./tensor.ts";
import { weigh } from "./weigh.ts";
import { type WeightsResult, checkSelection, checkStage, upTo } from "./weights.ts";

const NOTHING = { ptr: 0, length: 0 };

/** Tokens before those of the latest append that a window's cache can still take back. */
const ROLLBACK = 32;

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
  readonly #rotation: Rotation | undefined;
  /** The pages of all sequences, which the leak net gives back if the cache is forgotten. */
  readonly #held = new Set<number>();
  #lengths: Int32Array;
  #pages: Pages[];
  #disposed = false;

  /** @internal */
  constructor(context: Context, options: KvCacheOptions) {
    context.arena.check();
    checkObject("options", options);
    const { numKvHeads, headDim, valueDim = headDim, capacity, batch = 1, dtype = "f32", window, rotary } = options;
    this.numKvHeads = checkInteger("numKvHeads", numKvHeads, 1);
    this.headDim = checkInteger("headDim", headDim, 1);
    this.valueDim = checkInteger("valueDim", valueDim, 1);
    this.capacity = checkInteger("capacity", capacity, 0, 2 ** 30);
    this.batch = checkInteger("batch", batch, 1);
    this.dtype = checkDtype(dtype);
    this.window = window === undefined ? Infinity : checkInteger("window", window, 0);
    this.#context = context;
    this.#rotation = rotary === undefined ? undefined : new Rotation(context, rotary, headDim, capacity);
    this.#layout = new PageLayout(numKvHeads, headDim, valueDim, this.dtype.k, this.dtype.v);
    this.#lengths = new Int32Array(batch);
    this.#pages = Array.from({ length: batch }, () => new Pages(context.arena, this.#layout.bytes, this.#held));
    context.arena.watch(this, this.#held);
  }

  /** The rotary embedding that the cache applies, as it was given. */
  get rotary(): Readonly<RotaryForm> | undefined {
    return this.#rotation?.given;
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
    const { batch, numKvHeads, headDim, valueDim } = this;
    const { layout = "blhd", lengths } = options;
    checkChoice("layout", layout, ["blhd", "bhld"]);
    const { arena } = this.#context;
    const { k: kIn, v: vIn, rowsKv: newTokens } = checkKeys(arena, k, v, this);
    if (lengths !== undefined) checkInt32Array("lengths", lengths, batch, "batch", 0, newTokens);
    const grown = this.#lengths.slice();
    for (let b = 0; b < batch; b++) {
      const count = lengths?.[b] ?? newTokens;
      const left = this.capacity - grown[b]!;
      if (count > left) throw wrongValue("k", `at most ${left} more tokens (capacity ${this.capacity})`, count);
      grown[b]! += count;
    }
    if (newTokens === 0) return;

    const frame = new Frame(arena);
    try {
      const rotation = this.#rotation;
      rotation?.check(0, 1);
      const keys = new Incoming(frame, kIn, layout, newTokens, numKvHeads, headDim, rotation !== undefined);
      const values = new Incoming(frame, vIn, layout, newTokens, numKvHeads, valueDim);
      this.#extend(grown);
      for (let b = 0; b < batch; b++) {
        const start = this.#lengths[b]!;
        for (let token = start; token < grown[b]!;) {
          const count = Math.min(grown[b]! - token, PAGE_KEYS - (token % PAGE_KEYS));
          const { ptr, row, head } = keys.take(arena, b, token - start, count);
          rotation?.rotate(ptr, ptr, token, count, numKvHeads, headDim, row, head);
          this.#store(b, token, count, this.#layout.k, keys);
          this.#store(b, token, count, this.#layout.v, values.take(arena, b, token - start, count));
          token += count;
        }
      }
    } finally {
      frame.release();
    }
    this.#lengths = grown;
    if (this.window === Infinity) return;
    // The next queries may be as many as the new tokens, and the next append may take as many pages as this one.
    const spare = Math.ceil(newTokens / PAGE_KEYS) + 1;
    this.#pages.forEach((pages, b) => pages.dropBefore(grown[b]! - newTokens - this.window - ROLLBACK, spare));
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
    const rotation = this.#rotation;
    if (!rotation) return solve(this.#context, problem, full, (frame) => this.#keysOf(frame)) as AttentionResult<O>;
    for (const { queryOffset, seqLenQ } of problem.sequences) rotation.check(queryOffset, seqLenQ);
    let [from, to] = [0, 0];
    const keysIn = (frame: Frame) => {
      const keysOf = this.#keysOf(frame);
      rotation.rotateQueries(to, from, problem);
      return keysOf;
    };
    // A copy of q is rotated in place.
    const queriesIn = (frame: Frame) => {
      from = frame.input(problem.q);
      return (to = problem.q.array ? from : frame.reserve(problem.q.length * 4));
    };
    return solve(this.#context, problem, full, keysIn, queriesIn) as AttentionResult<O>;
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
    const rotation = this.#rotation;
    for (const { queryOffset, seqLenQ } of problem.sequences) rotation?.check(queryOffset, seqLenQ);
    const keysIn = (frame: Frame) => {
      if (rotation) {
        const { array, length } = problem.q;
        const from = frame.input(problem.q);
        const to = array ? from : frame.reserve(length * 4);
        rotation.rotateQueries(to, from, problem);
        problem.q = { ptr: to, length };
      }
      return { atOnce: Infinity, keysOf: this.#keysOf(frame) };
    };
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
      if (gone > 0 && to < gone + this.window)
        throw wrongValue(`length[${b}]`, `at least ${gone + this.window} (keys before ${gone} are gone)`, to);
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
    const window = this.window === Infinity ? undefined : this.window;
    const { numKvHeads, headDim, valueDim, capacity, batch, dtype, rotary } = this;
    const options = { numKvHeads, headDim, valueDim, capacity, batch, dtype, window, rotary };
    const fork = new KvCache(this.#context, options);
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
    this.#rotation?.release();
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

  /** Room for `lengths` tokens in every sequence and their angles, or none of it. */
  #extend(lengths: Int32Array): void {
    const { arena } = this.#context;
    const missing = this.#pages.reduce((sum, pages, b) => sum + pages.missing(lengths[b]!), 0);
    const fresh = allocatePages(arena, this.#layout.bytes, missing);
    try {
      this.#rotation?.reserve(
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
  #store(b: number, token: number, count: number, to: PageRows, from: Incoming): void {
    const inPage = token % PAGE_KEYS;
    const page = this.#pages[b]!.at(token);
    for (let head = 0; head < this.numKvHeads; head++) {
      const row = page + to.base + head * to.head + inPage * to.row;
      const scale = to.scales && page + to.scales + (head * PAGE_KEYS + inPage) * 4;
      this.#context.kernels.storeRows(
        row,
        scale,
        from.ptr + head * from.head,
        count,
        from.dim,
        to.row,
        from.row,
        to.type,
      );
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
