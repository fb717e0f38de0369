import { PAGE_KEYS } from "../engine/abi.ts";
import type { Arena } from "../memory/arena.ts";
import { floatsOf } from "../memory/data.ts";
import type { CheckedForm } from "./options.ts";

/** Positions that a table holds at most, in slots of PAGE_KEYS. */
const SLOTS = 64;

/** No position: |queryOffset| ≤ 2³⁰, and a cache has at most 2³⁰ tokens. */
const NONE = 2 ** 31 - 1;

/** The tables that the caches of an instance share, by its memory. */
const shared = new WeakMap<Arena, AngleTable[]>();

interface Slot {
  /** Cosines [PAGE_KEYS][rotaryDim / 2] f32, the sines behind them. */
  ptr: number;
  /** Shape [PAGE_KEYS]: whose angles each row has. */
  positions: Int32Array;
}

/**
 * Cosines and sines in linear memory for all caches of an instance that rotate alike, so that the layers of a model compute the angles of
 * a token once. Position p has row p modulo SLOTS·PAGE_KEYS: memory is bounded, and angles that others have displaced are computed
 * again.
 */
export class AngleTable {
  readonly #arena: Arena;
  readonly #form: CheckedForm;
  readonly #half: number;
  readonly #frequencies: Float64Array;
  readonly #slots: (Slot | undefined)[] = [];
  #users = 0;

  /** The table with the angles of `form`, which may be new; `release` ends its use. */
  static take(arena: Arena, form: CheckedForm): AngleTable {
    const tables = shared.get(arena) ?? [];
    shared.set(arena, tables);
    let table = tables.find((other) => sameAngles(other.#form, form));
    if (!table) tables.push((table = new AngleTable(arena, form)));
    table.#users++;
    return table;
  }

  private constructor(arena: Arena, form: CheckedForm) {
    this.#arena = arena;
    this.#form = form;
    this.#half = form.rotaryDim / 2;
    this.#frequencies = frequenciesOf(form.base, this.#half);
  }

  /** Has memory for the angles of counts[n] positions from starts[n] on, for every n; where it does not suffice nothing changes. */
  reserve(starts: ArrayLike<number>, counts: ArrayLike<number>): void {
    const missing = new Set<number>();
    for (let n = 0; n < starts.length; n++) {
      const page = Math.floor(starts[n]! / PAGE_KEYS);
      const end = Math.min(Math.ceil((starts[n]! + counts[n]!) / PAGE_KEYS), page + SLOTS);
      for (let at = page; at < end; at++) if (!this.#slots[modulo(at, SLOTS)]) missing.add(modulo(at, SLOTS));
    }
    if (missing.size === 0) return;
    const fresh = this.#arena.allocateMany(2 * this.apart, missing.size);
    for (const slot of missing) {
      this.#slots[slot] = { ptr: fresh.pop()!, positions: new Int32Array(PAGE_KEYS).fill(NONE) };
    }
  }

  /** Where the cosines of `count` reserved positions from `first` on stand, which no multiple of PAGE_KEYS parts. */
  at(first: number, count: number): number {
    const { ptr, positions } = this.#slots[modulo(Math.floor(first / PAGE_KEYS), SLOTS)]!;
    const row = modulo(first, PAGE_KEYS);
    for (let n = 0; n < count; n++) {
      if (positions[row + n] === first + n) continue;
      positions[row + n] = first + n;
      this.#write(ptr + (row + n) * this.#half * 4, first + n);
    }
    return ptr + row * this.#half * 4;
  }

  /** Bytes from a cosine to the sine of the same angle. */
  get apart(): number {
    return PAGE_KEYS * this.#half * 4;
  }

  /** Gives the memory back after the last use. */
  release(): void {
    if (--this.#users > 0) return;
    const tables = shared.get(this.#arena)!;
    tables.splice(tables.indexOf(this), 1);
    for (const slot of this.#slots.splice(0)) if (slot) this.#arena.release(slot.ptr);
  }

  #write(ptr: number, position: number): void {
    const cosines = new Float32Array(this.#arena.buffer, ptr, this.#half);
    const sines = new Float32Array(this.#arena.buffer, ptr + this.apart, this.#half);
    const { tables } = this.#form;
    if (tables) {
      const [start, end] = [position * this.#half, (position + 1) * this.#half];
      cosines.set(floatsOf(this.#arena, tables.cos).subarray(start, end));
      sines.set(floatsOf(this.#arena, tables.sin).subarray(start, end));
    } else {
      turn(cosines, sines, 0, position, this.#frequencies);
    }
  }
}

function sameAngles(a: CheckedForm, b: CheckedForm): boolean {
  if (a.rotaryDim !== b.rotaryDim || a.base !== b.base) return false;
  return a.tables?.cos.array === b.tables?.cos.array && a.tables?.sin.array === b.tables?.sin.array;
}

function modulo(n: number, size: number): number {
  return ((n % size) + size) % size;
}

/** base^(−j / half) for each pair j. */
export function frequenciesOf(base: number, half: number): Float64Array {
  return Float64Array.from({ length: half }, (_, j) => base ** (-j / half));
}

/** Writes the angles of one position from element `at` on. */
export function turn(
  cosines: Float32Array,
  sines: Float32Array,
  at: number,
  position: number,
  frequencies: Float64Array,
): void {
  for (let j = 0; j < frequencies.length; j++) {
    cosines[at + j] = Math.cos(position * frequencies[j]!);
    sines[at + j] = Math.sin(position * frequencies[j]!);
  }
}
