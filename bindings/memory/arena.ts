/** Bytes of a page of WebAssembly memory, the unit in which it grows. */
export const PAGE_BYTES = 65536;

/** Every block starts on a cache line. */
const ALIGNMENT = 64;

/**
 * Bytes past the end of a block that kernels may read: a vector may begin in the last element (keepMask and bias,
 * assembly/args.ts).
 */
const SLACK = 16;

/** A stretch of linear memory. */
interface Block {
  ptr: number;
  bytes: number;
}

/**
 * The allocator of a linear memory: it hands out blocks, the first free one that is large enough, and it alone grows
 * the memory. Growth detaches typed arrays over the memory, so they must be made anew after every `allocate`.
 */
export class Arena {
  #memory: WebAssembly.Memory | undefined;
  /** Bytes of each block in use, by address. */
  readonly #sizes = new Map<number, number>();
  /** Free blocks in the order of their addresses. No two are adjacent, and none ends at `#top`. */
  readonly #free: Block[] = [];
  readonly #lost = new FinalizationRegistry<Iterable<number>>((ptrs) => {
    for (const ptr of ptrs) this.release(ptr);
  });
  /** All bytes from this address on are free. */
  #top: number;
  #used = 0;
  #peak = 0;

  /** `base` is the address of the first byte that may be handed out. */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.#memory = memory;
    this.#top = roundUp(base, ALIGNMENT);
  }

  /** The memory as it is now. Throws a ReferenceError once the arena is disposed. */
  get buffer(): ArrayBuffer {
    return this.#live().buffer;
  }

  /** The memory itself, for a module that works on it; only the arena grows it. */
  get memory(): WebAssembly.Memory {
    return this.#live();
  }

  /** Bytes in use now, the most bytes in use at any time so far, and the bytes of the memory. */
  get stats(): { used: number; peak: number; reserved: number } {
    return { used: this.#used, peak: this.#peak, reserved: this.buffer.byteLength };
  }

  /**
   * The address of a block of at least `bytes` bytes. Throws a RangeError, and changes nothing, where memory cannot
   * grow that far.
   */
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

  /**
   * The addresses of `count` blocks of `bytes` bytes each. Throws a RangeError, and takes no block, where memory cannot
   * grow that far.
   */
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

  /** Takes back the block at `ptr`, which `allocate` has returned. Does nothing once the arena is disposed. */
  release(ptr: number): void {
    if (!this.#memory) return;
    const bytes = this.#sizes.get(ptr);
    if (bytes === undefined) throw new Error(`no block at ${ptr}`);
    this.#sizes.delete(ptr);
    this.#used -= bytes;

    const block = { ptr, bytes };
    let index = this.#free.findIndex((free) => free.ptr > ptr);
    if (index < 0) index = this.#free.length;
    const before = this.#free[index - 1];
    const after = this.#free[index];
    if (after && ptr + bytes === after.ptr) {
      block.bytes += after.bytes;
      this.#free.splice(index, 1);
    }
    if (before && before.ptr + before.bytes === ptr) {
      before.bytes += block.bytes;
    } else {
      this.#free.splice(index, 0, block);
    }
    const last = this.#free.at(-1);
    if (last && last.ptr + last.bytes === this.#top) {
      this.#top = last.ptr;
      this.#free.pop();
    }
  }

  /**
   * Releases `ptrs`, as they are then, some time after `handle` is garbage-collected. This catches handles that were
   * never disposed; nothing relies on it.
   */
  watch(handle: object, ptrs: Iterable<number>): void {
    this.#lost.register(handle, ptrs, handle);
  }

  /** Ends `watch`. */
  unwatch(handle: object): void {
    this.#lost.unregister(handle);
  }

  /** Drops the memory, so that it can be garbage-collected. */
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

  /** The address of `size` bytes at the top; grows the memory where they do not fit. */
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
