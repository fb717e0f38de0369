/** Every block starts on a cache line, and takes whole ones. */
export const ALIGNMENT = 64;

/** A stretch of linear memory, between its neighbours. */
export interface Block {
  ptr: number;
  bytes: number;
  /** The blocks at either side; no two free ones are neighbours. */
  before: Block | undefined;
  after: Block | undefined;
  /** A free block: its place among those of its size class. Else −1. */
  place: number;
}

/** The most blocks of a class that `find` looks at. */
const MOST_LOOKS = 8;

/**
 * The free blocks of an arena by size class (TLSF, Masmano et al., 2004), so that none of its methods takes longer the
 * more blocks there are. Up to 31 lines each size has a class of its own; from there on there are 16 classes from one
 * power of two to the next.
 */
export class FreeBlocks {
  /** The blocks of each class. */
  readonly #classes: Block[][] = Array.from({ length: 384 }, () => []);
  /** One bit for each class: whether it has a block. */
  readonly #bits = new Int32Array(12);

  /**
   * A block of at least `bytes` bytes, the lowest of those it looks at. It may miss one that is larger by less than a
   * sixteenth, unless it looks `everywhere`.
   */
  find(bytes: number, everywhere = false): Block | undefined {
    const most = everywhere ? Infinity : MOST_LOOKS;
    return this.#lowest(classOf(bytes), bytes, most) ?? this.#lowest(this.#firstFrom(bytes), bytes, most);
  }

  add(block: Block): void {
    const sizeClass = classOf(block.bytes);
    block.place = this.#classes[sizeClass]!.push(block) - 1;
    this.#bits[sizeClass >> 5]! |= 1 << sizeClass;
  }

  /** Takes a block out; the last one of its class moves to its place. */
  delete(block: Block): void {
    const sizeClass = classOf(block.bytes);
    const blocks = this.#classes[sizeClass]!;
    const last = blocks.pop()!;
    if (last !== block) blocks[(last.place = block.place)] = last;
    block.place = -1;
    if (blocks.length === 0) this.#bits[sizeClass >> 5]! &= ~(1 << sizeClass);
  }

  /** The block of at least `bytes` bytes with the lowest address among the last `most` of a class. */
  #lowest(sizeClass: number, bytes: number, most: number): Block | undefined {
    const blocks = this.#classes[sizeClass] ?? [];
    let found: Block | undefined;
    for (let n = blocks.length - 1; n >= 0 && n >= blocks.length - most; n--) {
      const block = blocks[n]!;
      if (block.bytes >= bytes && !(found && found.ptr < block.ptr)) found = block;
    }
    return found;
  }

  /** The first class that has a block, of those whose every block has `bytes` bytes; else −1. */
  #firstFrom(bytes: number): number {
    const first = classOf(bytes - ALIGNMENT) + 1;
    for (let word = first >> 5, bits = -1 << first; word < this.#bits.length; word++, bits = -1) {
      bits &= this.#bits[word]!;
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits & -bits);
    }
    return -1;
  }
}

function classOf(bytes: number): number {
  const lines = bytes / ALIGNMENT;
  const shift = Math.max(0, 27 - Math.clz32(lines));
  return shift * 16 + (lines >>> shift);
}
