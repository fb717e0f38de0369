import { PAGE_KEYS } from "../engine/abi.ts";
import { type Arena, floatsAt, integersAt } from "../memory/arena.ts";
import { type Floats, floatsOf } from "../memory/data.ts";
import { type AngleRule, writeAngleRows } from "./angle-rows.ts";
import type { CheckedForm } from "./options.ts";
import { frequenciesOf, writeCosinesAndSines } from "./trigonometry.ts";

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
 * Cosines and sines in linear memory, shared by all caches of an instance with the same angles.
 *
 * Angles of frequencies are computed when a position first needs them, so the layers of a model compute those of a token
 * once. Position p has row p modulo SLOTS·PAGE_KEYS, so memory is bounded; angles that another position has overwritten
 * are computed again. Tables of the caller are copied as a whole when the AngleTable is made.
 */
export class AngleTable {
  /** Angles are there for the positions from 0 to rows − 1; Infinity: for all positions. */
  readonly rows: number;
  readonly #arena: Arena;
  readonly #half: number;
  /** Undefined where frequencies or tables are given. */
  readonly #base: number | undefined;
  readonly #scale: number;
  /** The address of the copy of the caller's tables, times scale: [rows][half] cosines and then as many sines. */
  readonly #copy: number | undefined;
  /** Those that are given, or those of the base, computed when they are first needed. */
  #frequencies: Float64Array | undefined;
  readonly #slots: (Slot | undefined)[] = [];
  /** The slots that the latest `reserve` has added. */
  #added: readonly number[] = [];
  #users = 0;

