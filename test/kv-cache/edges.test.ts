// Where pages, windows and prompts of a KvCache begin and end.
import { describe, expect, it } from "vitest";
import type { KvCacheOptions } from "../../bindings/kv-cache/options.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Cache, Model, expectRight } from "../support/kv-model.ts";
import { floats, uniform } from "../support/random.ts";

const ints = (...numbers: number[]) => Int32Array.from(numbers);
const rows = (length: number, seed = length) => floats(length, uniform(seed));

forEachBuild((_, open) => {
  /** A cache and its model, and what is done to both. */
  function pair(heed: ReturnType<typeof open>, options: KvCacheOptions) {
    const cache = heed.createKvCache(options);
    const model = new Model(options);
    const { batch, numKvHeads, headDim, valueDim } = model.dims;
    let seed = 1;
    return {
      cache,
      append: (tokens: number, lengths?: Int32Array) => {
        const k = rows(batch * tokens * numKvHeads * headDim, seed++);
        const v = rows(batch * tokens * numKvHeads * valueDim, seed++);
        cache.append(k, v, { lengths });
        model.append(k, v, lengths);
      },
      truncate: (...lengths: number[]) => {
        cache.truncate(ints(...lengths));
        model.truncate(ints(...lengths));
      },
      reorder: (...indices: number[]) => {
        cache.reorder(ints(...indices));
        model.reorder(ints(...indices));
      },
      expectRight: (seqLenQ = 1) => {
        const q = rows(batch * seqLenQ * 2 * numKvHeads * headDim, seed++);
        expectRight(cache, model, q, { numHeads: 2 * numKvHeads, causal: true });
      },
    };
  }

  describe("a page", () => {
    const dims = { numKvHeads: 2, headDim: 16 };

    it("may be filled to its last token, and the capacity end there", () => {
      const heed = open();
      for (const capacity of [1, 127, 128, 129, 256]) {
        const { cache, append, expectRight } = pair(heed, { ...dims, capacity });
        append(capacity - 1);
        append(1);
        expectRight();
        const { bytes } = cache;
        expect(() => append(1)).toThrow(RangeError);
        expect([cache.length, cache.bytes]).toEqual([capacity, bytes]);
        expectRight();
        cache.dispose();
      }
    });

    it("is written again after truncate, at, before and behind its edges", () => {
      const heed = open();
      for (const to of [0, 1, 127, 128, 129, 255, 256, 257, 300]) {
        const { cache, append, truncate, expectRight } = pair(heed, { ...dims, capacity: 600, dtype: "f16" });
        append(300);
        truncate(to);
        append(1);
        expectRight();
        append(130);
        expectRight(3);
        cache.dispose();
      }
    });

    it("is the own one of each sequence after reorder", () => {
      const heed = open();
      const { append, truncate, reorder, expectRight } = pair(heed, {
        ...dims,
        capacity: 600,
        batch: 3,
        dtype: "int8",
      });
      append(129, ints(129, 100, 3));
      reorder(0, 0, 0);
      append(2, ints(2, 1, 0));
      expectRight();
      truncate(5, 128, 129);
      reorder(2, 2, 1);
      append(140, ints(140, 0, 1));
      expectRight();
      reorder(1, 2, 0);
      expectRight();
    });
  });

  it("appending no tokens changes nothing", () => {
    const heed = open();
    const { cache, append, expectRight } = pair(heed, { numKvHeads: 1, headDim: 8, capacity: 900, window: 0 });
    append(0);
    expect([cache.length, cache.bytes]).toEqual([0, 0]);
    append(600);
    const { bytes } = cache;
    append(0);
    expect(cache.bytes).toBe(bytes);
    // The 600 queries of the tokens before are still to come.
    expectRight(600);
  });

  describe("Tensors", () => {
    it.each(["blhd", "bhld"] as const)("are read where they are, as arrays are, layout %s", (layout) => {
      const heed = open();
      const [batch, numKvHeads, headDim, valueDim, tokens] = [2, 2, 12, 5, 300];
      for (const dtype of ["f32", "f16", "int8"] as const) {
        const dims = { numKvHeads, headDim, valueDim, batch, capacity: 1000, dtype };
        const [fromArrays, fromTensors] = [heed.createKvCache(dims), heed.createKvCache(dims)];
        using k = heed.tensor(batch * tokens * numKvHeads * headDim);
        using v = heed.tensor(batch * tokens * numKvHeads * valueDim);
        for (const lengths of [ints(7, 0), ints(300, 130)]) {
          const [kRows, vRows] = [rows(k.length), rows(v.length)];
          k.data.set(kRows);
          v.data.set(vRows);
          fromArrays.append(kRows, vRows, { layout, lengths });
          fromTensors.append(k, v, { layout, lengths });
          expect(k.data).toEqual(kRows);
          const q = rows(batch * 4 * headDim);
          const options = { numHeads: 4, lse: true } as const;
          expect(fromTensors.attention(q, options)).toEqual(fromArrays.attention(q, options));
        }
        fromArrays.dispose();
        fromTensors.dispose();
      }
    });
  });

  it("a prompt takes its pages and a stage of one page, however long it is", () => {
    const heed = open();
    const dims = { numKvHeads: 2, headDim: 64 };
    const stage = 2 * 128 * 2 * 64 * 4;
    for (const tokens of [128, 4000]) {
      using cache = heed.createKvCache({ ...dims, capacity: 4000, dtype: "int8" });
      const { used, peak } = heed.memory;
      cache.append(rows(tokens * 2 * 64), rows(tokens * 2 * 64));
      const pages = heed.memory.used - used;
      expect(heed.memory.peak).toBeLessThanOrEqual(Math.max(peak, used + pages + stage + 1024));
    }
  });

  describe("a window", () => {
    const dims = { numKvHeads: 1, headDim: 8, capacity: 10_000 };

    it("lets go of a long prompt once its queries are past", () => {
      const heed = open();
      for (const window of [0, 10, 127, 128, 300]) {
        const { cache, append, expectRight } = pair(heed, { ...dims, window });
        append(3000);
        expectRight(17);
        append(1);
        // The pages of the window, of 32 tokens more and of the newest token, and two for tokens to come.
        const most = Math.ceil((window + 32) / 128) + 1 + 2;
        expect(cache.bytes).toBeLessThanOrEqual(most * 128 * 16 * 4);
        expectRight();
        cache.dispose();
      }
    });

    it("has constant bytes for appends of any size", () => {
      const heed = open();
      for (const tokens of [1, 3, 100, 129, 300]) {
        for (const window of [5, 96, 128, 222]) {
          const cache = heed.createKvCache({ ...dims, capacity: 2 ** 20, window });
          const [k, sizes] = [rows(tokens * 8), new Set<number>()];
          for (let n = 0; n < 1000; n++) {
            cache.append(k, k);
            if (n * tokens > 128 * 2 * tokens) sizes.add(cache.bytes);
          }
          expect(sizes.size, `${tokens} tokens, window ${window}`).toBe(1);
          cache.dispose();
        }
      }
    });

    it("can be taken back by as many tokens as the latest append had, and 32 more", () => {
      const heed = open();
      for (const window of [0, 5, 100, 128, 250]) {
        for (const tokens of [1, 4]) {
          const { cache, append, truncate, expectRight } = pair(heed, { ...dims, window });
          for (let n = 0; n < 300; n++) {
            append(tokens);
            if (n % 7 !== 0 || cache.length < 300) continue;
            truncate(cache.length - 32 - tokens);
            append(1);
            expectRight();
            for (let again = 0; again < 32; again++) append(tokens);
          }
          cache.dispose();
        }
      }
    });

    it("refuses to be taken back to where queries would miss keys", () => {
      const heed = open();
      const { cache, append, truncate, expectRight } = pair(heed, { ...dims, window: 200 });
      for (let n = 0; n < 10; n++) append(100);
      // 1000 − 100 − 200 − 32 = 668: pages before token 640 are gone.
      expect(() => truncate(839)).toThrow(
        new RangeError('"length[0]" expected at least 840 (keys before 640 are gone), got 839'),
      );
      expect(cache.length).toBe(1000);
      truncate(840);
      append(1);
      expectRight();
    });

    it("is emptied whenever one likes, for all sequences or for some, and starts anew", () => {
      const heed = open();
      const { cache, append, truncate, expectRight } = pair(heed, { ...dims, batch: 2, window: 60 });
      for (let n = 0; n < 5; n++) append(90);
      truncate(0, 450);
      append(3, ints(3, 1));
      expectRight();
      for (let n = 0; n < 5; n++) append(90, ints(90, 0));
      expectRight();
      truncate(0, 0);
      expect(cache.length).toBe(0);
      append(200, ints(200, 40));
      expectRight(40);
      for (let n = 0; n < 5; n++) append(90);
      expect(() => cache.truncate(1)).toThrow(
        /^"length\[0\]" expected at least \d+ \(keys before \d+ are gone\), got 1$/,
      );
      cache.truncate(0);
      expect([...cache.lengths]).toEqual([0, 0]);
    });

    it("is copied by reorder with what is left of it, once it has slid", () => {
      const heed = open();
      const { append, reorder, truncate, expectRight } = pair(heed, { ...dims, batch: 3, window: 60 });
      for (let n = 0; n < 5; n++) append(90, ints(90, n === 0 ? 70 : 1, 90));
      reorder(0, 0, 0);
      expectRight();
      append(130, ints(130, 1, 7));
      expectRight();
      truncate(570, 440, 450);
      append(1);
      expectRight();
    });

    it("is forked and reordered with what is left of it", () => {
      const heed = open();
      const { cache, append, reorder, expectRight } = pair(heed, { ...dims, batch: 2, window: 60, dtype: "f16" });
      for (let n = 0; n < 5; n++) append(90, ints(90, n % 2 === 0 ? 90 : 3));
      using fork = cache.fork();
      expect([fork.window, fork.capacity]).toEqual([60, 10_000]);
      const q = rows(2 * 2 * 8);
      const before = cache.attention(q, { numHeads: 2 });
      expect(fork.attention(q, { numHeads: 2 })).toEqual(before);
      reorder(1, 1);
      append(200, ints(200, 1));
      expectRight();
      expect(fork.attention(q, { numHeads: 2 })).toEqual(before);
      fork.append(rows(2 * 200 * 8), rows(2 * 200 * 8));
      expectRight();
    });

    it("keeps its bytes where memory fails to grow in the middle of an append", () => {
      const heed = open(24 * 65536);
      using cache: Cache = heed.createKvCache({ numKvHeads: 1, headDim: 64, capacity: 10_000, batch: 2, window: 100 });
      for (let n = 0; n < 10; n++) cache.append(rows(2 * 90 * 64), rows(2 * 90 * 64));
      const state = () => [
        cache.bytes,
        cache.lengths,
        heed.memory.used,
        cache.attention(rows(2 * 64), { numHeads: 1 }),
      ];
      const before = state();
      expect(() => cache.append(rows(2 * 64 * 3000), rows(2 * 64 * 3000))).toThrow(RangeError);
      expect(state()).toEqual(before);
      cache.append(rows(2 * 90 * 64), rows(2 * 90 * 64));
      expect(cache.bytes).toBe(before[0]);
    });
  });
});
