// The tables of a KvCache that applies rotary embedding: when they are read, who shares the copy, when it is given back.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it, vi } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import type { RotaryForm } from "../../bindings/rotary/options.ts";
import { frequenciesOf } from "../../bindings/rotary/trigonometry.ts";
import { type Build, type Open, forEachBuild } from "../support/builds.ts";
import type { Cache } from "../support/kv-model.ts";
import { floats, uniform } from "../support/random.ts";
import { tablesOf } from "../support/rotary.ts";

vi.mock(import("../../bindings/rotary/trigonometry.ts"), async (original) => {
  const actual = await original();
  return { ...actual, frequenciesOf: vi.fn(actual.frequenciesOf) };
});

const rows = (length: number, seed = length) => floats(length, uniform(seed));

const [HEAD_DIM, HALF, ROWS] = [8, 4, 16];
const dims = { numKvHeads: 1, headDim: HEAD_DIM, capacity: ROWS };
/** Tables of random numbers; each seed has its own. */
const tables = (seed: number) => ({ cos: rows(ROWS * HALF, seed), sin: rows(ROWS * HALF, seed + 100) });

/** The weights of one query over five keys, which show the angles that the cache has. */
function weightsOf(cache: Cache): Float32Array {
  if (cache.length === 0) cache.append(rows(5 * HEAD_DIM), rows(5 * HEAD_DIM));
  return cache.attentionWeights(rows(HEAD_DIM), { numHeads: 1 }).weights;
}

/** What `weightsOf` is with these tables, by heed.rotary and a plain cache. */
function expected(heed: Heed, { cos, sin }: { cos: Float32Array; sin: Float32Array }): Float32Array {
  using plain = heed.createKvCache(dims);
  const form = { numHeads: 1, headDim: HEAD_DIM, cos, sin };
  plain.append(heed.rotary(rows(5 * HEAD_DIM), form).out, rows(5 * HEAD_DIM));
  const q = heed.rotary(rows(HEAD_DIM), { ...form, positions: 4 }).out;
  return plain.attentionWeights(q, { numHeads: 1 }).weights;
}

function asTensors(heed: Heed, { cos, sin }: { cos: Float32Array; sin: Float32Array }) {
  const tensors = { cos: heed.tensor(cos.length), sin: heed.tensor(sin.length) };
  tensors.cos.data.set(cos);
  tensors.sin.data.set(sin);
  return tensors;
}

/** Bytes in use beside those that `cache.bytes` counts. */
const used = (heed: Heed, ...caches: Cache[]) =>
  heed.memory.used - caches.reduce((sum, { bytes }) => sum + Math.ceil((bytes + 16) / 64) * 64, 0);

const detach = (array: Float32Array) => structuredClone(array, { transfer: [array.buffer as ArrayBuffer] });

