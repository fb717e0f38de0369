// Attention in lanes, for a call in steps: what its threads share, as words of linear memory.
//
//     lane    a run of query rows of some KV heads on its way through the keys
//     step    some keys of one lane: one kernel call
//     slot    a thread: the lane it is in, how far it has come, and memory of its own for arguments and query tiles
//
//     ┌ HEAD words ─────────────┬ slots ───────────────┬ lanes ─────────────────┐
//     │ LEFT, SLOTS, the struct │ [slots] SLOT words   │ [lanes] LANE words     │
//     └─────────────────────────┴──────────────────────┴────────────────────────┘
//
// A thread takes a lane for itself and stays in it, step by step. Between two steps it may leave, and come back later.
// A lane that is begun again gives the same, so what a thread has left for good is done by another.

import { type Kernels, PAGE_KEYS } from "./abi.ts";

/** Lanes that nobody has taken; 0 or less where there are none. */
const LEFT = 0;
const SLOTS = 1;
/** As StructWords has them. */
const STRUCT_WORDS = 2;
const FROM_KEY = 3;
const TO_KEY = 4;
const TILES = 5;
const HEAD = 6;

/** Words of the argument struct, and which of them a step changes. */
export interface StructWords {
  readonly count: number;
  readonly fromKey: number;
  readonly toKey: number;
  readonly tiles: number;
}

/** Of a slot: its lane plus 1, or 0; the key it has come to; whether what is masked spoiled a step of it. */
const TAKEN = 0;
const KEY = 1;
const SPOILED = 2;
/** Pages of its next step, at most: 1 at first and then twice as many, since an engine begins with slow code. */
const PAGES = 3;
/** Addresses of its own: arguments, query tiles, scratch. */
const OWN_STRUCT = 4;
const OWN_TILES = 5;
const OWN_SCRATCH = 6;
const SLOT = 7;

/** Of a lane, as LaneTask has it. */
const IS_DONE = 0;
const STRUCT = 1;
const FIRST_ITEM = 2;
const END_ITEM = 3;
const START_KEY = 4;
const FIRST_KEY = 5;
const END_KEY = 6;
const KEYS = 7;
const STEP_PAGES = 8;
const TILE_SHIFT = 9;
const LANE = 10;

/** What a lane is to do. */
export interface LaneTask {
  /** The address of its arguments, over all keys. */
  readonly struct: number;
  /** Its work items [firstItem, endItem). */
  readonly firstItem: number;
  readonly endItem: number;
  /** Where its keys begin: 0, or where those of its split do. */
  readonly startKey: number;
  /** The keys that its queries see: [firstKey, endKey), of those before `keys`. */
  readonly firstKey: number;
  readonly endKey: number;
  readonly keys: number;
  /** The most pages of a step; 0 where all keys are one. */
  readonly stepPages: number;
  /** Bytes of the query tiles of the KV heads before its own, behind which the kernel looks for them. */
  readonly tileShift: number;
}

/**
 * The words of a memory, and which of them is the first one of lanes. Memory that is not shared may grow between two
 * steps: then this must be made anew.
 */
export interface Lanes {
  readonly words: Int32Array;
  readonly at: number;
}

/** The lanes at an address. */
export function lanesAt(buffer: ArrayBufferLike, address: number): Lanes {
  return { words: new Int32Array(buffer), at: address / 4 };
}

/** Bytes of lanes. */
export function laneBytes(slots: number, lanes: number): number {
  return (HEAD + slots * SLOT + lanes * LANE) * 4;
}

/** Writes everything but the lanes. A slot is the addresses of its arguments, its query tiles and its scratch. */
export function openLanes(to: Lanes, struct: StructWords, slots: readonly (readonly number[])[]): void {
  const { count, fromKey, toKey, tiles } = struct;
  to.words.set([0, slots.length, count, fromKey, toKey, tiles], to.at);
  slots.forEach((own, slot) => to.words.set([0, 0, 0, 1, ...own], slotAt(to, slot)));
}

