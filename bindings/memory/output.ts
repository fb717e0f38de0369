import { wrongKind, wrongValue } from "../check.ts";
import type { Arena } from "./arena.ts";
import type { CallScope } from "./call-scope.ts";
import { type Floats, checkFloatsOf } from "./data.ts";
import { Tensor } from "./tensor.ts";

/** Where a result went: the place that the option gave, else a fresh Float32Array. */
export type Written<Option> = Option extends Float32Array | Tensor ? Option : Float32Array<ArrayBuffer>;

/** One result of a call: where it is to go, where the kernels write it, and how it gets there. */
export class Output {
  readonly #title: string;
  readonly #arena: Arena;
  readonly #length: number;
  /** The caller's place, or true for a fresh array, or false for no result. */
  readonly #target: Float32Array | Tensor | boolean;
  /** The caller's place, checked. */
  readonly place: Floats | undefined;
  #ptr = 0;

  /** `fresh`: whether a fresh array is made where the option is absent, or where it is true. */
  constructor(
    title: string,
    option: unknown,
    fresh: "when absent" | "when true",
    arena: Arena,
    length: number,
    what: string,
  ) {
    this.#title = title;
    this.#arena = arena;
    this.#length = length;
    if (option === undefined || (fresh === "when true" && typeof option === "boolean")) {
      this.#target = option ?? fresh === "when absent";
      return;
    }
    this.place = checkFloatsOf(title, option, arena, length, what);
    this.#target = option as Float32Array | Tensor;
    if (!(option instanceof Tensor) && this.place.array === undefined) {
      throw wrongKind(title, "a Tensor or a Float32Array outside the instance's memory", option);
    }
  }

  /** A result may not lie over the other result, nor in linear memory over what the kernels still read. */
  checkApartFrom(others: Record<string, Floats | undefined>): void {
    if (!this.place) return;
    for (const [title, other] of Object.entries(others)) {
      if (other && overlap(this.place, other) && (other.array === undefined || RESULTS.has(title))) {
        throw wrongValue(this.#title, `memory apart from "${title}"`, "memory that overlaps it");
      }
    }
  }

  /** Where the kernels write; 0 for no result. `copy`: where the scope holds as many floats that may be overwritten. */
  reserve(scope: CallScope, copy?: number): number {
    if (this.#target === false) return 0;
    this.#ptr = this.place?.ptr ?? copy ?? scope.reserve(this.#length * 4);
    return this.#ptr;
  }

  /** The result in its place, once the kernels have run. */
  take(): Float32Array | Tensor | undefined {
    if (this.#target === false) return undefined;
    if (this.#target instanceof Tensor) return this.#target;
    const written = new Float32Array(this.#arena.buffer, this.#ptr, this.#length);
    if (this.#target === true) return written.slice();
    this.#target.set(written);
    return this.#target;
  }
}

/** Of the others these are results too, so that arrays count as well. */
const RESULTS = new Set(["lse", "entropy"]);

function overlap(a: Floats, b: Floats): boolean {
  if (a.array?.buffer !== b.array?.buffer) return false;
  const [aStart, bStart] = [a.ptr ?? a.array.byteOffset, b.ptr ?? b.array.byteOffset];
  return aStart < bStart + b.length * 4 && bStart < aStart + a.length * 4;
}
