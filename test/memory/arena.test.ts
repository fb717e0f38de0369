import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Arena } from "../../bindings/memory/arena.ts";

const PAGE = 65536;
const BASE = 1000;

function small(pages = 4): { arena: Arena; memory: WebAssembly.Memory } {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: pages });
  return { arena: new Arena(memory, BASE), memory };
}

describe("Arena", () => {
  it("starts above its base and aligns every block to a cache line", () => {
    const { arena } = small();
    for (const bytes of [1, 64, 0, 100]) {
      const ptr = arena.allocate(bytes);
      expect(ptr).toBeGreaterThanOrEqual(BASE);
      expect(ptr % 64).toBe(0);
    }
  });

  it("counts what is used now and at most", () => {
    const { arena } = small();
    const a = arena.allocate(1000);
    const { used } = arena.stats;
    const b = arena.allocate(1000);
    arena.release(a);
    arena.release(b);
    expect(used).toBeGreaterThanOrEqual(1000);
    expect(arena.stats).toEqual({ used: 0, peak: 2 * used, reserved: PAGE });
  });

  it("joins free blocks, in whatever order they come back", () => {
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
    ]) {
      const { arena, memory } = small(2);
      const blocks = [0, 1, 2].map(() => arena.allocate(20_000));
      for (const n of order) arena.release(blocks[n]!);
      // In pieces of 20 000 bytes it would not fit.
      expect(arena.allocate(2 * PAGE - BASE - 200)).toBe(blocks[0]);
      expect(memory.buffer.byteLength).toBe(2 * PAGE);
    }
  });

  it("fills holes before it grows", () => {
    const { arena, memory } = small();
    const [hole] = [arena.allocate(30_000), arena.allocate(20_000)];
    arena.release(hole);
    expect(arena.allocate(10_000)).toBe(hole);
    expect(arena.allocate(10_000)).toBeGreaterThan(hole);
    expect(memory.buffer.byteLength).toBe(PAGE);
  });

  it("leaves everything as it was when memory cannot grow", () => {
    const { arena } = small(2);
    const block = arena.allocate(1000);
    const before = arena.stats;
    expect(() => arena.allocate(2 * PAGE)).toThrow(RangeError);
    expect(() => arena.allocate(2 ** 33)).toThrow(RangeError);
    expect(arena.stats).toEqual(before);
    const next = arena.allocate(PAGE);
    expect(next).toBeGreaterThan(block);
    expect(next - block).toBeLessThan(1200);
  });

  it("knows what it has handed out", () => {
    const { arena } = small();
    const ptr = arena.allocate(10);
    arena.release(ptr);
    expect(() => arena.release(ptr)).toThrow(`no block at ${ptr}`);
    expect(() => arena.release(3)).toThrow("no block at 3");
  });

  it("keeps blocks apart and intact, and has everything free in the end", () => {
    const step = fc.oneof(
      { arbitrary: fc.record({ bytes: fc.oneof(fc.nat(300), fc.nat(70_000)) }), weight: 3 },
      { arbitrary: fc.record({ release: fc.nat() }), weight: 2 },
    );
    const property = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { arena } = small(6);
      const live: { ptr: number; bytes: number; mark: number }[] = [];
      steps.forEach((step, mark) => {
        if ("release" in step) {
          if (live.length > 0) arena.release(live.splice(step.release % live.length, 1)[0]!.ptr);
          return;
        }
        try {
          const ptr = arena.allocate(step.bytes);
          new Uint8Array(arena.buffer, ptr, step.bytes).fill(mark);
          live.push({ ptr, bytes: step.bytes, mark });
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
        expect(arena.stats.used).toBeGreaterThanOrEqual(live.reduce((sum, { bytes }) => sum + bytes, 0));
        expect(arena.stats.peak).toBeGreaterThanOrEqual(arena.stats.used);
      });
      const sorted = [...live].sort((a, b) => a.ptr - b.ptr);
      sorted.forEach(({ ptr, bytes }, n) => {
        expect(ptr + bytes).toBeLessThanOrEqual(sorted[n + 1]?.ptr ?? arena.buffer.byteLength);
      });
      for (const { ptr, bytes, mark } of live) {
        expect(new Uint8Array(arena.buffer, ptr, bytes).every((x) => x === mark)).toBe(true);
        arena.release(ptr);
      }
      expect(arena.stats.used).toBe(0);
      // One block again: whatever the memory holds by now can be had at once, at its start.
      expect(arena.allocate(arena.buffer.byteLength - BASE - 200)).toBe(Math.ceil(BASE / 64) * 64);
    });
    fc.assert(property, { seed: 20261127, numRuns: 200 });
  });
});
