// The file of a saved cache. Everything is little-endian; each section starts at a multiple of 16 bytes.
//
//     0    "heed.kv" and the version, one byte
//     8    u64     bytes of the file
//     16   u32     XXH32 of everything from byte 32 on
//     20   12 bytes of 0
//     32   u32     bytes of the JSON that follows
//     36   JSON    the options of the cache: SavedOptions
//          i32     [batch] tokens of each sequence                                  ⎫
//          i32     [batch] the first token of each that is in the file               ⎪ unless the cache
//          i32     [batch] the oldest token of each that a window has not given back ⎬ is `untouched`
//          i32     [batch] 1 where positions follow, else 0                          ⎪
//          i32     [tokens, axes] positions, for each sequence that has a 1           ⎭
//          f32     cosines, then sines, where `tables` says of how many floats
//          f64     frequencies, where `frequencies` says how many
//          …       the tokens: of each sequence, page by page, the rows of K of each KV head, those of V, and the scales
//                  of K and of V where they are stored as int8
import { checkInteger, mismatch, wrongValue } from "../check.ts";
import { record } from "../options.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import type { RotaryForm } from "../rotary/options.ts";
import { type CacheSizes, checkCacheSizes } from "./options.ts";
import { MAX_POSITION } from "./token-positions.ts";
import { xxh32 } from "./xxh32.ts";

const MAGIC = "heed.kv";
const VERSION = 1;
const HASHED_FROM = 32;
/** More than the JSON of any form has. */
const MOST_JSON = 2 ** 16;

/** The JSON of a file: the sizes of the cache, and how its rotary embedding is made. */
export interface SavedOptions extends Omit<CacheSizes, "window"> {
  /** Not there without a window. */
  readonly window?: number | undefined;
  readonly rotary?: RotaryForm | undefined;
  /** Floats of each of the tables cos and sin. */
  readonly tables?: number | undefined;
  /** Frequencies of rotary. */
  readonly frequencies?: number | undefined;
  /** No tokens have come yet, so there is nothing about sequences. */
  readonly untouched?: boolean | undefined;
}

/** Which tokens of each sequence are in a file. */
export interface SavedTokens {
  readonly lengths: Int32Array;
  readonly starts: Int32Array;
  readonly firsts: Int32Array;
  readonly positions: readonly (Int32Array | undefined)[];
}

/** A checked file. */
export interface Saved extends SavedTokens {
  readonly sizes: CacheSizes;
  readonly rotary: RotaryForm | undefined;
  readonly untouched: boolean;
  /** The options as they stand in the file: parts of one cache have the same. */
  readonly json: string;
  /** The tokens. */
  readonly rows: Uint8Array;
}

/** The bytes from one multiple of 16 to the next that `bytes` bytes take. */
function padded(bytes: number): number {
  return Math.ceil(bytes / 16) * 16;
}

/**
 * A file with everything but the tokens, for whose `rowBytes` bytes there is room behind: in `into`, or in new memory.
 *
 * @throws RangeError where `into` is too short
 */
export function beginFile(
  options: SavedOptions,
  { lengths, starts, firsts, positions }: SavedTokens,
  angles: readonly (Float32Array | Float64Array)[],
  rowBytes: number,
  into: Uint8Array | undefined,
): { file: Uint8Array; rows: Uint8Array } {
  const json = Uint8Array.from(JSON.stringify(options), (letter) => letter.charCodeAt(0));
  const flags = Int32Array.from(positions, (list) => Number(list !== undefined));
  const lists = positions.filter((list) => list !== undefined);
  const perSequence = options.untouched ? [] : [lengths, starts, firsts, flags, ...lists];
  const sections = [...perSequence, ...angles];
  const head = padded(HASHED_FROM + 4 + json.length);
  const rowsAt = sections.reduce((sum, { byteLength }) => sum + padded(byteLength), head);
  const total = rowsAt + padded(rowBytes);
  if (into && into.length < total) throw wrongValue("into", `at least ${total} bytes`, into.length);
  const file = into ? into.subarray(0, total) : new Uint8Array(total);
  if (into) file.fill(0, 0, rowsAt);
  file.fill(0, rowsAt + rowBytes);
  file.set(Uint8Array.from(`${MAGIC}${String.fromCharCode(VERSION)}`, (letter) => letter.charCodeAt(0)));
  const numbers = new DataView(file.buffer, file.byteOffset);
  numbers.setUint32(8, total, true);
  numbers.setUint32(12, Math.floor(total / 2 ** 32), true);
  numbers.setUint32(HASHED_FROM, json.length, true);
  file.set(json, HASHED_FROM + 4);
  let at = head;
  for (const section of sections) {
    file.set(new Uint8Array(section.buffer, section.byteOffset, section.byteLength), at);
    at += padded(section.byteLength);
  }
  return { file, rows: file.subarray(rowsAt, rowsAt + rowBytes) };
}

