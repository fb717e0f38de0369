import { disposed, mismatch, wrongValue } from "../check.ts";
import { ALIGNMENT, type Block, FreeBlocks } from "./free-blocks.ts";

/** Bytes of a page of WebAssembly memory, the unit in which it grows. */
export const PAGE_BYTES = 65536;

/**
 * Bytes past the end of a block that kernels may read: a vector may begin in the last element (keepMask and bias,
 * assembly/args.ts).
 */
const SLACK = 16;

/**
 * The allocator of a linear memory: it hands out blocks, out of free ones where one is large enough, and it alone grows
 * the memory. Growth detaches typed arrays over the memory, so they must be made anew after every `allocate`.
 */
export class Arena {
  #memory: WebAssembly.Memory | undefined;
  /**
   * The blocks in use: for each page of the memory, those that start at each of its lines. No Map by address, since one
   * of ten thousand entries takes V8 microseconds where entries come and go.
   */
  readonly #blocks: (Block | undefined)[][] = [];
  readonly #free = new FreeBlocks();
  /** The block behind which all bytes are free. It is no free one; without any in use it is an empty one at the base. */
  #last: Block;
  readonly #lost = new FinalizationRegistry<Iterable<number>>((ptrs) => {
    for (const ptr of ptrs) this.release(ptr);
  });
  #used = 0;
  /** Buffers of shared memory from before it grew: views of them stay good. */
  readonly #outgrown = new WeakSet();
  #peak = 0;

  /** `base` is the address of the first byte that may be handed out. */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.#memory = memory;
    this.#last = newBlock(roundUp(base, ALIGNMENT), 0);
  }

  /** Whether a buffer is the memory: as it is now, or, where it is shared, as it was before it grew. */
  owns(buffer: object): boolean {
    return buffer === this.buffer || this.#outgrown.has(buffer);
  }

  /** The memory itself; only the arena grows it. Throws a ReferenceError once the arena is disposed. */
  get memory(): WebAssembly.Memory {
    this.check();
    return this.#memory!;
  }

  /** The bytes of the memory as it is now. Throws a ReferenceError once the arena is disposed. */
  get buffer(): ArrayBuffer {
    return this.memory.buffer;
  }

  /** Bytes in use now, the most bytes in use at any time so far, and the bytes of the memory. */
  get stats(): { used: number; peak: number; reserved: number } {
    return { used: this.#used, peak: this.#peak, reserved: this.buffer.byteLength };
  }

  /**
   * The address of a block of at least `bytes` bytes. Throws a RangeError, and changes nothing, where memory cannot
   * grow that far, or where `bytes` is not a size.
   */
  allocate(bytes: number): number {
    if (!Number.isSafeInteger(bytes) || bytes < 0) throw wrongValue("memory", "a whole number of bytes", bytes);
    const size = roundUp(bytes + SLACK, ALIGNMENT);
    const block = this.#take(size) ?? this.#extend(size);
    (this.#blocks[pageOf(block.ptr)] ??= [])[lineOf(block.ptr)] = block;
    this.#used += size;
    this.#peak = Math.max(this.#peak, this.#used);
    return block.ptr;
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
    const page = this.#blocks[pageOf(ptr)];
    const block = page?.[lineOf(ptr)];
    if (block?.ptr !== ptr) throw wrongValue("memory", "the address of a block", ptr);
    page![lineOf(ptr)] = undefined;
    this.#used -= block.bytes;
    const before = block.before!;
    const { after } = block;
    if (before.place >= 0) {
      this.#free.delete(before);
      block.ptr = before.ptr;
      block.bytes += before.bytes;
      connect(before.before!, block);
    }
    if (after && after.place >= 0) {
      this.#free.delete(after);
      block.bytes += after.bytes;
      connect(block, after.after);
    }
    if (block.after) {
      this.#free.add(block);
    } else {
      this.#last = block.before!;
      this.#last.after = undefined;
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
    if (!this.#memory) throw disposed("heed", "instance");
  }

  /** A block of `size` bytes out of a free one; undefined where none has as many. */
  #take(size: number, everywhere = false): Block | undefined {
    const block = this.#free.find(size, everywhere);
    if (!block) return undefined;
    this.#free.delete(block);
    if (block.bytes > size) {
      const rest = newBlock(block.ptr + size, block.bytes - size);
      block.bytes = size;
      connect(rest, block.after);
      connect(block, rest);
      this.#free.add(rest);
    }
    return block;
  }

  /** A block of `size` bytes at the top; grows the memory where it does not fit. */
  #extend(size: number): Block {
    const { memory } = this;
    const ptr = this.#last.ptr + this.#last.bytes;
    const missing = ptr + size - memory.buffer.byteLength;
    if (missing > 0) {
      const before = memory.buffer;
      try {
        memory.grow(Math.ceil(missing / PAGE_BYTES));
      } catch (cause) {
        const block = this.#take(size, true);
        if (block) return block;
        const got = `refused by the engine (${this.#used} bytes in use, ${memory.buffer.byteLength} reserved)`;
        throw new RangeError(mismatch("memory", `to grow by ${missing} bytes for a block of ${size}`, got), { cause });
      }
      if (before.byteLength > 0) this.#outgrown.add(before);
    }
    const block = newBlock(ptr, size);
    connect(this.#last, block);
    this.#last = block;
    return block;
  }
}

/** A view of `length` floats at `ptr`, which the next allocation may detach. */
export function floatsAt(arena: Arena, ptr: number, length: number): Float32Array<ArrayBuffer> {
  return new Float32Array(arena.buffer, ptr, length);
}

/** A view of `length` integers at `ptr`, which the next allocation may detach. */
export function integersAt(arena: Arena, ptr: number, length: number): Int32Array<ArrayBuffer> {
  return new Int32Array(arena.buffer, ptr, length);
}

/** The page of the memory that an address lies in. */
function pageOf(ptr: number): number {
  return (ptr / PAGE_BYTES) | 0;
}

/** Which of the lines of its page an address lies in. */
function lineOf(ptr: number): number {
  return (ptr / ALIGNMENT) & (PAGE_BYTES / ALIGNMENT - 1);
}

function newBlock(ptr: number, bytes: number): Block {
  return { ptr, bytes, before: undefined, after: undefined, place: -1 };
}

/** Makes two blocks neighbours. */
function connect(before: Block, after: Block | undefined): void {
  before.after = after;
  if (after) after.before = before;
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
