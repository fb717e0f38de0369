import { PAGE_KEYS } from "../engine/abi.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, floatsOf } from "../memory/data.ts";
import type { CheckedForm } from "./options.ts";
import { frequenciesOf, writeCosinesAndSines } from "./trigonometry.ts";

/**
 * Writes the rotaryDim / 2 cosines and sines of one position, each from element `offset` on. The two arrays may be
 * views of linear memory.
 */
export type AngleWriter = (cosines: Float32Array, sines: Float32Array, offset: number, position: number) => void;

/**
 * How the angles of a position are found: the cosine and sine of position·base^(−j / half) for each pair j, computed in
 * f64 and rounded once; or the row of the caller's tables.
 */
export function angleWriter(arena: Arena, { rotaryDim, base, tables }: CheckedForm): AngleWriter {
  const half = rotaryDim / 2;
  if (tables) {
    const rowOf = (table: Floats, position: number): Float32Array =>
      floatsOf(arena, table).subarray(position * half, (position + 1) * half);
    return (cosines, sines, offset, position) => {
      cosines.set(rowOf(tables.cos, position), offset);
      sines.set(rowOf(tables.sin, position), offset);
    };
  }
  const frequencies = frequenciesOf(base, half);
  return (cosines, sines, offset, position) => writeCosinesAndSines(cosines, sines, offset, position, frequencies);
}

/** How many slots of PAGE_KEYS positions a table has at most. */
const SLOTS = 64;

/** A row without angles. No token has this position: |queryOffset| ≤ 2³⁰, and a cache has at most 2³⁰ tokens. */
const NO_POSITION = 2 ** 31 - 1;

/** The tables of each instance, by its memory, which the caches of the instance share. */
const tablesOfArena = new WeakMap<Arena, AngleTable[]>();

/** Memory for the angles of PAGE_KEYS consecutive positions. */
interface Slot {
  /** Address of the cosines, [PAGE_KEYS][rotaryDim / 2] f32; the sines follow in the same shape. */
  ptr: number;
  /** [PAGE_KEYS]: the position whose angles each row has now. */
  positions: Int32Array;
}

/**
 * Cosines and sines in linear memory, shared by all caches of an instance with the same rotary form: the layers of a
 * model compute the angles of a token once. Position p has row p modulo SLOTS·PAGE_KEYS, so memory is bounded; angles
 * that another position has overwritten are computed again.
 */
export class AngleTable {
  readonly #arena: Arena;
  readonly #form: CheckedForm;
  readonly #half: number;
  readonly #write: AngleWriter;
  readonly #slots: (Slot | undefined)[] = [];
  #users = 0;

  /** The table for `form`, made where the instance has none. Each call needs a `release`. */
  static acquire(arena: Arena, form: CheckedForm): AngleTable {
    const tables = tablesOfArena.get(arena) ?? [];
    tablesOfArena.set(arena, tables);
    let table = tables.find((other) => sameAngles(other.#form, form));
    if (!table) tables.push((table = new AngleTable(arena, form)));
    table.#users++;
    return table;
  }

  private constructor(arena: Arena, form: CheckedForm) {
    this.#arena = arena;
    this.#form = form;
    this.#half = form.rotaryDim / 2;
    this.#write = angleWriter(arena, form);
  }

  /**
   * Reserves memory for the counts[n] positions from starts[n] on, for every n.
   *
   * @throws RangeError where memory cannot grow; nothing is reserved then
   */
  reserve(starts: ArrayLike<number>, counts: ArrayLike<number>): void {
    const missing = new Set<number>();
    for (let n = 0; n < starts.length; n++) {
      const firstPage = Math.floor(starts[n]! / PAGE_KEYS);
      const endPage = Math.min(Math.ceil((starts[n]! + counts[n]!) / PAGE_KEYS), firstPage + SLOTS);
      for (let page = firstPage; page < endPage; page++) {
        const slot = modulo(page, SLOTS);
        if (!this.#slots[slot]) missing.add(slot);
      }
    }
    if (missing.size === 0) return;
    const fresh = this.#arena.allocateMany(2 * this.sinOffset, missing.size);
    for (const slot of missing) {
      this.#slots[slot] = { ptr: fresh.pop()!, positions: new Int32Array(PAGE_KEYS).fill(NO_POSITION) };
    }
  }

  /**
   * Writes the angles of the `count` positions from `first` on, where they are not there yet, and returns the address
   * of the first cosine. The positions must be reserved and lie in one page of PAGE_KEYS positions.
   */
  fill(first: number, count: number): number {
    const { ptr, positions } = this.#slots[modulo(Math.floor(first / PAGE_KEYS), SLOTS)]!;
    const firstRow = modulo(first, PAGE_KEYS);
    const size = PAGE_KEYS * this.#half;
    for (let n = 0; n < count; n++) {
      const row = firstRow + n;
      if (positions[row] === first + n) continue;
      positions[row] = first + n;
      const cosines = new Float32Array(this.#arena.buffer, ptr, size);
      const sines = new Float32Array(this.#arena.buffer, ptr + this.sinOffset, size);
      this.#write(cosines, sines, row * this.#half, first + n);
    }
    return ptr + firstRow * this.#half * 4;
  }

  /** Bytes from a cosine to the sine of the same angle. */
  get sinOffset(): number {
    return PAGE_KEYS * this.#half * 4;
  }

  /** Ends one use of the table. The last one gives its memory back. */
  release(): void {
    if (--this.#users > 0) return;
    const tables = tablesOfArena.get(this.#arena)!;
    tables.splice(tables.indexOf(this), 1);
    for (const slot of this.#slots.splice(0)) if (slot) this.#arena.release(slot.ptr);
  }
}

/** Whether two forms give every position the same angles. */
function sameAngles(a: CheckedForm, b: CheckedForm): boolean {
  const same = (x: Floats | undefined, y: Floats | undefined) => x?.array === y?.array && x?.ptr === y?.ptr;
  if (a.rotaryDim !== b.rotaryDim || a.base !== b.base) return false;
  return same(a.tables?.cos, b.tables?.cos) && same(a.tables?.sin, b.tables?.sin);
}

/** The remainder of a division that rounds down: of [0, size), for negative n too. */
export function modulo(n: number, size: number): number {
  return ((n % size) + size) % size;
}