forEachBuild((name: Build, open: Open) => {
  describe("tables", () => {
    it.each(["arrays", "Tensors"])("are read when the cache is made, and again after reset(): %s", (kind) => {
      const heed = open();
      const [a, b] = [tables(1), tables(2)];
      const expectedOf = { a: expected(heed, a), b: expected(heed, b) };
      expect(expectedOf.a).not.toEqual(expectedOf.b);
      const given = kind === "arrays" ? tables(1) : asTensors(heed, a);
      const dataOf = (table: typeof given.cos) => ("data" in table ? table.data : table);
      const cache = heed.createKvCache({ ...dims, rotary: given });
      dataOf(given.cos).set(b.cos);
      dataOf(given.sin).set(b.sin);
      expect(weightsOf(cache)).toEqual(expectedOf.a);
      const fork = cache.fork();
      cache.truncate(0);
      expect(weightsOf(cache)).toEqual(expectedOf.a);
      const other = heed.createKvCache({ ...dims, rotary: given });
      expect(weightsOf(other)).toEqual(expectedOf.b);
      cache.reset();
      expect(weightsOf(cache)).toEqual(expectedOf.b);
      // The fork goes on with what it was forked from.
      expect(weightsOf(fork)).toEqual(expectedOf.a);
      fork.truncate(0);
      expect(weightsOf(fork)).toEqual(expectedOf.a);
      fork.reset();
      expect(weightsOf(fork)).toEqual(expectedOf.b);
    });

    it("that differ in one number give angles of their own", () => {
      const heed = open();
      const forms = [tables(1), tables(1), tables(1), { cos: tables(1).sin, sin: tables(1).cos }];
      forms[1]!.cos[9]! += 1;
      forms[2]!.sin[13]! += 1;
      const caches = forms.map((rotary) => heed.createKvCache({ ...dims, rotary }));
      caches.forEach((cache, n) => expect(weightsOf(cache)).toEqual(expected(heed, forms[n]!)));
      const signed = [0, -0].map((zero) => {
        const form = tables(1);
        form.sin.fill(zero);
        return used(heed, heed.createKvCache({ ...dims, rotary: form }));
      });
      expect(signed[1]).toBeGreaterThan(signed[0]!);
    });

    it("may be transferred or disposed once the cache is made; only reset() reads them again, and changes nothing", () => {
      const heed = open();
      const a = tables(1);
      const expectedOfA = expected(heed, a);
      const arrays = tables(1);
      const tensors = asTensors(heed, a);
      const [fromArrays, fromTensors] = [arrays, tensors].map((rotary) => heed.createKvCache({ ...dims, rotary }));
      detach(arrays.cos);
      tensors.cos.dispose();
      // What comes to stand there now is not read.
      const next = heed.tensor(a.cos.length);
      next.data.fill(7);
      for (const [cache, kind, got] of [
        [fromArrays!, TypeError, /^"rotary.cos" expected .*transferred/],
        [fromTensors!, ReferenceError, /^"rotary.cos" expected a live Tensor/],
      ] as const) {
        expect(weightsOf(cache)).toEqual(expectedOfA);
        const before = [cache.length, cache.bytes, heed.memory.used];
        expect(() => cache.reset()).toThrow(kind);
        expect(() => cache.reset()).toThrow(got);
        expect([cache.length, cache.bytes, heed.memory.used]).toEqual(before);
        expect(weightsOf(cache)).toEqual(expectedOfA);
        cache.truncate(0);
        expect(weightsOf(cache)).toEqual(expectedOfA);
        using fork = cache.fork();
        expect(weightsOf(fork)).toEqual(expectedOfA);
      }
    });

    it("reach beyond the capacity where they have the rows", () => {
      const heed = open();
      const cache = heed.createKvCache({ ...dims, capacity: 5, rotary: tables(1) });
      cache.append(rows(5 * HEAD_DIM), rows(5 * HEAD_DIM));
      cache.attention(rows(HEAD_DIM), { numHeads: 1, queryOffset: ROWS - 1 });
      expect(() => cache.attention(rows(HEAD_DIM), { numHeads: 1, queryOffset: ROWS })).toThrow(
        new RangeError('"queryOffset" expected positions from 0 to 15 (rows of rotary.cos), got 16'),
      );
    });

    it("are copied once for all caches that have the same, and given back with the last of them", () => {
      const heed = open();
      const before = heed.memory.used;
      const big = tablesOf(4096, HALF);
      const bytes = 4096 * HALF * 8;
      const make = (rotary: RotaryForm) => heed.createKvCache({ ...dims, rotary });
      const caches = [make(big), make(big), make({ cos: big.cos.slice(), sin: big.sin.slice() })];
      caches.push(caches[0]!.fork());
      expect(heed.memory.used - before).toBeLessThan(bytes + 100);
      caches[0]!.reset();
      expect(heed.memory.used - before).toBeLessThan(bytes + 100);
      big.sin[0] = 3;
      caches[0]!.reset();
      expect(heed.memory.used - before).toBeGreaterThan(2 * bytes);
      caches[1]!.reset();
      expect(heed.memory.used - before).toBeLessThan(2 * bytes + 200);
      for (const cache of caches) {
        expect(heed.memory.used).toBeGreaterThan(before);
        cache.dispose();
        cache.dispose();
      }
      expect(heed.memory.used).toBe(before);
    });

    it("that memory does not suffice for leave everything as it was", () => {
      const heed = open(20 * 65536);
      const big = tablesOf(10_000, HALF);
      using cache = heed.createKvCache({ ...dims, rotary: big });
      const weights = weightsOf(cache);
      const before = [heed.memory.used, cache.length];
      const other = tablesOf(40_000, HALF);
      expect(() => heed.createKvCache({ ...dims, rotary: other })).toThrow(RangeError);
      const blocks: { dispose(): void }[] = [];
      expect(() => {
        for (;;) blocks.push(heed.tensor(10_000));
      }).toThrow(RangeError);
      big.cos[1] = 5;
      expect(() => cache.reset()).toThrow(/^"memory" expected/);
      for (const block of blocks) block.dispose();
      expect([heed.memory.used, cache.length]).toEqual(before);
      expect(weightsOf(cache)).toEqual(weights);
    });
  });

  describe("angles of a base", () => {
    it("are computed when they are first needed", () => {
      const heed = open();
      const compute = vi.mocked(frequenciesOf).mockClear();
      using cache = heed.createKvCache({ ...dims, headDim: 2 ** 20, rotary: { base: 123 } });
      expect(cache.rotary).toEqual({ base: 123 });
      expect(compute).not.toHaveBeenCalled();
    });

    it("of queries that stand at no token take no memory once the call is over", () => {
      const heed = open();
      using cache = heed.createKvCache({ ...dims, rotary: {} });
      cache.append(rows(5 * HEAD_DIM), rows(5 * HEAD_DIM));
      const { used } = heed.memory;
      for (const queryOffset of [-300, 100, 5000, 2 ** 30]) {
        cache.attention(rows(300 * HEAD_DIM), { numHeads: 1, queryOffset });
        cache.attentionWeights(rows(HEAD_DIM), { numHeads: 1, queryOffset });
      }
      expect(heed.memory.used).toBe(used);
    });
  });

  it("caches that were forgotten give everything back once they are garbage-collected", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const heed = open();
    const before = heed.memory.used;
    const forget = () => {
      for (const rotary of [tables(1), {}, { base: 77 }]) {
        const cache = heed.createKvCache({ ...dims, rotary });
        weightsOf(cache);
        weightsOf(cache.fork());
      }
    };
    forget();
    expect(heed.memory.used).toBeGreaterThan(before);
    for (let n = 0; n < 300 && heed.memory.used > before; n++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(heed.memory.used, name).toBe(before);
  });
});
