import type { Problem } from "../attention/problem.ts";
import { checkObject, wrongValue } from "../check.ts";
import { F32, PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { inputAsF32 } from "../engine/widen.ts";
import { type CallScope, withScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { stridesOf } from "../memory/layout.ts";
import type { RowsInMemory } from "../memory/staged-rows.ts";
import { record } from "../options.ts";
import { AngleTable, modulo } from "../rotary/angles.ts";
import { type RotaryForm, checkForm, checkInRows, checkInTables } from "../rotary/options.ts";
import type { Run, RunsOf } from "./token-positions.ts";

/** What the rows of tables must be enough for. */
interface PositionSizes {
  readonly headDim: number;
  readonly capacity: number;
  readonly firstPosition: number;
}

/** The rotary embedding that a cache applies: rotates rows of q and k by the angles of consecutive positions. */
export class CacheRotary {
  /** The option as it was given. */
  readonly given: Readonly<RotaryForm>;
  /** Those of the positions that the tokens of the cache may have. */
  angles: AngleTable;
  readonly #instance: Instance;
  readonly #sizes: PositionSizes;
  /** Axes of a position. */
  axes = 1;
  /** [rotaryDim / 2]: the axis that turns each pair; undefined where there are no sections. */
  #axisOf: Uint8Array | undefined;

  /**
   * Reads the tables or frequencies, where they are given.
   *
   * @param from the rotary embedding of a cache that is forked: its angles stand in for those of `given`
   * @throws TypeError or RangeError for a wrong form, for tables of fewer rows than `capacity`, or where memory cannot
   * grow; ReferenceError for a disposed Tensor
   */
  constructor(
    instance: Instance,
    given: RotaryForm,
    { headDim, capacity, firstPosition }: PositionSizes,
    from?: CacheRotary,
  ) {
    checkObject("rotary", given);
    this.given = Object.freeze(record(given));
    this.#instance = instance;
    this.#sizes = { headDim, capacity, firstPosition };
    if (from) [this.axes, this.#axisOf] = [from.axes, from.#axisOf];
    this.angles = from?.angles.share() ?? this.#acquire();
  }

  /** The same for a copy of the cache: with the same angles, whatever became of the tables since they were read. */
  fork(): CacheRotary {
    return new CacheRotary(this.#instance, this.given, this.#sizes, this);
  }

  /**
   * Reads the tables or frequencies again.
   *
   * @throws as the constructor; the angles stay as they were then
   */
  readAgain(): void {
    if (this.angles.rows === Infinity && !this.given.frequencies) return;
    const angles = this.#acquire();
    this.angles.release();
    this.angles = angles;
  }

  /** The angles of the form, which must fit the rows of the cache and have one for each of its positions. */
  #acquire(): AngleTable {
    const { arena } = this.#instance;
    const { headDim, capacity, firstPosition } = this.#sizes;
    const form = checkForm(arena, this.given, headDim, "rotary.");
    const rows = form.tables ? (form.tables.cos.length * 2) / form.rotaryDim : Infinity;
    if (rows < Infinity && firstPosition < 0)
      throw wrongValue("firstPosition", "none below 0 with tables", firstPosition);
    const needed = firstPosition + capacity;
    const what = firstPosition > 0 ? "firstPosition + capacity" : "capacity";
    if (rows < needed) throw wrongValue("rotary.cos", `at least ${needed} rows (${what})`, rows);
    const angles = withScope(arena, (scope) => {
      const inF32 = (table: Floats): Floats =>
        table.type === F32 ? table : { ptr: inputAsF32(this.#instance, scope, table), length: table.length, type: F32 };
      const tables = form.tables && { cos: inF32(form.tables.cos), sin: inF32(form.tables.sin) };
      return AngleTable.acquire(arena, { ...form, tables });
    });
    [this.axes, this.#axisOf] = [form.axes, form.axisOf];
    return angles;
  }

  /**
   * Checks that there are angles for all positions of `runs`; `title` names the argument that they come from.
   *
   * @throws RangeError for a position outside the tables
   */
  checkRuns(title: string, runs: readonly Run[]): void {
    const { rows } = this.angles;
    if (rows === Infinity) return;
    for (const { position, count, mixed } of runs) {
      if (mixed) checkInTables(title, mixed, rows, "rotary.cos");
      else checkInRows(title, position, count, rows, "rotary.cos");
    }
  }

  /**
   * Writes the rows of x at `out`, with the strides of x, each rotated by the angles of its position, run by run.
   *
   * @param spare room for angles: `bytesAt` of the rows where a run is mixed, and `spareBytes` where one is not reserved
   */
  rotateRuns(out: number, x: RowsInMemory, runs: readonly Run[], spare: number): void {
    let offset = 0;
    for (const { position, count, mixed } of runs) {
      const rows = { ...x, ptr: x.ptr + offset };
      if (mixed) this.rotateAt(out + offset, rows, mixed, 0, count, count, spare);
      else this.rotate(out + offset, rows, position, count, spare);
      offset += count * x.rowStride;
    }
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
    const { rotaryDim = dim, interleaved = false } = this.given;
    for (let done = 0; done < count;) {
      const position = first + done;
      const rows = Math.min(count - done, PAGE_KEYS - modulo(position, PAGE_KEYS));
      const { cos, sin } = this.angles.locate(position, rows, spare);
      const offset = done * rowStride;
      const dims = [rows, heads, dim, rotaryDim] as const;
      kernels.rotate(out + offset, ptr + offset, cos, sin, 0, ...dims, rowStride, headStride, interleaved);
      done += rows;
    }
  }

  /** Bytes that {@link rotateAt} needs to spare for `count` rows. */
  bytesAt(count: number): number {
    return this.angles.rowBytes(Math.min(count, PAGE_KEYS));
  }

  /**
   * {@link rotate} of rows at any positions. On axis a, row n has the position positions[from + n + a·axisStride]; 0 as
   * axisStride gives all axes the same one.
   *
   * @param spare `bytesAt(count)` bytes for angles
   */
  rotateAt(
    out: number,
    x: RowsInMemory,
    positions: Int32Array,
    from: number,
    axisStride: number,
    count: number,
    spare: number,
  ): void {
    const { kernels } = this.#instance;
    const { ptr, heads, dim, rowStride, headStride } = x;
    const { rotaryDim = dim, interleaved = false } = this.given;
    for (let done = 0; done < count; done += PAGE_KEYS) {
      const rows = Math.min(count - done, PAGE_KEYS);
      const { cos, sin } = this.angles.writeRows(spare, this.#axisOf, positions, from + done, rows, axisStride);
      const offset = done * rowStride;
      const dims = [rows, heads, dim, rotaryDim] as const;
      kernels.rotate(out + offset, ptr + offset, cos, sin, 0, ...dims, rowStride, headStride, interleaved);
    }
  }

  /**
   * Turns `count` rows of k in place, from the positions that they were rotated by to others: `from` is that of row 0 on
   * each axis, `to` the one that it gets, and all rows turn by as much.
   *
   * @param angles `bytesAt(1)` bytes
   * @param zeros [count] i32, all 0
   */
  turn(x: RowsInMemory, count: number, from: readonly number[], to: number, angles: number, zeros: number): void {
    const { ptr, heads, dim, rowStride, headStride } = x;
    const { rotaryDim = dim, interleaved = false } = this.given;
    const { cos, sin } = this.angles.writeTurn(angles, this.#axisOf, from, to);
    const dims = [count, heads, dim, rotaryDim] as const;
    this.#instance.kernels.rotate(ptr, ptr, cos, sin, zeros, ...dims, rowStride, headStride, interleaved);
  }

  /**
   * q in memory of the call, each row rotated by the position of its query, as `runsOf` says.
   *
   * @throws RangeError where memory cannot grow
   */
  placeQueries(scope: CallScope, problem: Problem, runsOf: RunsOf): Floats {
    const { q, sequences, layout, rowsQ, numHeads, headDim } = problem;
    const from = inputAsF32(this.#instance, scope, q);
    // What has just been copied in is rotated in place. A Tensor is the caller's.
    const to = q.array || q.type !== F32 ? from : scope.reserve(q.length * 4);
    const strides = stridesOf(layout, rowsQ, numHeads, headDim);
    const shape = { rowStride: strides.row, headStride: strides.head, heads: numHeads, dim: headDim };
    // Queries mostly stand at tokens of the cache, whose angles are reserved.
    // Those of a sequence without keys see nothing, and may stand where tables have no angles.
    const runs = sequences.map(({ batch, seqLenQ, seqLenKv, queryOffset }) =>
      seqLenKv > 0 ? runsOf(batch, queryOffset, seqLenQ) : [],
    );
    const all = runs.flat();
    const starts = all.filter(({ mixed }) => !mixed).map(({ position }) => position);
    const ofMixed = all.some(({ mixed }) => mixed) ? this.bytesAt(rowsQ) : 0;
    const bytes = Math.max(this.angles.spareBytes(starts, rowsQ), ofMixed);
    const spare = bytes && scope.reserve(bytes);
    sequences.forEach(({ batch }, n) => {
      const offset = batch * strides.batch;
      this.rotateRuns(to + offset, { ...shape, ptr: from + offset }, runs[n]!, spare);
    });
    return { ptr: to, length: q.length, type: F32 };
  }
}
