import { WEIGHTS_NAMES, type WeightsOptions, type WeightsResult } from "../attention-weights/options.ts";
import type { AttentionResult } from "../attention/attention.ts";
import { ATTENTION_NAMES, type AttentionOptions } from "../attention/options.ts";
import { checkInt32Array, checkInteger, disposed, isObject, wrongKind } from "../check.ts";
import { Instance } from "../engine/instance.ts";
import { MAX_BATCH, MAX_ELEMENTS } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";
import { type FloatRows, halves } from "../memory/data.ts";
import type { Rows } from "../memory/output.ts";
import type { Uses } from "../memory/uses.ts";
import { readOptions, record } from "../options.ts";
import type { RotaryForm } from "../rotary/options.ts";
import type { AsyncOptions } from "../steps/run-async.ts";
import { type Share, type Steps, finish } from "../steps/steps.ts";
import { CacheRotary } from "./cache-rotary.ts";
import { type Appended, attendTokens, attendTokensAsync, beginAppend, keepTokens, weighTokens } from "./calls.ts";
import { grownLengths, truncatedLengths } from "./checks.ts";
import { KvStore, longestOf } from "./kv-store.ts";
import {
  APPEND_NAMES,
  type AppendOptions,
  type CacheAttentionOptions,
  type CacheSizes,
  type CacheWeightsOptions,
  KEEP_NAMES,
  type KeepOptions,
  type KvCacheOptions,
  checkCacheSizes,
} from "./options.ts";
import { type Dtype, PageLayout } from "./page-layout.ts";
import { readTokens } from "./read-tokens.ts";
import { SAVE_NAMES, type SaveOptions, checkSaved, restore, save } from "./saved.ts";

/**
 * Keys and values of a batch of sequences, in linear memory and read without a copy. Made by `heed.createKvCache`.
 *
 * @example
 * import { load } from "heed";
 *
 * const heed = await load();
 * const [numKvHeads, headDim, batch] = [2, 64, 3];
 * const cache = heed.createKvCache({ numKvHeads, headDim, batch, capacity: 4096 });
 * const rows = (tokens: number) => new Float32Array(batch * tokens * numKvHeads * headDim);
 * cache.append(rows(10), rows(10)); // the prompts
 * @category KV cache
 */
export class KvCache implements CacheSizes {
  /** KV heads. */
  readonly numKvHeads: number;
  /** Values in a row of k. */
  readonly headDim: number;
  /** Values in a row of v. */
  readonly valueDim: number;
  /** The most tokens of a sequence. */
  readonly capacity: number;
  /** How K and V are stored. */
  readonly dtype: Readonly<{ k: Dtype; v: Dtype }>;
  /** How many keys to the left of its position a query sees at most; Infinity without a window. */
  readonly window: number;
  /** The position of the first token of each sequence. */
  readonly firstPosition: number;
  readonly #store: KvStore;
  #disposed = false;

