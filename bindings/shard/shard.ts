import { checkInteger, checkObject, disposed, wrongKind } from "../check.ts";
import type { Heed } from "../heed.ts";
import type { KvCache } from "../kv-cache/kv-cache.ts";
import { type Names, readOptions } from "../options.ts";
import { planChunks } from "./chunks.ts";
import {
  type AppendRequest,
  type OpenRequest,
  type ShardAnswer,
  type ShardRequest,
  type ShardState,
  type TruncateRequest,
  checkState,
  readRequest,
} from "./messages.ts";
import { attend, countTokens, createCache } from "./place-pages.ts";
import { checkRestored, checkSame, isSame } from "./shapes.ts";
import type { ShardStore } from "./store.ts";
import { decode, encode } from "./wire.ts";

/** What a place may be like. @category Places */
export interface ShardOptions {
  /** Where the tokens are kept besides memory. Default nowhere: who loses the memory loses the tokens. */
  store?: ShardStore | undefined;
}

const SHARD_NAMES: Names<ShardOptions> = { store: 0 };

/** A place to which nobody has come. */
const NEW: ShardState = { length: 0, version: 0, writer: 0, before: 0, after: 0, shape: null };

/**
 * One place of a cache that is cut over places. It answers the requests of a {@link ShardedCache}, however they come: its
 * pages lie in the memory of an instance of heed, and in a store if it has one.
 *
 * @example
 * import { load } from "heed";
 * import { Shard, ShardedCache } from "heed/shard";
 *
 * const heed = await load();
 * const shard = new Shard(heed);
 * const cache = await ShardedCache.open(heed, [(request) => shard.handle(request)], {
 *   numKvHeads: 1,
 *   headDim: 8,
 *   capacity: 1000,
 * });
 * await cache.append(new Float32Array(8 * 8), new Float32Array(8 * 8));
 * @category Places
 */
export class Shard {
  readonly #heed: Heed;
  readonly #store: ShardStore | undefined;
  #state = NEW;
  #cache: KvCache | undefined;
  /** The first token of each chunk in the store. */
  #starts: readonly number[] = [];
  /** Whether memory holds what the store does. */
  #isAwake: boolean;
  #isDisposed = false;
  /** Requests are answered one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  /** @throws TypeError for a wrong store */
  constructor(heed: Heed, options: ShardOptions = {}) {
    checkObject("heed", heed);
    const { store } = readOptions("Shard", options, SHARD_NAMES);
    if (store !== undefined) {
      checkObject("store", store);
      for (const name of ["load", "store"] as const) {
        const method = (store as Partial<Record<"load" | "store", unknown>>)[name];
        if (typeof method !== "function") throw wrongKind(`store.${name}`, "a function", method);
      }
    }
    this.#heed = heed;
    this.#store = store;
    this.#isAwake = store === undefined;
  }

  /** Bytes of linear memory that the tokens take now; 0 while they are in the store alone. */
  get bytes(): number {
    return this.#cache?.bytes ?? 0;
  }

  /**
   * What the place has; loads it from the store if need be.
   *
   * @throws as the store
   * @example
   * const { length, version } = await shard.state();
   * console.log(length, version); // → 8 1
   */
  state(): Promise<ShardState> {
    return this.#inTurn(() => ({ ...this.#state }));
  }

