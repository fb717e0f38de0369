import type { Problem } from "../attention/problem.ts";
import { checkObject, wrongValue } from "../check.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { stridesOf } from "../memory/layout.ts";
import type { RowsInMemory } from "../memory/staged-rows.ts";
import { record } from "../options.ts";
import { AngleTable, modulo } from "../rotary/angles.ts";
import { type CheckedForm, type RotaryForm, checkForm } from "../rotary/options.ts";

/** The rotary embedding that a cache applies: rotates rows of q and k by the angles of consecutive positions. */
export class CacheRotary {
  /** The option as it was given. */
  readonly given: Readonly<RotaryForm>;
  readonly #instance: Instance;
  readonly #headDim: number;
  readonly #capacity: number;
  readonly #interleaved: boolean;
  readonly #rotaryDim: number;
  #angles: AngleTable;

  /**
   * Reads the tables, where they are given.
   *
   * @param capacity how many positions the tokens of the cache may have
   * @throws TypeError or RangeError for a wrong form, for tables of fewer rows than `capacity`, or where memory cannot
   * grow; ReferenceError for a disposed Tensor
   */
  static of(instance: Instance, given: RotaryForm, headDim: number, capacity: number): CacheRotary {
    checkObject("rotary", given);
    const form = checkedForm(instance, given, headDim, capacity);
    const angles = AngleTable.acquire(instance.arena, form);
    return new CacheRotary(instance, Object.freeze(record(given)), headDim, capacity, form, angles);
  }

  private constructor(
    instance: Instance,
    given: Readonly<RotaryForm>,
    headDim: number,
    capacity: number,
    { interleaved, rotaryDim }: Pick<CheckedForm, "interleaved" | "rotaryDim">,
    angles: AngleTable,
  ) {
    this.given = given;
    this.#instance = instance;
    this.#headDim = headDim;
    this.#capacity = capacity;
    this.#interleaved = interleaved;
    this.#rotaryDim = rotaryDim;
    this.#angles = angles;
  }

  /** The same for a copy of the cache: with the same angles, whatever became of the tables since they were read. */
  fork(): CacheRotary {
    const form = { interleaved: this.#interleaved, rotaryDim: this.#rotaryDim };
    return new CacheRotary(this.#instance, this.given, this.#headDim, this.#capacity, form, this.#angles.share());
  }

  /**
   * Reads the tables again.
   *
   * @throws as `of`; the angles stay as they were then
   */
  readAgain(): void {
    if (this.#angles.rows === Infinity) return;
    const form = checkedForm(this.#instance, this.given, this.#headDim, this.#capacity);
    const angles = AngleTable.acquire(this.#instance.arena, form);
    this.#angles.release();
    this.#angles = angles;
  }

  /**
   * Checks that there are angles for the `count` positions from `first` on.
   *
   * @throws RangeError for a position outside the tables
   */
  check(first: number, count: number): void {
    const { rows } = this.#angles;
    if (rows === Infinity || count === 0 || (first >= 0 && first + count <= rows)) return;
    const wrong = first < 0 ? first : first + count - 1;
    throw wrongValue("queryOffset", `positions from 0 to ${rows - 1} (rows of rotary.cos)`, wrong);
  }

  /**
   * Reserves memory for the angles of the counts[n] positions from starts[n] on, for every n.
   *
   * @throws RangeError where memory cannot grow; nothing is reserved then
   */
  reserve(starts: ArrayLike<number>, counts: ArrayLike<number>): void {
    this.#angles.reserve(starts, counts);
  }

  /** Gives back what the latest `reserve` has reserved. */
  undoReserve(): void {
    this.#angles.undoReserve();
  }

  /**
   * Writes the `count` rows of x at `out`, with the strides of x, each rotated by the angles of its position. Row n has
   * the position first + n.
   *
   * @param out address of row 0; may be that of x
   * @param spare room for angles, where the positions are not reserved
   */
  rotate(out: number, x: RowsInMemory, first: number, count: number, spare = 0): void {
    const { kernels } = this.#instance;
    const { ptr, heads, dim, rowStride, headStride } = x;
    for (let done = 0; done < count;) {
      const position = first + done;
      const rows = Math.min(count - done, PAGE_KEYS - modulo(position, PAGE_KEYS));
      const { cos, sin } = this.#angles.locate(position, rows, spare);
      const offset = done * rowStride;
      const dims = [rows, heads, dim, this.#rotaryDim] as const;
      kernels.rotate(out + offset, ptr + offset, cos, sin, 0, ...dims, rowStride, headStride, this.#interleaved);
      done += rows;
    }
  }

  /**
   * q in memory of the call, each row rotated by the position of its query.
   *
   * @throws RangeError where memory cannot grow
   */
  placeQueries(scope: CallScope, problem: Problem): Floats {
    const { q } = problem;
    const from = scope.input(q);
    // An array has just been copied in, so it is rotated in place. A Tensor is the caller's.
    const to = q.array ? from : scope.reserve(q.length * 4);
    this.#rotateQueries(scope, to, from, problem);
    return { ptr: to, length: q.length };
  }

  /** Writes q, which stands at `from`, to `to`, in the same layout, each row rotated. `to` may be `from`. */
  #rotateQueries(scope: CallScope, to: number, from: number, problem: Problem): void {
    const { sequences, layout, rowsQ, numHeads, headDim } = problem;
    const strides = stridesOf(layout, rowsQ, numHeads, headDim);
    const shape = { rowStride: strides.row, headStride: strides.head, heads: numHeads, dim: headDim };
    // Queries mostly stand at tokens of the cache, whose angles are reserved.
    const starts = sequences.map(({ queryOffset }) => queryOffset);
    const bytes = this.#angles.spareBytes(starts, rowsQ);
    const spare = bytes && scope.reserve(bytes);
    for (const { batch, seqLenQ, queryOffset } of sequences) {
      const offset = batch * strides.batch;
      this.rotate(to + offset, { ...shape, ptr: from + offset }, queryOffset, seqLenQ, spare);
    }
  }

  /** Gives the memory of the angles back. Nothing else may be called after it. */
  release(): void {
    this.#angles.release();
  }

  /** Ends the use of the angles, and says which blocks of memory are to be released. */
  releasing(): number[] {
    return this.#angles.releasing();
  }
}

/** A form that fits the rows of a cache, and whose tables have an angle for each of its positions. */
function checkedForm({ arena }: Instance, given: RotaryForm, headDim: number, capacity: number): CheckedForm {
  const form = checkForm(arena, given, headDim, "rotary.");
  const rows = form.tables ? (form.tables.cos.length * 2) / form.rotaryDim : Infinity;
  if (rows < capacity) throw wrongValue("rotary.cos", `at least ${capacity} rows (capacity)`, rows);
  return form;
}
