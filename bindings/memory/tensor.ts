import type { Arena } from "./arena.ts";

/**
 * Floats in an instance's linear memory. Where a Float32Array is expected a Tensor of the same instance may stand: it is read
 * and written in place, without a copy.
 */
export class Tensor {
  /** Number of floats. */
  readonly length: number;
  readonly #arena: Arena;
  /** Undefined once disposed. */
  #ptr: number | undefined;

  /** @internal Made by `heed.tensor`; or, with `place`, a name for floats that belong to someone else, and never disposed. */
  constructor(arena: Arena, length: number, place?: number) {
    this.length = length;
    this.#arena = arena;
    this.#ptr = place ?? arena.allocate(length * 4);
    if (place !== undefined) return;
    this.data.fill(0);
    arena.watch(this, [this.#ptr]);
  }

  /**
   * The floats. The view is made anew at each access, because growing memory detaches older ones: use it and let it go.
   * @throws ReferenceError after `dispose`
   */
  get data(): Float32Array<ArrayBuffer> {
    return new Float32Array(this.#arena.buffer, this.ptrIn(this.#arena, "tensor"), this.length);
  }

  /** @internal The address, for the instance that owns `arena`; `title` names the argument in errors. */
  ptrIn(arena: Arena, title: string): number {
    if (this.#ptr === undefined) throw new ReferenceError(`"${title}" expected a live Tensor, got a disposed one`);
    if (arena !== this.#arena) throw new TypeError(`"${title}" expected a Tensor of this instance, got one of another`);
    return this.#ptr;
  }

  /** Gives the memory back. Calling it again does nothing; any other use throws a ReferenceError. */
  dispose(): void {
    if (this.#ptr === undefined) return;
    this.#arena.unwatch(this);
    this.#arena.release(this.#ptr);
    this.#ptr = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
