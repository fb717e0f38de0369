import { type Span, mismatch, wrongKind, wrongValue } from "../check.ts";
import { F32, bytesOf } from "./float-types.ts";
import type { Arena } from "./arena.ts";
import type { CallScope } from "./call-scope.ts";
import { type FloatRows, type Floats, Halves, checkFloats, checkFloatsOf, elementsOf, spanOf } from "./data.ts";
import { type Tensor, isTensor, viewAt } from "./tensor.ts";

/** Floats that a call reads or writes: an array, or a Tensor. */
export type Rows = Float32Array | Tensor;

/**
 * What a call returns for an output option: the array or Tensor that was given, else a fresh Float32Array.
 *
 * @category Attention
 */
export type Written<Option> = Option extends FloatRows ? Option : Float32Array<ArrayBuffer>;

/**
 * One output of a call, from the check of its option to the array that the caller gets:
 *
 *     new Output or optionalOutput   checks the option
 *     checkApart                     refuses memory that the call still reads, or writes otherwise
 *     reserve                        says where the kernels write
 *     take                           hands the floats over, once the kernels have run
 */
export class Output<Target extends FloatRows = Rows> {
  readonly #arena: Arena;
  readonly #length: number;
  /** What the caller gets: his array or Tensor, or a fresh array once reserved; undefined where there is no output. */
  #target: Target | Float32Array | undefined;
  /** The option as the call has read it. */
  readonly #option: unknown;
  readonly #check: typeof checkFloats;
  /** The floats of the caller's array or Tensor. */
  readonly place: Floats | undefined;
  /** Whether the call has this output at all. */
  readonly #wanted: boolean;
  readonly #title: string;
  /** Where the kernels write, once reserved. */
  #ptr = 0;

  /**
   * An output that every call has. `option` is an array or Tensor of `length` floats, or undefined for a fresh array;
   * `what` says in errors what the length is made of, `check` which floats it may be.
   */
  constructor(
    arena: Arena,
    title: string,
    option: unknown,
    length: number,
    what: string,
    check = checkFloats,
    wanted = true,
  ) {
    this.#arena = arena;
    this.#title = title;
    this.#length = length;
    this.#wanted = wanted;
    this.#option = option;
    this.#check = check;
    if (option === undefined) return;
    this.place = checkFloatsOf(title, option, arena, length, what, check);
    this.#target = (option instanceof Halves ? option.given : option) as Target;
    if (this.place.array === undefined && !isTensor(option)) {
      throw wrongKind(title, "a Tensor or an array outside the instance's memory", option);
    }
  }

  /** The number of the type that the kernels write. */
  get type(): number {
    return this.place?.type ?? F32;
  }

  /**
   * Where the kernels write: the caller's place in linear memory, or room in the scope; 0 for no output. `copy` is the
   * address of as many floats that the scope holds already and that may be overwritten.
   *
   * @throws RangeError where memory cannot grow, or the engine makes no array of that length
   */
  reserve(scope: CallScope, copy?: number): number {
    if (!this.#wanted) return 0;
    // Before anything is written, since making it may fail.
    this.#target ??= freshArray(Float32Array, this.#title, this.#length);
    // The Tensor of a call in steps is written when nothing can end the call any more.
    this.#ptr =
      (scope.inSteps ? undefined : this.place?.ptr) ?? copy ?? scope.reserve(this.#length * bytesOf(this.type));
    return this.#ptr;
  }

  /** Checks the caller's array or Tensor again, since his code may have run. Throws as the first check. */
  checkAgain(): void {
    if (!this.place) return;
    checkFloatsOf(this.#title, this.#option, this.#arena, this.#length, "as at first", this.#check);
  }

  /** The array or Tensor to return, filled; undefined for no output. */
  take(): Target | Float32Array | undefined {
    const target = this.#target;
    if (target && this.place?.ptr !== this.#ptr) {
      const to = this.place ? elementsOf(this.#arena, this.place) : (target as Float32Array);
      to.set(viewAt(this.#arena, this.#ptr, this.#length, this.type));
    }
    return target;
  }
}

/** An output on request: `option` may also be true for a fresh array; false and undefined stand for no output. */
export function optionalOutput(arena: Arena, title: string, option: unknown, length: number, what: string): Output {
  const wanted = option !== undefined && option !== false;
  const given = typeof option === "boolean" ? undefined : option;
  return new Output(arena, title, given, length, what, checkFloats, wanted);
}

/** A fresh array. Throws a RangeError that names the output where the engine makes none of that length. */
export function freshArray<A>(Kind: new (length: number) => A, title: string, length: number): A {
  try {
    return new Kind(length);
  } catch (cause) {
    throw new RangeError(mismatch(title, `memory for ${length} elements`, "refused by the engine"), { cause });
  }
}

/**
 * Checks that outputs lie apart from each other, and from what the call reads in linear memory. What it reads in arrays
 * has been copied by the time an output is written.
 *
 * @param outputs what the caller gave for each output, by the names of the options
 * @param inputs the arguments of the call by their names, such as the options; outputs among them do not count
 * @throws RangeError where two overlap
 */
export function checkApart(arena: Arena, outputs: Record<string, unknown>, ...inputs: object[]): void {
  const before: [string, Span][] = [];
  for (const name in outputs) {
    const span = spanOf(arena, name, outputs[name]);
    if (!span) continue;
    for (const [title, other] of before) checkOne(title, other, name, span);
    before.push([name, span]);
    if (span.buffer !== arena.buffer) continue;
    for (const given of inputs as Record<string, Given>[]) {
      for (const title in given) {
        const value = given[title];
        if (typeof value !== "object" || title in outputs) continue;
        checkOne(name, span, title, spanOf(arena, title, value) ?? spanOf(arena, title, value?.data));
      }
    }
  }
}

/** An argument: an array, a Tensor, { data, shape }, or what lies in no memory. */
type Given = { data?: unknown } | null | undefined;

/** Throws a RangeError where the output `name`, at `a`, overlaps what is at `b`. */
function checkOne(name: string, a: Span, title: string, b: Span | undefined): void {
  if (b && a.buffer === b.buffer && a.start < b.start + b.bytes && b.start < a.start + a.bytes) {
    throw wrongValue(name, `memory apart from "${title}"`, "memory that overlaps it");
  }
}