/** Writes the lanes, of which the last ones are taken first, while no thread is in a step. */
export function fillLanes(to: Lanes, tasks: readonly LaneTask[]): void {
  const { words, at } = to;
  for (let slot = 0; slot < words[at + SLOTS]!; slot++) words[slotAt(to, slot) + TAKEN] = 0;
  tasks.forEach((task, lane) => {
    const { struct, firstItem, endItem, startKey, firstKey, endKey, keys, stepPages, tileShift } = task;
    const values = [0, struct, firstItem, endItem, startKey, firstKey, endKey, keys, stepPages, tileShift];
    words.set(values, laneAt(to, lane));
  });
  Atomics.store(words, at + LEFT, tasks.length);
}

/** Takes the next step of the lane of a thread, or the first one of a new lane; false where none is left. */
export function stepLane(of: Lanes, kernels: Kernels, slot: number): boolean {
  const { words, at } = of;
  const own = slotAt(of, slot);
  if (words[own + TAKEN] === 0 && !beginLane(of, slot, Atomics.sub(words, at + LEFT, 1) - 1)) return false;
  const lane = laneAt(of, words[own + TAKEN]! - 1);
  const isSpoiled = words[own + SPOILED] !== 0;
  const from = isSpoiled ? words[lane + START_KEY]! : words[own + KEY]!;
  const start = Math.max(from, words[lane + FIRST_KEY]!);
  const pages = words[own + PAGES]!;
  const stepPages = words[lane + STEP_PAGES]!;
  const next = start - (start % PAGE_KEYS) + Math.min(pages, stepPages) * PAGE_KEYS;
  const isLast = isSpoiled || stepPages === 0 || next >= words[lane + END_KEY]!;
  const to = isLast ? words[lane + KEYS]! : next;
  const struct = words[own + OWN_STRUCT]! >>> 0;
  words[struct / 4 + words[at + FROM_KEY]!] = from;
  words[struct / 4 + words[at + TO_KEY]!] = to;
  const scratch = words[own + OWN_SCRATCH]! >>> 0;
  const isWritten = kernels.attend(struct, scratch, words[lane + FIRST_ITEM]!, words[lane + END_ITEM]!) !== 0;
  words[own + PAGES] = Math.max(pages, Math.min(2 * pages, stepPages));
  words[own + KEY] = to;
  if (!isWritten) words[own + SPOILED] = 1;
  if (isLast && (isWritten || isSpoiled)) {
    words[own + TAKEN] = 0;
    Atomics.store(words, lane + IS_DONE, 1);
  }
  return true;
}

/** Puts a thread at the beginning of a lane; false where there is no such lane. */
export function beginLane(of: Lanes, slot: number, lane: number): boolean {
  if (lane < 0) return false;
  const { words, at } = of;
  const own = slotAt(of, slot);
  const task = laneAt(of, lane);
  const struct = (words[own + OWN_STRUCT]! >>> 0) / 4;
  const given = (words[task + STRUCT]! >>> 0) / 4;
  words.copyWithin(struct, given, given + words[at + STRUCT_WORDS]!);
  words[struct + words[at + TILES]!] = words[own + OWN_TILES]! - words[task + TILE_SHIFT]!;
  words[own + KEY] = words[task + START_KEY]!;
  words[own + SPOILED] = 0;
  words[own + TAKEN] = lane + 1;
  return true;
}

export function isLaneDone(of: Lanes, lane: number): boolean {
  return Atomics.load(of.words, laneAt(of, lane) + IS_DONE) !== 0;
}

/** The lane that a thread is in, or −1, and the key it has come to. */
export function placeOf(of: Lanes, slot: number): { lane: number; key: number } {
  const own = slotAt(of, slot);
  return { lane: of.words[own + TAKEN]! - 1, key: of.words[own + KEY]! };
}

function slotAt({ at }: Lanes, slot: number): number {
  return at + HEAD + slot * SLOT;
}

function laneAt({ words, at }: Lanes, lane: number): number {
  return at + HEAD + words[at + SLOTS]! * SLOT + lane * LANE;
}
