import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Arena } from "../../bindings/memory/arena.ts";
import { wholeMemory } from "../support/edges.ts";
import { FirstFit } from "../support/first-fit.ts";
import { allocateUntouched } from "../support/poison.ts";
import { integer, uniform } from "../support/random.ts";

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
    const other = arena.allocate(10);
    for (const wrong of [ptr + 64, 3, other + 1, -64, NaN, 2 ** 40]) {
      expect(() => arena.release(wrong)).toThrow(
        new RangeError(`"memory" expected the address of a block, got ${wrong}`),
      );
    }
    arena.release(other);
    expect(() => arena.release(other)).toThrow(RangeError);
  });

  it.each([NaN, -1, 0.5, Infinity, -Infinity, 2 ** 53])("refuses a block of %s bytes, and is as it was", (bytes) => {
    const { arena } = small();
    arena.allocate(10);
    const before = arena.stats;
    expect(() => arena.allocate(bytes)).toThrow(
      new RangeError(`"memory" expected a whole number of bytes, got ${bytes}`),
    );
    expect(() => arena.allocateMany(bytes, 3)).toThrow(RangeError);
    expect(arena.stats).toEqual(before);
  });

  it.each([2 ** 32 - 64, 2 ** 32, 2 ** 40, 2 ** 53 - 1])("does not grow for a block of %s bytes", (bytes) => {
    const { arena } = small();
    expect(() => arena.allocate(bytes)).toThrow(/^"memory" expected to grow by \d+ bytes for a block of \d+, got /);
    expect(arena.stats).toEqual({ used: 0, peak: 0, reserved: PAGE });
  });

  it("keeps blocks apart and intact, and has everything free in the end", () => {
    const step = fc.oneof(
      { arbitrary: fc.record({ bytes: fc.oneof(fc.nat(300), fc.nat(70_000)) }), weight: 3 },
      { arbitrary: fc.record({ release: fc.nat() }), weight: 2 },
    );
    const property = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { arena } = small(6);
      const live: { ptr: number; bytes: number; mark: number }[] = [];
      let peak = 0;
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
        expect(arena.stats.used).toBe(live.reduce((sum, { bytes }) => sum + FirstFit.sizeOf(bytes), 0));
        peak = Math.max(peak, arena.stats.used);
        expect(arena.stats.peak).toBe(peak);
        expect(live.every(({ ptr }) => ptr % 64 === 0)).toBe(true);
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

  it.each<[string, (next: () => number) => number]>([
    ["small", (next) => integer(0, 300, next)],
    ["of every size", (next) => Math.floor(2 ** (next() * 17))],
    ["of one class", (next) => 2048 + 64 * integer(0, 3, next)],
    ["of three sizes", (next) => [4000, 4100, 65536][integer(0, 2, next)]!],
  ])("takes at most an eighth more memory than the first fit would: blocks %s", (_, size) => {
    for (let seed = 0; seed < 4; seed++) {
      const next = uniform(seed);
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 2 ** 14 });
      const arena = new Arena(memory, BASE);
      const model = new FirstFit(BASE);
      const live: [number, number][] = [];
      let end = 0;
      const most = integer(10, 500, next);
      for (let step = 0; step < 1500; step++) {
        if (live.length > most * (0.6 + 0.4 * Math.sin(step / 200))) {
          const [ptr, other] = live.splice(integer(0, live.length - 1, next), 1)[0]!;
          arena.release(ptr);
          model.release(other);
        } else {
          const bytes = size(next);
          const ptr = arena.allocate(bytes);
          end = Math.max(end, ptr + FirstFit.sizeOf(bytes));
          live.push([ptr, model.allocate(bytes)]);
        }
      }
      expect(arena.stats).toMatchObject({ used: model.used, peak: model.peak });
      expect(end).toBeLessThanOrEqual(1.125 * model.end);
    }
  });

  it.skipIf(!wholeMemory())("hands out all 4 GiB, to the last line and no further", () => {
    const arena = new Arena(new WebAssembly.Memory({ initial: 1, maximum: 2 ** 16 }), BASE);
    const allocate = (bytes: number) => allocateUntouched.call(arena, bytes);
    const low = allocate(100);
    const half = allocate(2 ** 31);
    const rest = allocate(2 ** 32 - (half + 2 ** 31 + 64) - 64 - 16);
    const last = allocate(48);
    expect(last + 64).toBe(2 ** 32);
    expect(arena.stats).toMatchObject({ used: 2 ** 32 - low, reserved: 2 ** 32 });
    expect(() => allocate(0)).toThrow(/^"memory" expected to grow by 64 bytes for a block of 64, got refused/);
    arena.release(half);
    expect(allocate(2 ** 31)).toBe(half);
    for (const ptr of [last, half, rest, low]) arena.release(ptr);
    expect(allocate(2 ** 32 - low - 16)).toBe(low);
  });

  it("finds the one hole that fits among thousands a line too small, before it gives up", () => {
    const { arena } = small(60);
    const held: number[] = [];
    // Sizes of one class: 64 lines and 67.
    const ptrs = Array.from({ length: 800 }, (_, n) => {
      const ptr = arena.allocate(n === 200 ? 67 * 64 - 16 : 64 * 64 - 16);
      held.push(arena.allocate(0));
      return ptr;
    });
    for (const ptr of ptrs) arena.release(ptr);
    for (;;) {
      try {
        held.push(arena.allocate(67 * 64 - 16));
      } catch {
        break;
      }
    }
    expect(held).toContain(ptrs[200]);
  });
});
