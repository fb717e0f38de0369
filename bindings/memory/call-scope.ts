import type { Arena } from "./arena.ts";
import type { Bytes, Floats } from "./data.ts";

/** The memory of one call: what it reserves and copies in is given back by `release`, whatever happened between. */
export class CallScope {
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

  /** Where the kernels read these floats or bytes: copied in, unless they already live here. 0 where there are none. */
  input(data: Floats | Bytes | undefined): number {
    if (!data) return 0;
    if (data.array === undefined) return data.ptr;
    const ptr = this.reserve(data.array.byteLength);
    const Copy = data.array instanceof Float32Array ? Float32Array : Uint8Array;
    new Copy(this.#arena.buffer, ptr, data.length).set(data.array);
    return ptr;
  }

  release(): void {
    for (const ptr of this.#ptrs.splice(0)) this.#arena.release(ptr);
  }
}
