// Caches as bytes: what `KvCache.save` writes and `Heed.restoreKvCache` reads.
import { checkInt32Array, checkInteger, checkTypedArray, mismatch, wrongValue } from "../check.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import { type Names, list, record } from "../options.ts";
import type { KvStore } from "./kv-store.ts";
import type { CacheSizes, KvCacheOptions } from "./options.ts";
import { PageLayout } from "./page-layout.ts";
import { type Saved, type SavedOptions, beginFile, endFile, readFile } from "./saved-format.ts";
import { TokenPositions } from "./token-positions.ts";

/** What `save` takes. @category KV cache */
export interface SaveOptions {
  /**
   * The first token that is saved, of every sequence or [batch]: the bytes continue an earlier save of the tokens before
   * it. Default 0: all tokens.
   */
  from?: number | Int32Array | undefined;
  /** Where to write, where it is large enough. Default a fresh Uint8Array. */
  into?: Uint8Array | undefined;
}

/** The options of `save`. */
export const SAVE_NAMES: Names<SaveOptions> = { from: 0, into: 0 };

/** The most saves that one cache is restored from. */
const MOST_PARTS = 2 ** 16;

/**
 * The tokens of a cache, with its options.
 *
 * @throws RangeError for tokens that are not there, or where `into` is too short; TypeError for the wrong kind
 */
export function save(store: KvStore, sizes: CacheSizes, { from = 0, into }: SaveOptions): Uint8Array {
  const { layout, rotary, isUntouched: untouched } = store;
  const lengths = untouched ? new Int32Array(0) : store.lengths.slice();
  const given = checkFrom(from, sizes.batch, store);
  const target = into === undefined ? undefined : checkTypedArray("into", into, "Uint8Array", "a Uint8Array");
  const firsts = lengths.map((_, b) => store.firstToken(b));
  const starts = lengths.map((_, b) => Math.max(firsts[b]!, given(b)));
  const positions = Array.from(lengths, (_, b) => store.positions(b, starts[b]!));
  const tables = rotary?.angles.tables;
  const frequencies = rotary?.angles.frequencies;
  const { numKvHeads, headDim, valueDim, capacity, batch, dtype, window, firstPosition } = sizes;
  const { base, rotaryDim, interleaved, sections, sectionsInterleaved, attentionScale } = rotary?.given ?? {};
  const form = { base, rotaryDim, interleaved, sections, sectionsInterleaved };
  const options: SavedOptions = {
    ...{ numKvHeads, headDim, valueDim, capacity, batch, dtype, firstPosition },
    window: window === Infinity ? undefined : window,
    // The tables have been multiplied by attentionScale when they were copied.
    rotary: rotary && (tables ? form : { ...form, attentionScale }),
    tables: tables?.[0].length,
    frequencies: frequencies?.length,
    untouched: untouched || undefined,
  };
  const tokens = lengths.reduce((sum, length, b) => sum + length - starts[b]!, 0);
  const saved = { lengths, starts, firsts, positions };
  const { file, rows } = beginFile(
    options,
    saved,
    tables ?? (frequencies ? [frequencies] : []),
    tokens * layout.tokenBytes,
    target,
  );
  const memory = new Uint8Array(store.instance.arena.buffer);
  forEachPage(lengths, starts, layout, (b, token, count, at) => {
    layout.readRows(memory, store.addressOf(b, token), token % PAGE_KEYS, count, rows, at);
  });
  endFile(file);
  return file;
}

/**
 * Calls back for each page with some of the tokens from starts[b] to lengths[b] of each sequence b, in the order of a
 * file: with the first of these tokens and how many they are, and the byte at which their rows start.
 */
function forEachPage(
  lengths: Int32Array,
  starts: Int32Array,
  { tokenBytes }: PageLayout,
  call: (b: number, token: number, count: number, at: number) => void,
): void {
  let at = 0;
  lengths.forEach((length, b) => {
    for (let token = starts[b]!; token < length;) {
      const count = Math.min(length, token - (token % PAGE_KEYS) + PAGE_KEYS) - token;
      call(b, token, count, at);
      at += count * tokenBytes;
      token += count;
    }
  });
}

