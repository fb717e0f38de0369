// What a KvCache holds of linear memory: page by page, within a window, until dispose.
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import type { Cache } from "../support/kv-model.ts";
import { floats, uniform } from "../support/random.ts";

const PAGE_TOKENS = 128;

const ints = (...numbers: number[]) => Int32Array.from(numbers);
const rows = (length: number) => floats(length, uniform(length));

forEachBuild((name, open) => {
  describe("memory", () => {
    it("is a page for every 128 tokens of a sequence, taken as they come and given back", () => {
      const heed = open();
      const { used } = heed.memory;
      const dims = { numKvHeads: 2, headDim: 8, valueDim: 16 };
      const cache = heed.createKvCache({ ...dims, capacity: 10_000, batch: 2 });
      const pageBytes = PAGE_TOKENS * 2 * (8 + 16) * 4;
      expect(cache.bytes).toBe(0);
      for (const [tokens, pages] of [
        [1, 2],
        [127, 2],
        [1, 4],
        [300, 8],
      ] as const) {
        cache.append(rows(2 * tokens * 16), rows(2 * tokens * 32));
        expect(cache.bytes).toBe(pages * pageBytes);
        expect(heed.memory.used - used).toBeGreaterThanOrEqual(cache.bytes);
      }
      cache.append(rows(2 * 128 * 16), rows(2 * 128 * 32), { lengths: ints(128, 0) });
      expect(cache.bytes).toBe(9 * pageBytes);
      cache.truncate(ints(128, 129));
      expect(cache.bytes).toBe(3 * pageBytes);
      const fork = cache.fork();
      for (const one of [cache, fork]) expect([one.bytes, one.sharedBytes]).toEqual([0, 3 * pageBytes]);
      cache.reorder(ints(1, 1)); // Both sequences of the cache are the second one, on two pages.
      expect([cache.bytes, cache.sharedBytes]).toEqual([0, 2 * pageBytes]);
      expect([fork.bytes, fork.sharedBytes]).toEqual([pageBytes, 2 * pageBytes]);
      cache.reset();
      expect([cache.bytes, cache.sharedBytes, cache.length]).toEqual([0, 0, 0]);
      expect([fork.bytes, fork.sharedBytes]).toEqual([3 * pageBytes, 0]);
      fork.reorder(ints(1, 1)); // Two sequences on the same two pages.
      expect([fork.bytes, fork.sharedBytes]).toEqual([2 * pageBytes, 0]);
      fork.dispose();
      cache.dispose();
      expect(heed.memory.used).toBe(used);
    });

    it("of int8 is at most 0.28 of that of f32, of f16 half, for headDim 128", () => {
      const heed = open();
      const bytesOf = (dtype: "f32" | "f16" | "int8" | { k: "int8"; v: "f16" }) => {
        using cache = heed.createKvCache({ numKvHeads: 2, headDim: 128, capacity: 300, dtype });
        cache.append(rows(300 * 256), rows(300 * 256));
        return cache.bytes;
      };
      expect(bytesOf("int8")).toBeLessThanOrEqual(0.28 * bytesOf("f32"));
      expect(bytesOf("f16")).toBe(0.5 * bytesOf("f32"));
      expect(bytesOf({ k: "int8", v: "f16" })).toBe((bytesOf("int8") + bytesOf("f16")) / 2);
    });

    it("of a window stays the same, however many tokens come", { timeout: 120_000 }, () => {
      const heed = open();
      const tokens = name === "simd" ? 100_000 : 5000;
      using cache = heed.createKvCache({ numKvHeads: 1, headDim: 4, capacity: 2 ** 20, window: 300 });
      const [k, q] = [rows(4), rows(4)];
      // Whenever the newest page is full: the 300 tokens before the newest one and it lie on three pages or four.
      let full = 0;
      let reserved = 0;
      for (let n = 1; n <= tokens; n++) {
        cache.append(k, k);
        if (n === 1024) [full, reserved] = [cache.bytes, heed.memory.reserved];
        if (n >= 1024 && n % PAGE_TOKENS === 0) expect(cache.bytes).toBe(full);
        if (n > 1024 && cache.bytes > full + full / 3) expect(cache.bytes).toBe(full);
        if (n % 1000 === 0)
          expect(cache.attention(q, { numHeads: 1, causal: true }).out.every(Number.isFinite)).toBe(true);
      }
      expect(full).toBeLessThanOrEqual(4 * PAGE_TOKENS * (4 + 4) * 4 * 2); // rows of four floats are stored as eight
      expect(cache.length).toBe(tokens);
      expect(heed.memory.reserved).toBe(reserved);
    });

    it("does not grow over ten thousand rounds of create, append, dispose", { timeout: 120_000 }, () => {
      const heed = open();
      const [k, v] = [rows(2 * 3 * 8), rows(2 * 3 * 16)];
      const round = (n: number) => {
        const dtype = (["f32", "f16", "int8"] as const)[n % 3]!;
        using cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, valueDim: 16, capacity: 100, batch: 2, dtype });
        cache.append(k, v);
        if (n % 5 === 0) cache.fork().dispose();
        if (n % 7 === 0) cache.attention(rows(2 * 8), { numHeads: 1 });
      };
      for (let n = 0; n < 210; n++) round(n);
      const before = heed.memory;
      for (let n = 0; n < 10_000; n++) round(n);
      expect(heed.memory).toEqual(before);
    });

    it("is reserved in steps: an empty cache of a large capacity takes next to none", () => {
      const heed = open();
      const before = heed.memory.reserved;
      using cache = heed.createKvCache({ numKvHeads: 8, headDim: 128, capacity: 2 ** 24, batch: 16 });
      expect(cache.capacity).toBe(2 ** 24);
      expect(heed.memory.reserved - before).toBeLessThanOrEqual(65536);
      const sizes = new Set<number>();
      using narrow = heed.createKvCache({ numKvHeads: 1, headDim: 64, capacity: 4000 });
      for (let n = 0; n < 4000; n++) {
        narrow.append(rows(64), rows(64));
        sizes.add(heed.memory.reserved);
      }
      // 32 pages of 64 KiB at most: never the whole at once, never more often than there are pages.
      expect(sizes.size).toBeGreaterThan(4);
      expect(sizes.size).toBeLessThanOrEqual(34);
    });
  });

  describe("a window", () => {
    it("keeps what the queries of the newest tokens see, in sequences that took fewer of them too", () => {
      const heed = open();
      for (const [newTokens, taken] of [
        [1, 0],
        [17, 3],
        [17, 0],
      ] as const) {
        using cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 2000, batch: 2, window: 128 });
        cache.append(rows(2 * 256 * 8), rows(2 * 256 * 8));
        for (let n = 0; n < 3; n++) {
          cache.append(rows(2 * newTokens * 8), rows(2 * newTokens * 8), { lengths: ints(newTokens, taken) });
          const { lse } = cache.attention(rows(2 * newTokens * 8), { numHeads: 1, causal: true, lse: true });
          expect(lse.every(Number.isFinite)).toBe(true);
        }
      }
    });

    it("counts absolute positions against the capacity", () => {
      const heed = open();
      using cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 500, window: 10 });
      for (let n = 0; n < 5; n++) cache.append(rows(100 * 8), rows(100 * 8));
      expectUnchangedTail(cache, () => cache.append(rows(8), rows(8)));
    });

    it("refuses queries and lengths that reach what is gone, by name", () => {
      const heed = open();
      using cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 2000, window: 10 });
      for (let n = 0; n < 5; n++) cache.append(rows(100 * 8), rows(100 * 8));
      expectUnchangedTail(cache, () => cache.attention(rows(8), { numHeads: 1, queryOffset: 100 }));
      expectUnchangedTail(cache, () => cache.truncate(100));
    });

    function expectUnchangedTail(cache: Cache, call: () => unknown): void {
      const state = () => [cache.attention(rows(8), { numHeads: 1, lse: true }), cache.lengths, cache.bytes];
      const before = state();
      expect(call).toThrow(RangeError);
      expect(call).toThrow(/^"(k|queryOffset|length(\[0\])?)" expected .+, got .+/);
      expect(state()).toEqual(before);
    }
  });

  describe("dispose", () => {
    const calls: [string, (cache: Cache) => unknown][] = [
      ["append", (cache) => cache.append(rows(8), rows(8))],
      ["attention", (cache) => cache.attention(rows(8), { numHeads: 1 })],
      ["truncate", (cache) => cache.truncate(0)],
      ["reset", (cache) => cache.reset()],
      ["reorder", (cache) => cache.reorder(ints(0))],
      ["fork", (cache) => cache.fork()],
    ];

    it("of the cache is idempotent, gives the memory back, and any use after it is a ReferenceError", () => {
      const heed = open();
      const { used } = heed.memory;
      const cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 9 });
      cache.append(rows(8), rows(8));
      cache.dispose();
      cache.dispose();
      cache[Symbol.dispose]();
      expect(heed.memory.used).toBe(used);
      for (const [title, call] of calls) expect(() => call(cache), title).toThrow(ReferenceError);
      expect(heed.memory.used).toBe(used);
    });

    it("of the instance ends its caches", () => {
      const heed = open();
      const cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 9 });
      cache.append(rows(8), rows(8));
      heed.dispose();
      for (const [title, call] of calls) expect(() => call(cache), title).toThrow(ReferenceError);
      expect(() => heed.createKvCache({ numKvHeads: 1, headDim: 8, capacity: 9 })).toThrow(ReferenceError);
      cache.dispose();
    });
  });
});