  /** @internal `options` have been read. `shared` is the cache of which this one, with the same sizes, is a copy. */
  constructor(instance: Instance, options: KvCacheOptions, shared?: KvStore) {
    if (!(instance instanceof Instance)) throw wrongKind("KvCache", "heed.createKvCache instead of new", instance);
    instance.arena.check();
    const sizes = shared ? (options as CacheSizes) : checkCacheSizes(options);
    this.numKvHeads = sizes.numKvHeads;
    this.headDim = sizes.headDim;
    this.valueDim = sizes.valueDim;
    this.capacity = sizes.capacity;
    this.dtype = sizes.dtype;
    this.window = sizes.window;
    this.firstPosition = sizes.firstPosition;
    const layout = shared?.layout ?? new PageLayout(sizes);
    const given = shared ? undefined : options.rotary;
    const rotary = given === undefined ? shared?.rotary?.fork() : new CacheRotary(instance, given, sizes);
    this.#store = new KvStore(instance, layout, sizes, rotary);
    if (shared) this.#store.shareWith(shared);
    instance.arena.watch(this, this.#store.blocks());
    Object.freeze(this);
  }

  /** How many sequences there are. */
  get batch(): number {
    return this.#store.batch;
  }

  /** The option `rotary` as it was given: the rotary embedding that the cache applies. */
  get rotary(): Readonly<RotaryForm> | undefined {
    return this.#store.rotary?.given;
  }

  /** How many tokens the longest sequence has. */
  get length(): number {
    this.#check();
    return this.#store.longest;
  }

  /** How many tokens each sequence has, [batch]. The array is a copy. */
  get lengths(): Int32Array {
    this.#check();
    return this.#store.lengths.slice();
  }

  /** @internal {@link lengths}; undefined where no tokens have come yet. */
  get lengthsIfAny(): Int32Array | undefined {
    return this.#store.isUntouched ? undefined : this.lengths;
  }

  /** The position that the next token of each sequence has unless `append` says another, [batch]. The array is a copy. */
  get nextPositions(): Int32Array {
    this.#check();
    return this.#store.nextPositions;
  }

  /** @internal See KvStore.positionsFrom. */
  positionsFrom(shift: number, rows: number): number | Int32Array {
    return this.#store.positionsFrom(shift, rows);
  }

  /** Bytes of linear memory that the tokens take, but for pages that other caches have too. */
  get bytes(): number {
    this.#check();
    return this.#store.bytes.own;
  }

  /** Bytes of the pages that other caches, forks of this one or its parent, have too. */
  get sharedBytes(): number {
    this.#check();
    return this.#store.bytes.shared;
  }

  /** @internal Whether a value is a KvCache, of any instance: no Proxy of one. */
  static isCache(value: unknown): value is KvCache {
    return isObject(value) && #store in value;
  }

  /** @internal Whether the cache lives in the memory of `arena`. */
  livesIn(arena: Arena): boolean {
    this.#check();
    return arena === this.#store.instance.arena;
  }

  /**
   * @internal How many tokens the longest sequence will have after an append of `newTokens`, see {@link AppendOptions}.
   *
   * @param title the argument that brings too many tokens for the capacity, if it does
   */
  longestAfter(title: string, newTokens: number, lengths: unknown): number {
    return longestOf(grownLengths(this.#store, this, newTokens, lengths, title)) ?? this.length;
  }

  /**
   * Appends tokens to every sequence.
   *
   * @param k [batch, newTokens, numKvHeads, headDim], or as `layout` says; k and v may have 16 bits, see `Heed.attention`
   * @param v [batch, newTokens, numKvHeads, valueDim]
   * @throws RangeError past `capacity`, for a wrong size or where memory cannot grow; TypeError for the wrong kind, or
   * while an asynchronous call uses the cache; ReferenceError after `dispose`. Nothing changes then.
   * @example
   * cache.append(rows(2), rows(2), { lengths: Int32Array.of(2, 1, 0) }); // what is left over is padding
   * console.log(cache.lengths); // → Int32Array(3) [ 12, 11, 10 ]
   */
  append(k: FloatRows, v: FloatRows, options: AppendOptions = {}): void {
    const read = readOptions("append", options, APPEND_NAMES);
    const [kRead, vRead] = [halves(k), halves(v)];
    this.#check();
    this.#store.uses.checkNone();
    this.beginAppend(kRead, vRead, read).keep();
  }

  /** @internal {@link append} with options that have been read, for a call that may change the cache. */
  beginAppend(k: unknown, v: unknown, options: AppendOptions): Appended {
    return beginAppend(this.#store, this, k, v, options);
  }

  /** @internal The asynchronous calls that use the cache. */
  get uses(): Uses {
    return this.#store.uses;
  }

  /**
   * Attention from q over the tokens in the cache, see `Heed.attention`; seqLenKv is cache.length. By default the last
   * query of a sequence stands at its last token.
   *
   * @param q [batch, seqLenQ, numHeads, headDim]
   * @throws as `Heed.attention`, and a RangeError where a query could see tokens that the window has given back
   * @example
   * const q = new Float32Array(batch * 8 * headDim); // one query of eight heads in each sequence
   * const { out } = cache.attention(q, { numHeads: 8, causal: true });
   * console.log(out.length); // → 1536
   */
  attention<
    const Out extends FloatRows | undefined = undefined,
    const Lse extends boolean | Rows | undefined = undefined,
  >(q: FloatRows, options: CacheAttentionOptions<Out, Lse>): NoInfer<AttentionResult<Out, Lse>> {
    const read = readOptions("attention over a cache", options as AttentionOptions, ATTENTION_NAMES);
    return finish(this.attentionSteps(halves(q), read)) as NoInfer<AttentionResult<Out, Lse>>;
  }

  /** @internal The steps of {@link attention} with options that have been read. */
  attentionSteps(q: unknown, options: AttentionOptions, share?: Share): Steps<AttentionResult> {
    this.#check();
    return attendTokens(this.#store, this, q, options, share);
  }

  /**
   * {@link attention} that gives the thread back every `budgetMs` milliseconds, see `Heed.attentionAsync`. Until the
   * promise settles, the cache refuses to be changed or disposed.
   *
   * @param q [batch, seqLenQ, numHeads, headDim]
   * @throws as {@link attention}, and the reason of `signal`: the promise is rejected
   * @example
   * const query = new Float32Array(batch * 8 * headDim);
   * const later = await cache.attentionAsync(query, { numHeads: 8, budgetMs: 4 });
   * console.log(later.out.length); // → 1536
   */
  async attentionAsync<
    const Out extends FloatRows | undefined = undefined,
    const Lse extends boolean | Rows | undefined = undefined,
  >(
    q: FloatRows,
    options: CacheAttentionOptions<Out, Lse> & AsyncOptions,
  ): Promise<NoInfer<AttentionResult<Out, Lse>>> {
    this.#check();
    const result = attendTokensAsync(this.#store, this, q, options as AttentionOptions);
    return (await result) as NoInfer<AttentionResult<Out, Lse>>;
  }

  /**
   * The attention weights of q over the tokens in the cache, see `Heed.attentionWeights`; seqLenKv is cache.length.
   *
   * @param q [batch, seqLenQ, numHeads, headDim]
   * @throws as `Heed.attentionWeights`, and a RangeError where a chosen query could see tokens that are gone
   * @example
   * const q = new Float32Array(batch * 8 * headDim);
   * const { weights } = cache.attentionWeights(q, { numHeads: 8, reduce: "mean" }); // [batch, 1, 10]
   * console.log(weights.length); // → 30
   */
  attentionWeights<
    const Weights extends Rows | undefined = undefined,
    const TopK extends number | undefined = undefined,
    const Entropy extends boolean | Rows | undefined = undefined,
  >(
    q: FloatRows,
    options: CacheWeightsOptions<Weights, TopK, Entropy>,
  ): NoInfer<WeightsResult<Weights, TopK, Entropy>> {
    const read = readOptions("attentionWeights over a cache", options as WeightsOptions, WEIGHTS_NAMES);
    const qRead = halves(q);
    this.#check();
    return weighTokens(this.#store, this, qRead, read) as NoInfer<WeightsResult<Weights, TopK, Entropy>>;
  }

  /**
   * Keeps the first `length` tokens of every sequence, and forgets the rest. Length 0 is always possible. With a window
   * any other length is refused whose next token would see keys that have been given back.
   *
   * @param length one number for all sequences, or [batch]: one for each
   * @throws as {@link append}, for a length past the tokens of a sequence, or for one whose window has been given back
   * @example
   * cache.truncate(7); // the last three tokens were guessed, and wrong
   * console.log(cache.length); // → 7
   */
  truncate(length: number | Int32Array): void {
    this.#check();
    this.#store.uses.checkNone();
    const lengths = truncatedLengths(this.#store, length, this);
    if (lengths) this.#store.truncate(lengths);
  }

  /**
   * Forgets all tokens and gives their memory back. Tables of `rotary` are read again, unlike with `truncate(0)`.
   *
   * @throws as {@link append}, and as `createKvCache` where the tables cannot be read
   * @example
   * cache.reset();
   * console.log(cache.length); // → 0
   */
  reset(): void {
    this.#check();
    this.#store.uses.checkNone();
    this.#store.rotary?.readAgain();
    this.#store.clear();
  }

  /**
   * Sequence b becomes what sequence indices[b] was: for beam search, and for batches whose sequences end.
   *
   * @param indices [batch]
   * @throws as {@link append}
   * @example
   * cache.truncate(Int32Array.of(1, 2, 3));
   * cache.reorder(Int32Array.of(2, 2, 0)); // the third beam goes on twice, the second ends
   * console.log(cache.lengths); // → Int32Array(3) [ 3, 3, 1 ]
   */
  reorder(indices: Int32Array): void {
    this.#check();
    this.#store.uses.checkNone();
    this.#store.reorder(checkInt32Array("indices", indices, this.batch, "batch", 0, this.batch - 1));
  }

  /**
   * Keeps some tokens of each sequence, in their order, and forgets the rest: the accepted path of a draft, all but the
   * middle of a long text, the tokens that weigh most. Tokens keep the positions that they were appended with, unless
   * they are `repositioned`. Everything else, such as causal, window and queryOffset, counts the tokens that are kept. Whole pages move without
   * a copy.
   *
   * @param indices the tokens to keep, ascending; with several sequences an array: [batch] of them, undefined keeps all
   * @throws as {@link append}, and a RangeError for tokens that are not there or do not ascend
   * @example
   * cache.keep([Int32Array.of(0, 1, 8, 9), undefined, undefined]); // the first two tokens and the last two
   * console.log(cache.lengths); // → Int32Array(3) [ 4, 10, 10 ]
   */
  keep(indices: Int32Array | readonly (Int32Array | undefined)[], options: KeepOptions = {}): void {
    const read = readOptions("keep", options, KEEP_NAMES);
    this.#check();
    this.#store.uses.checkNone();
    keepTokens(this.#store, this, indices, read);
  }

  /**
   * Adds sequences without tokens, behind those that are there.
   *
   * @param count how many, at most 2²⁰. Default 1
   * @returns the index of the first one
   * @throws as {@link append}
   * @example
   * const joined = cache.add();
   * console.log(joined, cache.batch); // → 3 4
   */
  add(count: number = 1): number {
    this.#check();
    this.#store.uses.checkNone();
    const { batch } = this.#store;
    this.#store.add(checkInteger("count", count, 0, Math.min(MAX_ELEMENTS, MAX_BATCH - batch)));
    return batch;
  }

  /**
   * Removes a sequence and gives its memory back. Those behind it move up by one. A cache without sequences takes no
   * call but {@link add}.
   *
   * @param b its index
   * @throws as {@link append}
   * @example
   * cache.remove(0);
   * console.log(cache.batch); // → 2
   */
  remove(b: number): void {
    this.#check();
    this.#store.uses.checkNone();
    this.#store.remove(checkInteger("b", b, 0, this.batch - 1));
  }

  /**
   * A copy of the cache. The two share the pages that they have now; one that writes to a shared page copies it first.
   *
   * @throws as {@link append}
   * @example
   * const branch = cache.fork();
   * branch.append(rows(1), rows(1));
   * console.log(cache.length, branch.length); // → 10 11
   */
  fork(): KvCache {
    this.#check();
    return new KvCache(this.#store.instance, this, this.#store);
  }

  /**
   * A cache that starts with the first tokens of another, and shares their pages as a `fork` does.
   *
   * @param cache the other cache
   * @param length one number for all sequences, or [batch]: how many tokens of each
   * @throws as `truncate`, and a TypeError where `cache` is no KvCache
   * @example
   * import { KvCache, load } from "heed";
   *
   * const heed = await load();
   * const cache = heed.createKvCache({ numKvHeads: 2, headDim: 64, capacity: 4096 });
   * cache.append(new Float32Array(10 * 128), new Float32Array(10 * 128));
   * const system = KvCache.prefix(cache, 4); // the first four of ten tokens
   * console.log(system.length, cache.length); // → 4 10
   */
  static prefix(cache: KvCache, length: number | Int32Array): KvCache {
    if (!KvCache.isCache(cache)) throw wrongKind("cache", "a KvCache", cache);
    const prefix = cache.fork();
    try {
      prefix.truncate(length);
    } catch (error) {
      prefix.dispose();
      throw error;
    }
    return prefix;
  }

  /**
   * The tokens as they are stored, and the options of the cache, as bytes to keep: see `Heed.restoreKvCache`. Results
   * over the restored cache have the same bits. docs/kv-cache.md, "Saved caches", has the format.
   *
   * @throws as {@link append}, and a RangeError for a `from` past the tokens, or where `into` is too short
   * @example
   * const saved = cache.save();
   * const restored = heed.restoreKvCache(saved);
   * console.log(restored.length); // → 10
   */
  save(options: SaveOptions = {}): Uint8Array {
    const read = readOptions("save", options, SAVE_NAMES);
    this.#check();
    return save(this.#store, this, read);
  }

  /**
   * K and V of some tokens as floats: what attention computes with. K has been turned where the cache applies `rotary`.
   *
   * @param b the sequence
   * @param from the first token
   * @param to the token behind the last one. Default: all that follow
   * @returns `k` [tokens, numKvHeads, headDim] and `v` [tokens, numKvHeads, valueDim]
   * @throws as {@link append}, for tokens that are not there
   * @example
   * const { k, v } = cache.read(0, 8); // the last two of ten tokens
   * console.log(k.length, v.length); // → 256 256
   */
  read(b: number, from: number, to?: number): { k: Float32Array; v: Float32Array } {
    this.#check();
    return readTokens(this.#store, this, b, from, to);
  }

  /** @internal A cache of what {@link save} wrote. */
  static restore(instance: Instance, bytes: unknown): KvCache {
    instance.arena.check();
    const saved = checkSaved(bytes);
    const { batch } = saved.options;
    const cache = new KvCache(instance, record(saved.options, { batch: batch || 1 }));
    try {
      if (batch === 0) cache.remove(0);
      restore(cache.#store, saved);
    } catch (error) {
      cache.dispose();
      throw error;
    }
    return cache;
  }

  /**
   * Gives the memory back. Calling it again does nothing; any other use throws a ReferenceError.
   * @example
   * cache.dispose(); // or `using cache = heed.createKvCache(…)`
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#store.uses.checkNone();
    this.#disposed = true;
    this.#store.instance.arena.unwatch(this);
    this.#store.release();
  }

  /** As {@link dispose}, at the end of a block with `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Throws a ReferenceError once the cache or its instance is disposed. */
  #check(): void {
    if (this.#disposed) throw disposed("cache", "KvCache");
    this.#store.instance.arena.check();
  }
}
