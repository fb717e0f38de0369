import { checkInteger, checkRows, checkObject, wrongKind, wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import { MAX_ROWS } from "../limits.ts";
import { list, readOptions } from "../options.ts";
import { localLength, stretches } from "./geometry.ts";
import { type AttendRequest, checkScoreOptions, floats } from "./messages.ts";
import { type Opened, all, openPlaces } from "./open-places.ts";
import {
  ATTENTION_NAMES,
  SHARDED_NAMES,
  type Settings,
  type ShardedAttentionOptions,
  type ShardedCacheOptions,
  checkSettings,
  shapeOf,
} from "./options.ts";
import { type Call, Place } from "./place.ts";
import { checkHeads, countTokens } from "./place-pages.ts";
import { gatherTokens, groupsOf, putTokens, takeTokens } from "./rows.ts";

/** The most places of a cache. */
const MAX_PLACES = 4096;

/** What `attention` returns. @category Sharded cache */
export interface ShardedResult {
  /** [batch, seqLenQ, numHeads, valueDim] */
  out: Float32Array<ArrayBuffer>;
  /** [batch, numHeads, seqLenQ] */
  lse: Float32Array<ArrayBuffer>;
}

/**
 * The coordinator of a cache whose pages lie at several places, each a {@link Shard}: page p at place p % places. It
 * holds no tokens and no memory of its own. Calls are carried out in the order in which they are made.
 *
 * @example
 * import { load } from "heed";
 * import { Shard, ShardedCache } from "heed/shard";
 *
 * const heed = await load();
 * const shards = [new Shard(heed), new Shard(heed), new Shard(heed)]; // elsewhere, as a rule
 * const calls = shards.map((shard) => (request: object) => shard.handle(structuredClone(request)));
 * const [numKvHeads, headDim] = [2, 64];
 * const cache = await ShardedCache.open(heed, calls, { numKvHeads, headDim, capacity: 100_000 });
 * @category Sharded cache
 */
export class ShardedCache {
  readonly #heed: Heed;
  readonly #settings: Settings;
  readonly #places: readonly Place[];
  readonly #writer: number;
  #length: number;
  /** The largest version of all places. */
  #version: number;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(heed: Heed, settings: Settings, places: readonly Place[], opened: Opened) {
    this.#heed = heed;
    this.#settings = settings;
    this.#places = places;
    this.#writer = opened.writer;
    this.#length = opened.length;
    this.#version = opened.version;
  }

  /**
   * Opens a cache: a new one where the places are empty, else the one that they hold. An append that had not reached all
   * places is undone. Whoever opened it before is refused from now on.
   *
   * @param calls for each place, in the same order each time: how a request gets there and its answer back
   * @throws TypeError or RangeError for wrong options, or where the places hold a cache of other sizes; ShardError where
   * a place gives no answer, or has lost tokens
   * @example
   * console.log(cache.length, cache.places); // → 0 3
   */
  static async open(heed: Heed, calls: readonly Call[], options: ShardedCacheOptions): Promise<ShardedCache> {
    checkObject("heed", heed);
    const given = list(calls, MAX_PLACES + 1);
    if (!Array.isArray(given)) throw wrongKind("calls", "an array of functions", calls);
    checkInteger("calls.length", given.length, 1, MAX_PLACES);
    given.forEach((call: unknown, n) => {
      if (typeof call !== "function") throw wrongKind(`calls[${n}]`, "a function", call);
    });
    const settings = checkSettings(readOptions("ShardedCache.open", options, SHARDED_NAMES), given.length);
    const { shape, rotary } = settings;
    // Refuses a wrong form of rotary.
    if (rotary) heed.rotary(new Float32Array(0), { ...rotary, numHeads: 1, headDim: shape.headDim });
    const places = (given as Call[]).map((call, n) => new Place(call, shapeOf(shape, n), settings));
    return new ShardedCache(heed, settings, places, await openPlaces(places));
  }

  /** Tokens of a sequence. */
  get length(): number {
    return this.#length;
  }

  /** How many places there are. */
  get places(): number {
    return this.#places.length;
  }

  /** The most tokens of a sequence. */
  get capacity(): number {
    return this.#settings.shape.capacity;
  }

  /**
   * Appends tokens to every sequence. k and v are copied before the promise is returned.
   *
   * @param k [batch, newTokens, numKvHeads, headDim]
   * @param v [batch, newTokens, numKvHeads, valueDim]
   * @throws RangeError past the capacity, for a wrong size, or where a place has no memory for more; TypeError for the
   * wrong kind; ShardError where a place gives no answer. The length is what it was then.
   * @example
   * const rows = (tokens: number) => new Float32Array(tokens * numKvHeads * headDim);
   * await cache.append(rows(500), rows(500));
   * console.log(cache.length, shards.map(({ bytes }) => bytes > 0)); // → 500 [ true, true, true ]
   */
  async append(k: Float32Array, v: Float32Array): Promise<void> {
    const { shape, rotary, requestBytes } = this.#settings;
    const [kOwn, vOwn] = [floats("k", k).slice(), floats("v", v).slice()];
    const tokens = countTokens(kOwn, vOwn, shape);
    const { numKvHeads, headDim, valueDim, batch, capacity, places, pageTokens } = shape;
    return this.#inTurn(async () => {
      const before = this.#length;
      const left = capacity - before;
      if (tokens > left) throw wrongValue("k", `at most ${left} more tokens (capacity ${capacity})`, tokens);
      if (tokens === 0) return;
      const widths = [numKvHeads * headDim, numKvHeads * valueDim] as const;
      if (rotary)
        this.#heed.rotary(kOwn, { ...rotary, batch, numHeads: numKvHeads, headDim, positions: before, out: kOwn });
      // What a call before may have left at any place must be gone before there is something new.
      await all(this.#places.map((place) => this.#settle(place)));

      const most = Math.max(1, Math.floor(requestBytes / (batch * (widths[0] + widths[1]) * 4)));
      const after = before + tokens;
      const found = stretches({ places, pageTokens }, before, after);
      const tasks = this.#places.map(async (place, n) => {
        const parts = found.filter((stretch) => stretch.place === n);
        for (const group of groupsOf(parts, most)) {
          const [kRows, vRows] = [kOwn, vOwn].map((rows, m) => gatherTokens(rows, batch, widths[m]!, group, before));
          const change = { writer: this.#writer, from: place.version, version: ++this.#version, before, after };
          await place.change({ op: "append", ...change, k: kRows!, v: vRows! }, localLength(place.shape, before));
        }
      });
      try {
        await all(tasks);
      } catch (error) {
        // What arrived is cut off when the place is asked next.
        for (const { place } of found) this.#places[place]!.isSettled = false;
        throw error;
      }
      this.#length = after;
    });
  }

  /**
   * Attention from q over all tokens. q is copied before the promise is returned.
   *
   * @param q [batch, seqLenQ, numHeads, headDim]
   * @throws RangeError or TypeError for wrong options; ShardError where a place gives no answer or has lost tokens
   * @example
   * const q = new Float32Array(8 * headDim);
   * const { out, lse } = await cache.attention(q, { numHeads: 8, causal: true });
   * console.log(out.length, lse.length); // → 512 8
   */
  async attention(q: Float32Array, options: ShardedAttentionOptions): Promise<ShardedResult> {
    const read = readOptions("attention over a sharded cache", options, ATTENTION_NAMES);
    const { shape, rotary, requestBytes } = this.#settings;
    const { batch, headDim, valueDim } = shape;
    checkScoreOptions(read);
    const { numHeads } = read;
    checkHeads(numHeads, shape.numKvHeads, read.alibiSlopes);
    if (read.alibiSlopes) read.alibiSlopes = read.alibiSlopes.slice();
    const sinks = read.sinks && floats("sinks", read.sinks).slice();
    const qOwn = floats("q", q).slice();
    const what = "batch × numHeads × headDim";
    const rows = checkRows("q", qOwn.length, batch * numHeads * headDim, what, MAX_ROWS / numHeads);
    const { queryOffset } = read;
    if (queryOffset !== undefined) checkInteger("queryOffset", queryOffset, -MAX_ROWS, MAX_ROWS);
    if (sinks && sinks.length !== numHeads)
      throw wrongValue("sinks", `a length of ${numHeads} (numHeads)`, sinks.length);
    return this.#inTurn(async () => {
      const offset = queryOffset ?? this.#length - rows;
      if (rotary) this.#heed.rotary(qOwn, { ...rotary, batch, numHeads, headDim, positions: offset, out: qOwn });
      const out = new Float32Array(batch * rows * numHeads * valueDim);
      const lse = new Float32Array(batch * numHeads * rows);
      const most = Math.max(1, Math.floor(requestBytes / (batch * numHeads * Math.max(headDim, valueDim) * 4)));
      for (let from = 0; from < rows; from += most) {
        const to = Math.min(rows, from + most);
        const some = takeTokens(qOwn, batch, numHeads * headDim, from, to);
        const parts = await this.#parts(some, to - from, { ...read, queryOffset: offset + from });
        const merged = this.#heed.merge(parts, { numHeads, valueDim, batch, ...(sinks && { sinks }) });
        putTokens(out, merged.out, batch, numHeads * valueDim, from, 0, to - from);
        putTokens(lse, merged.lse, batch * numHeads, 1, from, 0, to - from);
      }
      return { out, lse };
    });
  }

  /**
   * Keeps the first `length` tokens. Where a place cannot be reached, the promise is rejected, but the length holds: the
   * place is cut when it is asked next.
   *
   * @throws RangeError for a length past the tokens, ShardError as {@link append}
   * @example
   * await cache.append(new Float32Array(300 * 128), new Float32Array(300 * 128));
   * await cache.truncate(200); // a hundred tokens were guessed, and wrong
   * console.log(cache.length); // → 200
   */
  async truncate(length: number): Promise<void> {
    checkInteger("length", length, 0);
    return this.#inTurn(async () => {
      checkInteger("length", length, 0, this.#length);
      const cut = this.#places.filter(({ shape }) => localLength(shape, length) < localLength(shape, this.#length));
      this.#length = length;
      for (const place of cut) place.isSettled = false;
      await all(cut.map((place) => this.#settle(place)));
    });
  }

  /** What each place that has tokens gives for some rows, in the order of the places: so the bits are always the same. */
  async #parts(q: Float32Array, rows: number, options: ScoresAt): Promise<{ out: Float32Array; lse: Float32Array }[]> {
    const { batch, valueDim } = this.#settings.shape;
    const { numHeads, causal, scale, softcap, window, alibiSlopes, queryOffset } = options;
    const request = { op: "attend", q, numHeads, causal, scale, softcap, window, alibiSlopes, queryOffset } as const;
    const sizes = { out: batch * rows * numHeads * valueDim, lse: batch * numHeads * rows };
    const asked = this.#places.filter(({ shape }) => localLength(shape, this.#length) > 0);
    const answers = await all(
      asked.map(async (place) => {
        await this.#settle(place);
        return place.attend({ ...request, version: place.version }, this.#writer, sizes);
      }),
    );
    if (answers.length > 0) return answers;
    return [{ out: new Float32Array(sizes.out), lse: new Float32Array(sizes.lse).fill(-Infinity) }];
  }

  async #settle(place: Place): Promise<void> {
    const length = localLength(place.shape, this.#length);
    await place.settle(length, this.#length, this.#writer, () => ++this.#version);
  }

  /** Runs a task when those before it have ended. */
  #inTurn<Result>(task: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(task);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

type ScoresAt = Omit<AttendRequest, "op" | "version" | "q">;
