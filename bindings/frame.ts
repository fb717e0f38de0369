import type { Arena } from "./arena.ts";
import type { Floats } from "./check.ts";

/** The memory of one call: what it reserves and copies in is given back by `release`, whatever happened between. */
export class Frame {
  readonly #arena: Arena;
  readonly #ptrs: number[] = [];

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  /** Room for `bytes` bytes. */
  reserve(bytes: number): number {
    const ptr = this.#arena.allocate(bytes);
    this.#ptrs.push(ptr);
    return ptr;
  }

  /** Where the kernels read these floats: copied in, unless they already live here. 0 where there are none. */
  input(floats: Floats | undefined): number {
    if (!floats) return 0;
    if (floats.array === undefined) return floats.ptr;
    const ptr = this.reserve(floats.length * 4);
    new Float32Array(this.#arena.buffer, ptr, floats.length).set(floats.array);
    return ptr;
  }

  /** The same for bytes. */
  inputBytes(bytes: Uint8Array | undefined): number {
    if (!bytes) return 0;
    const ptr = this.reserve(bytes.length);
    new Uint8Array(this.#arena.buffer, ptr, bytes.length).set(bytes);
    return ptr;
  }

  release(): void {
    for (const ptr of this.#ptrs.splice(0)) this.#arena.release(ptr);
  }
}
