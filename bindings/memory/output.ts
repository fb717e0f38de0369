import { wrongKind, wrongValue } from "../check.ts";
import type { Arena } from "./arena.ts";
import type { CallScope } from "./call-scope.ts";
import { type Floats, checkFloatsOf } from "./data.ts";
import { Tensor } from "./tensor.ts";

/**
 * What a call returns for an output option: the array or Tensor that was given, else a fresh Float32Array.
 *
 * @category Attention
 */
export type Written<Option> = Option extends Float32Array | Tensor ? Option : Float32Array<ArrayBuffer>;

/**
 * One output of a call, from the check of its option to the array that the caller gets:
 *
 *     Output.required or Output.optional   checks the option
 *     checkApartFrom                       refuses memory that the call still reads
 *     reserve                              says where the kernels write
 *     take                                 hands the floats over, once the kernels have run
 */
export class Output {
  readonly #arena: Arena;
  readonly #title: string;
  readonly #length: number;
  /** The caller's array or Tensor; undefined for a fresh array, and where there is no output. */
  readonly #target: Float32Array | Tensor | undefined;
  /** The floats of the caller's array or Tensor. */
  readonly place: Floats | undefined;
  /** Whether the call has this output at all. */
  readonly #wanted: boolean;
  /** Where the kernels write, once reserved. */
  #ptr = 0;

  /**
   * An output that every call has. `option` is an array or Tensor of `length` floats, or undefined for a fresh array;
   * `what` says in errors what the length is made of.
   */
  static required(arena: Arena, title: string, option: unknown, length: number, what: string): Output {
    return new Output(arena, title, option, length, what, true);
  }

  /** An output on request: `option` may also be true for a fresh array; false and undefined stand for no output. */
  static optional(arena: Arena, title: string, option: unknown, length: number, what: string): Output {
    const wanted = option !== undefined && option !== false;
    return new Output(arena, title, typeof option === "boolean" ? undefined : option, length, what, wanted);
  }

  private constructor(arena: Arena, title: string, option: unknown, length: number, what: string, wanted: boolean) {
    this.#arena = arena;
    this.#title = title;
    this.#length = length;
    this.#wanted = wanted;
    if (option === undefined) return;
    this.place = checkFloatsOf(title, option, arena, length, what);
    this.#target = option as Float32Array | Tensor;
    if (!(option instanceof Tensor) && this.place.array === undefined) {
      throw wrongKind(title, "a Tensor or a Float32Array outside the instance's memory", option);
    }
  }

  /**
   * Throws a RangeError where the output lies over one of `others`, named by their titles. Inputs count only in linear
   * memory, since an array has been copied in before an output is written. Other outputs, lse and entropy, count as
   * arrays too.
   */
  checkApartFrom(others: Record<string, Floats | undefined>): void {
    if (!this.place) return;
    for (const [title, other] of Object.entries(others)) {
      if (other && overlap(this.place, other) && (other.array === undefined || OUTPUTS.has(title))) {
        throw wrongValue(this.#title, `memory apart from "${title}"`, "memory that overlaps it");
      }
    }
  }

  /**
   * Where the kernels write: the caller's place in linear memory, or room in the scope; 0 for no output. `copy` is the
   * address of as many floats that the scope holds already and that may be overwritten.
   */
  reserve(scope: CallScope, copy?: number): number {
    if (!this.#wanted) return 0;
    this.#ptr = this.place?.ptr ?? copy ?? scope.reserve(this.#length * 4);
    return this.#ptr;
  }

  /** The array or Tensor to return, filled; undefined for no output. */
  take(): Float32Array | Tensor | undefined {
    if (!this.#wanted) return undefined;
    if (this.#target instanceof Tensor) return this.#target;
    const written = new Float32Array(this.#arena.buffer, this.#ptr, this.#length);
    if (!this.#target) return written.slice();
    this.#target.set(written);
    return this.#target;
  }
}

/** Titles of outputs among what `checkApartFrom` compares. */
const OUTPUTS = new Set(["lse", "entropy"]);

function overlap(a: Floats, b: Floats): boolean {
  if (a.array?.buffer !== b.array?.buffer) return false;
  const [aStart, bStart] = [a.ptr ?? a.array.byteOffset, b.ptr ?? b.array.byteOffset];
  return aStart < bStart + b.length * 4 && bStart < aStart + a.length * 4;
}
