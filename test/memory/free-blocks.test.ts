import { describe, expect, it } from "vitest";
import { type Block, FreeBlocks } from "../../bindings/memory/free-blocks.ts";

const LINE = 64;

/** `count` free blocks of sizes that `bytes` gives, and how often the size of one has been looked at since. */
function filled(count: number, bytes: (n: number) => number): { free: FreeBlocks; blocks: Block[]; looks: number[] } {
  const free = new FreeBlocks();
  const looks = [0];
  const blocks = Array.from({ length: count }, (_, n) => {
    const block = { ptr: n * 2 ** 16, place: -1 } as Block;
    const size = bytes(n);
    return Object.defineProperty(block, "bytes", {
      get: () => {
        looks[0]!++;
        return size;
      },
    });
  });
  for (const block of blocks) free.add(block);
  looks[0] = 0;
  return { free, blocks, looks };
}

describe("FreeBlocks", () => {
  it.each([1, 2, 31, 32, 33, 34, 63, 64, 65, 1000, 2 ** 20 - 1, 2 ** 20, 2 ** 26 - 1, 2 ** 26])(
    "finds a block of %s lines for all that fits in it, but for what is larger by less than a sixteenth",
    (lines) => {
      const { free, blocks } = filled(1, () => lines * LINE);
      expect(free.find(lines * LINE)).toBe(blocks[0]);
      expect(free.find(LINE)).toBe(blocks[0]);
      for (const fewer of [lines - 1, Math.floor((lines * 16) / 17), Math.ceil(lines / 2)]) {
        if (fewer > 0) expect(free.find(fewer * LINE)).toBe(blocks[0]);
      }
      expect(free.find((lines + 1) * LINE)).toBe(undefined);
      expect(free.find((lines + 1) * LINE, true)).toBe(undefined);
      free.delete(blocks[0]!);
      expect(free.find(LINE)).toBe(undefined);
    },
  );

  it("looks at no more of ten thousand blocks than of a dozen", () => {
    const sizes: ((n: number) => number)[] = [
      () => 2 * LINE,
      () => 100 * LINE,
      (n) => (1 + (n % 500)) * LINE,
      (n) => (n + 1) * 4096,
    ];
    for (const bytes of sizes) {
      for (const wanted of [1, 2, 3, 99, 100, 101, 103, 499, 501, 10 ** 6]) {
        const { free, looks } = filled(10_000, bytes);
        const block = free.find(wanted * LINE);
        expect(looks[0]).toBeLessThanOrEqual(16);
        if (!block) continue;
        free.delete(block);
        free.add(block);
        expect(looks[0]).toBeLessThanOrEqual(20);
      }
    }
  });

  it("misses a block among many of its class, unless it looks everywhere", () => {
    const { free, blocks } = filled(100, (n) => (n === 50 ? 103 : 100) * LINE);
    expect(free.find(103 * LINE)).toBe(undefined);
    expect(free.find(103 * LINE, true)).toBe(blocks[50]);
  });

  it("prefers low addresses", () => {
    const { free, blocks } = filled(8, () => 10 * LINE);
    for (const block of blocks) {
      expect(free.find(10 * LINE)).toBe(block);
      free.delete(block);
    }
  });
});