/** Checks `from`; returns it for a sequence. */
function checkFrom(from: number | Int32Array, batch: number, store: KvStore): (b: number) => number {
  if (typeof from === "number") {
    checkInteger("from", from, 0, store.shortest);
    return () => from;
  }
  const starts = checkInt32Array("from", from, batch, "batch", 0, store.longest);
  starts.forEach((start, b) => checkInteger(`from[${b}]`, start, 0, store.lengths[b]));
  return (b) => starts[b]!;
}

/** Checked saves of one cache, and what they make together. */
export interface SavedCache {
  readonly options: KvCacheOptions;
  readonly parts: readonly Saved[];
}

/**
 * Checks a save, or a save and those that continue it.
 *
 * @throws RangeError for bytes that are none, or that do not continue what is before them; TypeError for the wrong kind
 */
export function checkSaved(given: unknown): SavedCache {
  const isList = Array.isArray(given);
  const files = isList ? (list(given, MOST_PARTS) as unknown[]) : [given];
  if (files.length === 0) throw wrongValue("bytes", "at least one save", 0);
  const parts = files.map((bytes, n) => {
    const title = isList ? `bytes[${n}]` : "bytes";
    const file = checkTypedArray(title, bytes, "Uint8Array", "a Uint8Array");
    return readFile(title, file, (sizes) => new PageLayout(sizes).tokenBytes);
  });
  const reached = new Map<number, number>();
  parts.forEach((part, n) => {
    const title = isList ? `bytes[${n}]` : "bytes";
    const isSame = withoutUntouched(part.json) === withoutUntouched(parts[0]!.json);
    if (!isSame) throw new RangeError(mismatch(title, "a save of the same cache as bytes[0]", "one of another"));
    if (part.untouched) reached.clear();
    part.lengths.forEach((length, b) => {
      const start = part.starts[b]!;
      if (start > (reached.get(b) ?? 0) && start !== part.firsts[b]) {
        throw wrongValue(title, `a start of at most ${reached.get(b) ?? 0} for sequence ${b}`, start);
      }
      reached.set(b, length);
    });
  });
  const last = parts.at(-1)!;
  return { options: record(last.sizes, { rotary: last.rotary }), parts };
}

/** The options in a file without the one that may differ between parts of one cache. */
function withoutUntouched(json: string): string {
  return json.replace(',"untouched":true', "");
}

/**
 * Fills a cache of the saved options, which must be empty.
 *
 * @throws RangeError where memory cannot grow
 */
export function restore(store: KvStore, { parts }: SavedCache): void {
  const last = parts.at(-1)!;
  if (last.untouched) return;
  const positions = Array.from(last.lengths, () => new TokenPositions(store.firstPosition, store.axes));
  const reached = new Int32Array(last.lengths.length);
  for (const { untouched, lengths, starts, positions: lists } of parts) {
    if (untouched) reached.fill(0);
    lengths.forEach((length, b) => {
      const start = starts[b]!;
      if (start > reached[b]!) positions[b]!.startAt(start, lists[b]?.[0] ?? store.firstPosition + start);
      if (length > start) positions[b]!.append(start, length - start, lists[b]);
      reached[b] = length;
    });
  }
  store.restore(last.lengths, last.firsts, positions);
  const memory = new Uint8Array(store.instance.arena.buffer);
  for (const { lengths, starts, rows } of parts) {
    forEachPage(lengths, starts, store.layout, (b, token, count, at) => {
      // Later parts may have cut tokens off, or a window may have given them back.
      const kept = Math.min(last.lengths[b]! - token, count);
      if (kept <= 0 || token < last.firsts[b]!) return;
      store.layout.writeRows(memory, store.addressOf(b, token), token % PAGE_KEYS, kept, rows, at, count);
    });
  }
}
