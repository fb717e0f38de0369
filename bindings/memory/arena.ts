/** A page of WebAssembly memory. */
export const PAGE_BYTES = 65536;

/** Every block starts on a cache line. */
const ALIGNMENT = 64;

/** Kernels may read this far past the end of a block (see keepMask and bias in assembly/args.ts). */
const SLACK = 16;

interface Block {
  ptr: number;
  bytes: number;
}

/**
 * The one owner of a linear memory: hands out blocks of bytes, first fit, and is the only place that grows it.
 * Typed arrays over the memory must be made anew after every `allocate`, since growth detaches them.
 */
export class Arena {
  #memory: WebAssembly.Memory | undefined;
  readonly #sizes = new Map<number, number>();
  /** Free blocks by address; no two touch. */
  readonly #free: Block[] = [];
  readonly #lost = new FinalizationRegistry<Iterable<number>>((ptrs) => {
    for (const ptr of ptrs) this.release(ptr);
  });
  #top: number;
  #used = 0;
  #peak = 0;

  /** `base`: the first byte that may be handed out. */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.#memory = memory;
    this.#top = roundUp(base, ALIGNMENT);
  }

  get buffer(): ArrayBuffer {
    return this.#live().buffer;
  }

  /** The memory itself, for a module that works on it; only the arena grows it. */
  get memory(): WebAssembly.Memory {
    return this.#live();
  }

  /** Bytes handed out now, bytes handed out at most so far, bytes the memory has. */
  get stats(): { used: number; peak: number; reserved: number } {
    return { used: this.#used, peak: this.#peak, reserved: this.buffer.byteLength };
  }

  /** A block of at least `bytes` bytes. Throws a RangeError, and changes nothing, where memory cannot grow that far. */
  allocate(bytes: number): number {
    const size = roundUp(bytes + SLACK, ALIGNMENT);
    const fit = this.#free.findIndex((block) => block.bytes >= size);
    let ptr: number;
    if (fit >= 0) {
      const block = this.#free[fit]!;
      ptr = block.ptr;
      if (block.bytes === size) this.#free.splice(fit, 1);
      else this.#free[fit] = { ptr: ptr + size, bytes: block.bytes - size };
    } else {
      ptr = this.#extend(size);
    }
    this.#sizes.set(ptr, size);
    this.#used += size;
    this.#peak = Math.max(this.#peak, this.#used);
    return ptr;
  }

  /** `count` blocks of `bytes` bytes, or none where memory does not suffice. */
  allocateMany(bytes: number, count: number): number[] {
    const ptrs: number[] = [];
    try {
      while (ptrs.length < count) ptrs.push(this.allocate(bytes));
    } catch (error) {
      for (const ptr of ptrs) this.release(ptr);
      throw error;
    }
    return ptrs;
  }

  /** Takes a block back; `ptr` must have come from `allocate`. Once the arena is disposed there is nothing to take. */
  release(ptr: number): void {
    if (!this.#memory) return;
    const bytes = this.#sizes.get(ptr);
    if (bytes === undefined) throw new Error(`no block at ${ptr}`);
    this.#sizes.delete(ptr);
    this.#used -= bytes;

    const block = { ptr, bytes };
    let at = this.#free.findIndex((free) => free.ptr > ptr);
    if (at < 0) at = this.#free.length;
    const before = this.#free[at - 1];
    const after = this.#free[at];
    if (after && ptr + bytes === after.ptr) {
      block.bytes += after.bytes;
      this.#free.splice(at, 1);
    }
    if (before && before.ptr + before.bytes === ptr) {
      before.bytes += block.bytes;
    } else {
      this.#free.splice(at, 0, block);
    }
    const last = this.#free.at(-1);
    if (last && last.ptr + last.bytes === this.#top) {
      this.#top = last.ptr;
      this.#free.pop();
    }
  }

  /** A leak net, and no more: releases `ptrs` some time after `handle` is collected without having been disposed. */
  watch(handle: object, ptrs: Iterable<number>): void {
    this.#lost.register(handle, ptrs, handle);
  }

  unwatch(handle: object): void {
    this.#lost.unregister(handle);
  }

  /** Lets go of the memory, so that it can be collected. */
  dispose(): void {
    this.#memory = undefined;
  }

  /** Throws a ReferenceError once the arena is disposed. */
  check(): void {
    this.#live();
  }

  #live(): WebAssembly.Memory {
    if (!this.#memory) throw new ReferenceError('"heed" expected a live instance, got a disposed one');
    return this.#memory;
  }

  /** `size` bytes at the top, growing the memory where they do not fit. */
  #extend(size: number): number {
    const memory = this.#live();
    const ptr = this.#top;
    const missing = ptr + size - memory.buffer.byteLength;
    if (missing > 0) {
      try {
        memory.grow(Math.ceil(missing / PAGE_BYTES));
      } catch (cause) {
        throw new RangeError(
          `"memory" expected to grow by ${missing} bytes for a block of ${size}, ` +
            `got refused by the engine (${this.#used} bytes in use, ${memory.buffer.byteLength} reserved)`,
          { cause },
        );
      }
    }
    this.#top = ptr + size;
    return ptr;
  }
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