  /**
   * Answers a request. It never throws: what goes wrong is the answer.
   *
   * @param request a {@link ShardRequest}; its arrays are read before the promise resolves
   * @example
   * const answer = await shard.handle({ op: "attend" });
   * console.log(answer.ok || answer.error.message); // → "version" expected an integer, got undefined
   */
  async handle(request: unknown): Promise<ShardAnswer> {
    try {
      return await this.#inTurn(() => this.#answer(readRequest(request)));
    } catch (caught) {
      const { name, message } = caught instanceof Error ? caught : new Error(String(caught));
      return { ok: false, reason: "error", error: { name, message }, state: this.#isAwake ? this.#state : null };
    }
  }

  /**
   * All that the place has, as bytes, to move it to another.
   *
   * @throws as the store, and RangeError where there is no memory for the bytes
   * @example
   * const bytes = await shard.save();
   * const other = new Shard(heed);
   * await other.restore(bytes);
   * console.log((await other.state()).length); // → 8
   */
  save(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#inTurn(() => {
      const tokens = this.#state.length > 0 ? { tokens: this.#cache!.save() } : {};
      return encode({ ...this.#state, ...tokens });
    });
  }

  /**
   * The place becomes what {@link save} made bytes of.
   *
   * @throws TypeError or RangeError for other bytes, and as the store; the place is what it was then
   * @example
   * const moved = new Shard(heed);
   * await moved.restore(await shard.save());
   * console.log((await moved.state()).length); // → 8
   */
  restore(bytes: Uint8Array): Promise<void> {
    return this.#inTurn(async () => {
      const { tokens, ...rest } = decode(bytes);
      const state = checkState(rest);
      const cache = this.#restored(state, tokens === undefined ? [] : [tokens as Uint8Array]);
      const { starts, start } = planChunks([], 0, 0, state.length);
      try {
        await this.#store?.store(record(state, starts), 0, start === undefined ? undefined : cache!.save());
      } catch (error) {
        cache?.dispose();
        this.#sleep();
        throw error;
      }
      this.#cache?.dispose();
      this.#become(state, cache, starts);
    });
  }

  /**
   * Gives the memory back; the store keeps what it has. Later requests are refused.
   *
   * @example
   * shard.dispose(); // or `using shard = new Shard(heed)`
   * console.log(shard.bytes); // → 0
   */
  dispose(): void {
    this.#isDisposed = true;
    this.#sleep();
  }

  /** As {@link dispose}, at the end of a block with `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Runs `task` when those before it have ended, and what the store holds is in memory. */
  #inTurn<Result>(task: () => Result | Promise<Result>): Promise<Result> {
    const turn = this.#last.then(async () => {
      if (this.#isDisposed) throw disposed("shard", "Shard");
      if (!this.#isAwake) await this.#wake();
      return task();
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Takes what the store has into memory. */
  async #wake(): Promise<void> {
    const stored = await this.#store!.load();
    if (stored === undefined) {
      this.#become(NEW, undefined, []);
      return;
    }
    const { starts, ...rest } = JSON.parse(stored.record) as { starts: number[] };
    const state = checkState(rest);
    this.#become(state, this.#restored(state, stored.chunks.slice(0, starts.length)), starts);
  }

  #restored({ shape, length }: ShardState, chunks: Uint8Array[]): KvCache | undefined {
    if (shape === null) return undefined;
    if (length === 0) return createCache(this.#heed, shape);
    const cache = this.#heed.restoreKvCache(chunks);
    try {
      checkRestored(cache, shape, length);
      cache.truncate(length);
      return cache;
    } catch (error) {
      cache.dispose();
      throw error;
    }
  }

  #become(state: ShardState, cache: KvCache | undefined, starts: readonly number[]): void {
    this.#state = state;
    this.#cache = cache;
    this.#starts = starts;
    this.#isAwake = true;
  }

  /** Forgets what is in memory; the next request reads the store, if there is one. */
  #sleep(): void {
    if (!this.#store && !this.#isDisposed) return;
    this.#cache?.dispose();
    this.#become(NEW, undefined, []);
    this.#isAwake = this.#store === undefined;
  }

  #answer(request: ShardRequest): ShardAnswer | Promise<ShardAnswer> {
    if (request.op === "open") return this.#open(request);
    if (request.op !== "attend") return this.#change(request);
    const { shape, version } = this.#state;
    if (!shape || version !== request.version) return this.#otherState(`version ${request.version}`);
    return { ok: true, state: this.#state, ...attend(this.#cache!, shape, request) };
  }

  async #open({ writer, shape }: OpenRequest): Promise<ShardAnswer> {
    const before = this.#state;
    if (writer < before.writer) return this.#otherState(`no writer after ${writer}`);
    if (before.shape && before.length > 0) checkSame(before.shape, shape);
    const differs = !before.shape || !isSame(before.shape, shape);
    if (writer === before.writer && !differs) return { ok: true, state: before };
    const state = { ...before, writer, shape };
    const cache = differs ? createCache(this.#heed, shape) : this.#cache;
    try {
      await this.#store?.store(record(state, this.#starts), this.#starts.length, undefined);
    } catch (error) {
      if (differs) cache!.dispose();
      this.#sleep();
      throw error;
    }
    if (differs) this.#cache?.dispose();
    this.#become(state, cache, this.#starts);
    return { ok: true, state, isNew: before.shape === null };
  }

  /** Makes a change, in memory and in the store, if it is the next one; only says yes where it has been made. */
  async #change(request: AppendRequest | TruncateRequest): Promise<ShardAnswer> {
    const { writer, version, shape } = this.#state;
    if (!shape || writer !== request.writer) return this.#otherState(`writer ${request.writer}`);
    if (version === request.version) return { ok: true, state: this.#state };
    if (version !== request.from) return this.#otherState(`version ${request.from}`);
    const cache = this.#cache!;
    let kept = cache.length;
    if (request.op === "append") {
      countTokens(request.k, request.v, shape);
      cache.append(request.k, request.v);
    } else {
      kept = checkInteger("length", request.length, 0, kept);
      cache.truncate(kept);
    }
    const { before, after } = request;
    const { length } = cache;
    const state = { length, version: request.version, writer, before, after, shape };
    try {
      await this.#keep(state, kept, cache);
    } catch (error) {
      // What the store holds is what counts.
      this.#sleep();
      throw error;
    }
    return { ok: true, state };
  }

  /** Stores a change after which the first `kept` tokens are what they were. */
  async #keep(state: ShardState, kept: number, cache: KvCache): Promise<void> {
    let starts = this.#starts;
    if (this.#store) {
      const plan = planChunks(starts, this.#state.length, kept, state.length);
      const { start } = plan;
      starts = plan.starts;
      const chunk = start === undefined ? undefined : cache.save({ from: start });
      await this.#store.store(record(state, starts), plan.from, chunk);
    }
    this.#become(state, cache, starts);
  }

  /** The answer to a request that is for another state. */
  #otherState(expected: string): ShardAnswer {
    const { version, writer } = this.#state;
    const message = `"request" expected a place with ${expected}, got version ${version} of writer ${writer}`;
    return { ok: false, reason: "state", error: { name: "RangeError", message }, state: this.#state };
  }
}

/** What a store keeps besides the chunks. */
function record(state: ShardState, starts: readonly number[]): string {
  return JSON.stringify({ ...state, starts });
}