  /**
   * The table with the angles of `form`, made where the instance has none. Each call needs a `release`.
   *
   * @throws RangeError where memory cannot grow for a copy of the tables
   */
  static acquire(arena: Arena, form: CheckedForm): AngleTable {
    const tables = tablesOfArena.get(arena) ?? [];
    tablesOfArena.set(arena, tables);
    let table = tables.find((other) => other.#has(form));
    if (!table) tables.push((table = new AngleTable(arena, form)));
    return table.share();
  }

  private constructor(arena: Arena, { rotaryDim, base, frequencies, attentionScale, tables }: CheckedForm) {
    this.#arena = arena;
    this.#half = rotaryDim / 2;
    this.#scale = attentionScale;
    this.#frequencies = frequencies;
    this.#base = frequencies || tables ? undefined : base;
    this.rows = tables ? tables.cos.length / this.#half : Infinity;
    if (!tables) return;
    const { length } = tables.cos;
    this.#copy = arena.allocate(length * 8);
    const copy = floatsAt(arena, this.#copy, 2 * length);
    copy.set(this.#scaled(tables.cos));
    copy.set(this.#scaled(tables.sin), length);
  }

  /** Copies of the tables times scale, cosines and sines; undefined where angles are computed. */
  get tables(): [Float32Array, Float32Array] | undefined {
    const tables = this.#tables();
    return tables && [tables.cos.slice(), tables.sin.slice()];
  }

  /** The frequencies that are given; undefined where there are none. */
  get frequencies(): Float64Array | undefined {
    return this.#base === undefined ? this.#frequencies : undefined;
  }

  /** Whether the angles are those of `form` as it is now. */
  #has({ rotaryDim, base, frequencies, attentionScale, tables }: CheckedForm): boolean {
    if (this.#half !== rotaryDim / 2 || this.#scale !== attentionScale) return false;
    if (!tables) {
      if (!frequencies) return this.#base === base;
      const own = this.frequencies;
      return own !== undefined && frequencies.every((frequency, j) => Object.is(frequency, own[j]));
    }
    const { length } = tables.cos;
    if (this.#copy === undefined || length !== this.rows * this.#half) return false;
    const copy = integersAt(this.#arena, this.#copy, 2 * length);
    const isCopied = (table: Floats, start: number): boolean => {
      const { buffer, byteOffset } = this.#scaled(table);
      return new Int32Array(buffer, byteOffset, length).every((bits, n) => bits === copy[start + n]);
    };
    return isCopied(tables.cos, 0) && isCopied(tables.sin, length);
  }

  /** A table of the caller times scale. */
  #scaled(table: Floats): Float32Array {
    const floats = floatsOf(this.#arena, table);
    return this.#scale === 1 ? floats : floats.map((value) => value * this.#scale);
  }

  /** The table for one more cache. Needs a `release`. */
  share(): this {
    this.#users++;
    return this;
  }

  /**
   * Reserves memory for the counts[n] positions from starts[n] on, for every n.
   *
   * @throws RangeError where memory cannot grow; nothing is reserved then
   */
  reserve(starts: ArrayLike<number>, counts: ArrayLike<number>): void {
    this.#added = this.#missing(starts, counts);
    if (this.#added.length === 0) return;
    const fresh = this.#arena.allocateMany(PAGE_KEYS * this.#half * 8, this.#added.length);
    for (const slot of this.#added) {
      this.#slots[slot] = { ptr: fresh.pop()!, positions: new Int32Array(PAGE_KEYS).fill(NO_POSITION) };
    }
  }

  /** Gives back what the latest `reserve` has reserved. */
  undoReserve(): void {
    for (const slot of this.#added) {
      this.#arena.release(this.#slots[slot]!.ptr);
      this.#slots[slot] = undefined;
    }
    this.#added = [];
  }

  /** Bytes that `locate` needs to spare for up to `count` positions from each of starts[n] on; 0 where all are reserved. */
  spareBytes(starts: readonly number[], count: number): number {
    const isMissing = starts.some((start) => this.#missing([start], [count]).length > 0);
    return isMissing ? Math.min(count, PAGE_KEYS) * this.#half * 8 : 0;
  }

  /**
   * The addresses of the cosines and sines of the `count` positions from `first` on, which lie in one page of PAGE_KEYS
   * positions. They are computed where they are not there yet; at `spare` where they are not reserved.
   */
  locate(first: number, count: number, spare: number): { cos: number; sin: number } {
    const rowBytes = this.#half * 4;
    if (this.#copy !== undefined) {
      const cos = this.#copy + first * rowBytes;
      return { cos, sin: cos + this.rows * rowBytes };
    }
    const slot = this.#slots[modulo(Math.floor(first / PAGE_KEYS), SLOTS)];
    const firstRow = slot ? modulo(first, PAGE_KEYS) : 0;
    const ptr = slot ? slot.ptr : spare;
    const rows = slot ? PAGE_KEYS : count;
    for (let n = 0; n < count; n++) {
      const row = firstRow + n;
      if (slot?.positions[row] === first + n) continue;
      this.#compute(ptr, rows, row, first + n);
      if (slot) slot.positions[row] = first + n;
    }
    const cos = ptr + firstRow * rowBytes;
    return { cos, sin: cos + rows * rowBytes };
  }

  /** Bytes that {@link writeRows} needs for `count` rows. */
  rowBytes(count: number): number {
    return count * this.#half * 8;
  }

  /**
   * Writes the cosines and then the sines of `count` rows at any positions to `ptr`, see {@link writeAngleRows}.
   *
   * @param axisOf which axis of the positions turns each pair
   * @returns the addresses of both
   */
  writeRows(
    ptr: number,
    axisOf: AngleRule["axisOf"],
    positions: Int32Array,
    from: number,
    count: number,
    axisStride: number,
  ): { cos: number; sin: number } {
    const length = count * this.#half;
    const sin = ptr + length * 4;
    const tables = this.#tables();
    // The tables have been multiplied by scale when they were copied.
    const rule = {
      frequencies: tables ? undefined : this.#rates(),
      tables,
      scale: tables ? 1 : this.#scale,
      axisOf,
    };
    const [cosines, sines] = [floatsAt(this.#arena, ptr, length), floatsAt(this.#arena, sin, length)];
    writeAngleRows(cosines, sines, rule, positions, from, count, axisStride);
    return { cos: ptr, sin };
  }

  /**
   * Writes the cosines and then the sines of the turn from one position to another to `ptr`: what takes rows that were
   * rotated by the angles of `from`, on each axis, to those of `to`.
   */
  writeTurn(
    ptr: number,
    axisOf: AngleRule["axisOf"],
    from: readonly number[],
    to: number,
  ): { cos: number; sin: number } {
    const half = this.#half;
    const sin = ptr + half * 4;
    const [cosines, sines] = [floatsAt(this.#arena, ptr, half), floatsAt(this.#arena, sin, half)];
    const start = (j: number): number => from[axisOf?.[j] ?? 0]!;
    const tables = this.#tables();
    if (!tables) {
      const angles = this.#rates().map((rate, j) => (to - start(j)) * rate);
      writeCosinesAndSines(cosines, sines, 0, 1, angles, 1);
      return { cos: ptr, sin };
    }
    for (let j = 0; j < half; j++) {
      const [before, after] = [start(j) * half + j, to * half + j];
      const [c, s] = [tables.cos[before]!, tables.sin[before]!];
      const size = c * c + s * s;
      cosines[j] = (tables.cos[after]! * c + tables.sin[after]! * s) / size;
      sines[j] = (tables.sin[after]! * c - tables.cos[after]! * s) / size;
    }
    return { cos: ptr, sin };
  }

  /** The tables times scale where they stand. */
  #tables(): { cos: Float32Array; sin: Float32Array } | undefined {
    if (this.#copy === undefined) return undefined;
    const length = this.rows * this.#half;
    return {
      cos: floatsAt(this.#arena, this.#copy, length),
      sin: floatsAt(this.#arena, this.#copy + length * 4, length),
    };
  }

  /** Ends one use of the table. The last one gives its memory back. */
  release(): void {
    for (const ptr of this.releasing()) this.#arena.release(ptr);
  }

  /** Ends one use of the table, and says which blocks of memory are to be released. */
  releasing(): number[] {
    if (--this.#users > 0) return [];
    const tables = tablesOfArena.get(this.#arena)!;
    tables.splice(tables.indexOf(this), 1);
    return [this.#copy, ...this.#slots.map((slot) => slot?.ptr)].filter((ptr) => ptr !== undefined);
  }

  /** Writes the angles of a position as row `row` of the `rows` rows of cosines at `ptr`, and of the sines behind them. */
  #compute(ptr: number, rows: number, row: number, position: number): void {
    const half = this.#half;
    const cosines = floatsAt(this.#arena, ptr + row * half * 4, half);
    const sines = floatsAt(this.#arena, ptr + (rows + row) * half * 4, half);
    writeCosinesAndSines(cosines, sines, 0, position, this.#rates(), this.#scale);
  }

  #rates(): Float64Array {
    return (this.#frequencies ??= frequenciesOf(this.#base!, this.#half));
  }

  /** The slots that counts[n] positions from starts[n] on need, for every n, and that are not there. */
  #missing(starts: ArrayLike<number>, counts: ArrayLike<number>): number[] {
    const missing: number[] = [];
    if (this.#copy !== undefined) return missing;
    for (let n = 0; n < starts.length; n++) {
      const firstPage = Math.floor(starts[n]! / PAGE_KEYS);
      const endPage = Math.min(Math.ceil((starts[n]! + counts[n]!) / PAGE_KEYS), firstPage + SLOTS);
      for (let page = firstPage; page < endPage; page++) {
        const slot = modulo(page, SLOTS);
        if (!this.#slots[slot] && !missing.includes(slot)) missing.push(slot);
      }
    }
    return missing;
  }
}

/** The remainder of a division that rounds down: of [0, size), for negative n too. */
export function modulo(n: number, size: number): number {
  return ((n % size) + size) % size;
}
