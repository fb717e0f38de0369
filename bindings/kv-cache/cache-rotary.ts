import type { Problem } from "../attention/problem.ts";
import { checkObject, wrongValue } from "../check.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { CallScope } from "../memory/call-scope.ts";
import { type Floats, checkFloats } from "../memory/data.ts";
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
  readonly #form: CheckedForm;
  /** Undefined where both tables are Tensors, which are read in place. */
  readonly #angles: AngleTable | undefined;

  /**
   * @param capacity how many positions the tokens of the cache may have
   * @throws TypeError or RangeError for a wrong form, or for tables of fewer rows than `capacity`
   */
  constructor(instance: Instance, given: RotaryForm, headDim: number, capacity: number) {
    checkObject("rotary", given);
    this.given = Object.freeze(record(given));
    this.#instance = instance;
    this.#form = checkForm(instance.arena, given, headDim, "rotary.");
    const { tables, rotaryDim } = this.#form;
    const rows = tables ? tables.cos.length / (rotaryDim / 2) : Infinity;
    if (rows < capacity) throw wrongValue("rotary.cos", `at least ${capacity} rows (capacity)`, rows);
    const inPlace = tables?.cos.ptr !== undefined && tables.sin.ptr !== undefined;
    this.#angles = inPlace ? undefined : AngleTable.acquire(instance.arena, this.#form);
  }

  /**
   * Checks that there are angles for the `count` positions from `first` on.
   *
   * @throws RangeError for a position outside the tables, ReferenceError where a table is a disposed Tensor
   */
  check(first: number, count: number): void {
    const { tables, rotaryDim } = this.#form;
    if (!tables || count === 0) return;
    checkFloats("rotary.cos", this.given.cos, this.#instance.arena);
    checkFloats("rotary.sin", this.given.sin, this.#instance.arena);
    const rows = (tables.cos.length * 2) / rotaryDim;
    if (first >= 0 && first + count <= rows) return;
    const wrong = first < 0 ? first : first + count - 1;
    throw wrongValue("queryOffset", `positions from 0 to ${rows - 1} (rows of rotary.cos)`, wrong);
  }

  /**
   * Reserves memory for the angles of the counts[n] positions from starts[n] on, for every n.
   *
   * @throws RangeError where memory cannot grow; nothing is reserved then
   */
  reserve(starts: ArrayLike<number>, counts: ArrayLike<number>): void {
    this.#angles?.reserve(starts, counts);
  }

  /**
   * Writes the `count` rows of x at `out`, with the strides of x, each rotated by the angles of its position. Row n has
   * the position first + n, which must be reserved.
   *
   * @param out address of row 0; may be that of x
   */
  rotate(out: number, x: RowsInMemory, first: number, count: number): void {
    const { kernels } = this.#instance;
    const { rotaryDim, interleaved, tables } = this.#form;
    const { ptr, heads, dim, rowStride, headStride } = x;
    for (let done = 0; done < count;) {
      const position = first + done;
      const rows = Math.min(count - done, PAGE_KEYS - modulo(position, PAGE_KEYS));
      let cos: number;
      let sin: number;
      if (this.#angles) {
        cos = this.#angles.fill(position, rows);
        sin = cos + this.#angles.sinOffset;
      } else {
        cos = rowAddress(tables!.cos, position, rotaryDim);
        sin = rowAddress(tables!.sin, position, rotaryDim);
      }
      const offset = done * rowStride;
      const dims = [rows, heads, dim, rotaryDim] as const;
      kernels.rotate(out + offset, ptr + offset, cos, sin, 0, ...dims, rowStride, headStride, interleaved);
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
    this.#rotateQueries(to, from, problem);
    return { ptr: to, length: q.length };
  }

  /** Writes q, which stands at `from`, to `to`, in the same layout, each row rotated. `to` may be `from`. */
  #rotateQueries(to: number, from: number, { sequences, layout, rowsQ, numHeads, headDim }: Problem): void {
    const strides = stridesOf(layout, rowsQ, numHeads, headDim);
    const shape = { rowStride: strides.row, headStride: strides.head, heads: numHeads, dim: headDim };
    const starts = sequences.map(({ queryOffset }) => queryOffset);
    this.reserve(starts, new Int32Array(starts.length).fill(rowsQ));
    for (const { batch, seqLenQ, queryOffset } of sequences) {
      const offset = batch * strides.batch;
      this.rotate(to + offset, { ...shape, ptr: from + offset }, queryOffset, seqLenQ);
    }
  }

  /** Gives the memory of the angles back. Nothing else may be called after it. */
  release(): void {
    this.#angles?.release();
  }
}

/** The address of a position's row in a table that lives in linear memory. */
function rowAddress(table: Floats, position: number, rotaryDim: number): number {
  return table.ptr! + position * rotaryDim * 2;
}