/** Ends a file: its tokens are there. */
export function endFile(file: Uint8Array): void {
  new DataView(file.buffer, file.byteOffset).setUint32(16, hashOf(file), true);
}

function hashOf(file: Uint8Array): number {
  const hashed = file.subarray(HASHED_FROM);
  const aligned = hashed.byteOffset % 4 === 0 ? hashed : hashed.slice();
  return xxh32(new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4)) >>> 0;
}

/**
 * Checks a file and reads all but its tokens.
 *
 * @param tokenBytes bytes of a token of a cache of some sizes
 * @throws RangeError for anything but a file of this version that is whole and unchanged
 */
export function readFile(title: string, file: Uint8Array, tokenBytes: (sizes: CacheSizes) => number): Saved {
  const refuse = (got: string): RangeError =>
    new RangeError(mismatch(title, `what KvCache.save wrote (version ${VERSION})`, got));
  const { length } = file;
  const magic = String.fromCharCode(...file.subarray(0, MAGIC.length));
  if (magic !== MAGIC) throw refuse(length === 0 ? "no bytes" : "something else");
  if (length < HASHED_FROM + 16) throw refuse(`the first ${length} bytes of it`);
  if (file[7] !== VERSION) throw refuse(`version ${file[7]}`);
  const numbers = new DataView(file.buffer, file.byteOffset, length);
  const total = numbers.getUint32(8, true) + numbers.getUint32(12, true) * 2 ** 32;
  if (total !== length || total % 16 !== 0) throw refuse(`${length} bytes of ${total}`);
  const isWhole = file.subarray(20, HASHED_FROM).every((byte) => byte === 0);
  if (!isWhole || numbers.getUint32(16, true) !== hashOf(file)) throw refuse("bytes that were changed");

  // From here on a mistake is one of a file made on purpose.
  let at = HASHED_FROM + 4;
  const take = (bytes: number): ArrayBuffer => {
    if (!(bytes >= 0 && at + bytes <= length)) throw refuse("lengths beyond its end");
    const section = file.slice(at, at + bytes).buffer;
    at = padded(at + bytes);
    return section;
  };
  const integers = (count: number): Int32Array => new Int32Array(take(count * 4));
  const jsonBytes = numbers.getUint32(HASHED_FROM, true);
  if (jsonBytes > MOST_JSON) throw refuse("options beyond their length");
  const json = String.fromCharCode(...new Uint8Array(take(jsonBytes)));
  const options = parse(json);
  if (!options) throw refuse("options that are no JSON");
  const sizes = checkCacheSizes({ ...options, batch: options.batch === 0 ? 1 : options.batch });
  const { untouched = false, tables, frequencies } = options;
  const batch = untouched ? 0 : options.batch;
  const [lengths, starts, firsts, flags] = [integers(batch), integers(batch), integers(batch), integers(batch)];
  let tokens = 0;
  lengths.forEach((end, b) => {
    const [start, first] = [starts[b]!, firsts[b]!];
    checkInteger(`${title}: length`, end, 0, sizes.capacity);
    checkInteger(`${title}: start`, start, 0, end);
    checkInteger(`${title}: first`, first, 0, sizes.window < Infinity ? start : 0);
    if (first % PAGE_KEYS !== 0) throw refuse("a part of a page");
    tokens += end - start;
  });
  const axes = checkInteger(`${title}: axes`, options.rotary?.sections?.length ?? 1, 1);
  const positions = Array.from(flags, (flag, b) => {
    if (flag === 0) return undefined;
    const list = integers((lengths[b]! - starts[b]!) * axes);
    if (list.some((position) => Math.abs(position) > 2 * MAX_POSITION)) throw refuse("positions out of range");
    return list;
  });
  let rotary: RotaryForm | undefined = options.rotary;
  if (rotary && tables !== undefined) {
    checkInteger(`${title}: tables`, tables, 0);
    const cos = new Float32Array(take(tables * 4));
    rotary = record(rotary, { cos, sin: new Float32Array(take(tables * 4)) });
  }
  if (rotary && frequencies !== undefined) {
    checkInteger(`${title}: frequencies`, frequencies, 0);
    rotary = record(rotary, { frequencies: new Float64Array(take(frequencies * 8)) });
  }
  const bytes = tokens * tokenBytes(sizes);
  if (padded(at + bytes) !== length) throw refuse("lengths that are not those of its tokens");
  const rows = file.subarray(at, at + bytes);
  return {
    sizes: record(sizes, { batch: options.batch }),
    rotary,
    untouched,
    json,
    lengths,
    starts,
    firsts,
    positions,
    rows,
  };
}

function parse(json: string): SavedOptions | undefined {
  try {
    const options: unknown = JSON.parse(json);
    return options instanceof Object ? (options as SavedOptions) : undefined;
  } catch {
    return undefined;
  }
}
