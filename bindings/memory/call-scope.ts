import { type Arena, integersAt } from "./arena.ts";
import type { Bytes, Floats } from "./data.ts";

/**
 * The memory of one call. `release`, called in `finally`, gives back everything that was reserved or copied in. With
 * `inSteps` the caller's code runs while the call does, so views of linear memory are copied too.
 */
export class CallScope {
  readonly #arena: Arena;
  readonly #ptrs: number[] = [];
  readonly inSteps: boolean;

  constructor(arena: Arena, inSteps = false) {
    this.#arena = arena;
    this.inSteps = inSteps;
  }

  /** The address of `bytes` new bytes. Throws a RangeError where memory cannot grow. */
  reserve(bytes: number): number {
    const ptr = this.#arena.allocate(bytes);
    this.#ptrs.push(ptr);
    return ptr;
  }

  /** What `reserveAll` returns; undefined where memory cannot grow, and then it has reserved nothing. */
  attempt<T>(reserveAll: () => T): T | undefined {
    const before = this.#ptrs.length;
    try {
      return reserveAll();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      for (const ptr of this.#ptrs.splice(before)) this.#arena.release(ptr);
      return undefined;
    }
  }

  /**
   * The address at which the kernels read `data`: an array is copied in, linear memory is read in place. 0 for
   * undefined.
   */
  input(data: Floats | Bytes | undefined): number {
    if (!data) return 0;
    if (data.array === undefined) {
      if (!this.inSteps || data.viewBytes === undefined) return data.ptr;
      const copy = this.reserve(data.viewBytes);
      new Uint8Array(this.#arena.buffer).copyWithin(copy, data.ptr, data.ptr + data.viewBytes);
      return copy;
    }
    const ptr = this.reserve(data.array.byteLength);
    const { array } = data;
    const Copy = array instanceof Float32Array ? Float32Array : array instanceof Uint16Array ? Uint16Array : Uint8Array;
    new Copy(this.#arena.buffer, ptr, data.length).set(array);
    return ptr;
  }

  /** The address of a copy of `values` as i32. */
  integers(values: ArrayLike<number>): number {
    const ptr = this.reserve(values.length * 4);
    integersAt(this.#arena, ptr, values.length).set(values);
    return ptr;
  }

  /** Gives everything back. */
  release(): void {
    for (const ptr of this.#ptrs.splice(0)) this.#arena.release(ptr);
  }
}

/** What `use` returns: a call with a scope of its own, which is released whatever happens. */
export function withScope<Result>(arena: Arena, use: (scope: CallScope) => Result): Result {
  const scope = new CallScope(arena);
  try {
    return use(scope);
  } finally {
    scope.release();
  }
}
