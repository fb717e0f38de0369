/** An arena to compare with: the first gap that is large enough, over a plain list of the blocks in use. */
export class FirstFit {
  /** In the order of their addresses. */
  readonly blocks: { ptr: number; bytes: number }[] = [];
  readonly base: number;
  used = 0;
  peak = 0;
  /** The highest end of a block so far. */
  end: number;

  constructor(base: number) {
    this.base = this.end = Math.ceil(base / 64) * 64;
  }

  /** Whole lines of 64 bytes, and 16 readable bytes behind the last one that was asked for. */
  static sizeOf(bytes: number): number {
    return Math.ceil((bytes + 16) / 64) * 64;
  }

  allocate(bytes: number): number {
    const size = FirstFit.sizeOf(bytes);
    let ptr = this.base;
    let index = 0;
    for (; index < this.blocks.length && this.blocks[index]!.ptr - ptr < size; index++) {
      ptr = this.blocks[index]!.ptr + this.blocks[index]!.bytes;
    }
    this.blocks.splice(index, 0, { ptr, bytes: size });
    this.used += size;
    this.peak = Math.max(this.peak, this.used);
    this.end = Math.max(this.end, ptr + size);
    return ptr;
  }

  release(ptr: number): void {
    const index = this.blocks.findIndex((block) => block.ptr === ptr);
    this.used -= this.blocks.splice(index, 1)[0]!.bytes;
  }
}
