import type { Problem } from "../attention/problem.ts";
import { checkObject, wrongValue } from "../check.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { type Floats, checkFloats } from "../memory/data.ts";
import { stridesOf } from "../memory/layout.ts";
import { AngleTable } from "../rotary/angles.ts";
import { type CheckedForm, type RotaryForm, checkForm } from "../rotary/options.ts";

/** The rotary embedding of a cache: turns rows of q and k by the angles of consecutive positions. */
export class Rotation {
  /** As it was given. */
  readonly given: Readonly<RotaryForm>;
  readonly #instance: Instance;
  readonly #form: CheckedForm;
  /** Unless both tables live in linear memory, where they are read in place. */
  readonly #angles: AngleTable | undefined;

  /** `capacity`: positions that a token may have. */
  constructor(instance: Instance, given: RotaryForm, headDim: number, capacity: number) {
    checkObject("rotary", given);
    this.given = { ...given };
    this.#instance = instance;
    this.#form = checkForm(instance.arena, given, headDim, "rotary.");
    const { tables, rotaryDim } = this.#form;
    const rows = tables ? tables.cos.length / (rotaryDim / 2) : Infinity;
    if (rows < capacity) throw wrongValue("rotary.cos", `at least ${capacity} rows (capacity)`, rows);
    const inPlace = tables?.cos.ptr !== undefined && tables.sin.ptr !== undefined;
    this.#angles = inPlace ? undefined : AngleTable.take(instance.arena, this.#form);
  }

  /** Checks that there are angles for `count` positions from `first` on. */
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

  /** Has memory for the angles of counts[n] positions from starts[n] on, for every n; where it does not suffice nothing changes. */
  reserve(starts: ArrayLike<number>, counts: ArrayLike<number>): void {
    this.#angles?.reserve(starts, counts);
  }

  /** out = x [count, heads, headDim] turned by the positions from `first` on, reserved before; `row` and `head` in bytes, of x and of out. */
  rotate(out: number, x: number, first: number, count: number, heads: number, dim: number, row: number, head: number) {
    const { rotaryDim, interleaved, tables } = this.#form;
    for (let done = 0; done < count;) {
      const position = first + done;
      const here = Math.min(count - done, PAGE_KEYS - (((position % PAGE_KEYS) + PAGE_KEYS) % PAGE_KEYS));
      let cos: number;
      let sin: number;
      if (this.#angles) {
        cos = this.#angles.at(position, here);
        sin = cos + this.#angles.apart;
      } else {
        cos = rowOf(tables!.cos, position, rotaryDim);
        sin = rowOf(tables!.sin, position, rotaryDim);
      }
      const dims = [here, heads, dim, rotaryDim] as const;
      this.#instance.kernels.rotate(out + done * row, x + done * row, cos, sin, 0, ...dims, row, head, interleaved);
      done += here;
    }
  }

  /** to = the rows of q, which stand at `from`, each turned by the position of its query. */
  rotateQueries(to: number, from: number, { sequences, layout, rowsQ, numHeads, headDim }: Problem): void {
    const of = stridesOf(layout, rowsQ, numHeads, headDim);
    const starts = sequences.map(({ queryOffset }) => queryOffset);
    this.reserve(starts, new Int32Array(starts.length).fill(rowsQ));
    for (const { batch, seqLenQ, queryOffset } of sequences) {
      const at = batch * of.batch;
      this.rotate(to + at, from + at, queryOffset, seqLenQ, numHeads, headDim, of.row, of.head);
    }
  }

  /** Ends it. */
  release(): void {
    this.#angles?.release();
  }
}

/** Where the angles of a position stand in a table in linear memory. */
function rowOf(table: Floats, position: number, rotaryDim: number): number {
  return table.ptr! + position * rotaryDim * 2;
}
