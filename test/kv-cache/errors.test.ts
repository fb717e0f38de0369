// Errors of KvCache: each names its argument, and the cache is afterwards what it was, bit for bit.
import { describe, expect, it } from "vitest";
import { KvCache } from "../../bindings/api.ts";
import { forEachBuild } from "../support/builds.ts";
import type { Cache } from "../support/kv-model.ts";
import { floats, uniform } from "../support/random.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";

const ints = (...numbers: number[]) => Int32Array.from(numbers);
const rows = (length: number) => floats(length, uniform(length));

/** Expects the error, and the cache as it was. */
function expectUnchanged(cache: Cache, kind: Refusal, named: string, call: () => unknown): void {
  const q = rows(cache.batch * 3 * 2 * cache.numKvHeads * cache.headDim);
  const numHeads = 2 * cache.numKvHeads;
  const state = () => ({
    ...cache.attention(q, { numHeads, lse: true }),
    lengths: cache.lengths,
    length: cache.length,
    bytes: [cache.bytes, cache.sharedBytes],
  });
  const before = state();
  expectRefusal(kind, named, call);
  expect(state()).toEqual(before);
}

forEachBuild((_, open) => {
  describe("errors leave the cache as it was", () => {
    const heed = open();
    const options = { numKvHeads: 2, headDim: 6, valueDim: 10, capacity: 140, batch: 2 } as const;
    const filled = (more: { dtype?: "int8"; window?: number } = {}) => {
      const cache = heed.createKvCache({ ...options, ...more });
      cache.append(rows(2 * 130 * 12), rows(2 * 130 * 20), { lengths: ints(130, 7) });
      return cache;
    };
    const k = (tokens: number) => rows(2 * tokens * 12);
    const v = (tokens: number) => rows(2 * tokens * 20);
    const q = rows(2 * 3 * 4 * 6);
    const any = (value: unknown) => value as never;

    it.each<[string, Refusal, string, (cache: Cache) => unknown]>([
      ["append past capacity", RangeError, "k", (cache) => cache.append(k(11), v(11))],
      [
        "append past capacity, one sequence",
        RangeError,
        "k",
        (cache) => cache.append(k(99), v(99), { lengths: ints(11, 0) }),
      ],
      ["append k that does not divide", RangeError, "k", (cache) => cache.append(rows(23), v(1))],
      ["append v of other tokens", RangeError, "v", (cache) => cache.append(k(2), v(1))],
      ["append k an array", TypeError, "k", (cache) => cache.append(any([1, 2]), v(1))],
      ["append v missing", TypeError, "v", (cache) => cache.append(k(1), any(undefined))],
      ["append doubles", TypeError, "k", (cache) => cache.append(any(new Float64Array(24)), v(1))],
      ["append options null", TypeError, "options", (cache) => cache.append(k(1), v(1), any(null))],
      ["append layout unknown", RangeError, "layout", (cache) => cache.append(k(1), v(1), { layout: any("lbhd") })],
      ["append lengths an array", TypeError, "lengths", (cache) => cache.append(k(1), v(1), { lengths: any([1, 1]) })],
      [
        "append lengths of one sequence",
        RangeError,
        "lengths",
        (cache) => cache.append(k(1), v(1), { lengths: ints(1) }),
      ],
      [
        "append lengths beyond the tokens",
        RangeError,
        "lengths[1]",
        (cache) => cache.append(k(1), v(1), { lengths: ints(1, 2) }),
      ],
      [
        "append lengths below 0",
        RangeError,
        "lengths[0]",
        (cache) => cache.append(k(1), v(1), { lengths: ints(-1, 1) }),
      ],
      ["truncate beyond every sequence", RangeError, "length", (cache) => cache.truncate(131)],
      ["truncate beyond one", RangeError, "length[1]", (cache) => cache.truncate(ints(130, 8))],
      ["truncate to -1", RangeError, "length", (cache) => cache.truncate(-1)],
      ["truncate to 0.5", RangeError, "length", (cache) => cache.truncate(0.5)],
      ["truncate one to -1", RangeError, "length[0]", (cache) => cache.truncate(ints(-1, 1))],
      ["truncate lengths of three", RangeError, "length", (cache) => cache.truncate(ints(1, 1, 1))],
      ["truncate to a string", TypeError, "length", (cache) => cache.truncate(any("3"))],
      ["reorder out of range", RangeError, "indices[1]", (cache) => cache.reorder(ints(0, 2))],
      ["reorder below 0", RangeError, "indices[0]", (cache) => cache.reorder(ints(-1, 0))],
      ["reorder of one", RangeError, "indices", (cache) => cache.reorder(ints(0))],
      [
        "keep a token that is not there",
        RangeError,
        "indices[1][2]",
        (cache) => cache.keep([undefined, ints(0, 6, 7)]),
      ],
      ["keep a negative token", RangeError, "indices[0][0]", (cache) => cache.keep([ints(-1), undefined])],
      ["keep a token twice", RangeError, "indices[0][1]", (cache) => cache.keep([ints(5, 5), undefined])],
      ["keep tokens that do not ascend", RangeError, "indices[0][2]", (cache) => cache.keep([ints(1, 5, 4), ints()])],
      ["keep of one sequence", RangeError, "indices", (cache) => cache.keep([ints(1)])],
      ["keep one list for two sequences", TypeError, "indices", (cache) => cache.keep(ints(1))],
      ["keep a list of numbers", TypeError, "indices[0]", (cache) => cache.keep(any([[1], [2]]))],
      ["add -1", RangeError, "count", (cache) => cache.add(-1)],
      ["add a string", TypeError, "count", (cache) => cache.add(any("1"))],
      ["remove what is not there", RangeError, "b", (cache) => cache.remove(2)],
      ["remove nothing", TypeError, "b", (cache) => cache.remove(any(undefined))],
      ["prefix past the tokens", RangeError, "length", (cache) => KvCache.prefix(cache, 131)],
      ["prefix past those of one", RangeError, "length[1]", (cache) => KvCache.prefix(cache, ints(130, 8))],
      ["prefix of an object", TypeError, "cache", () => KvCache.prefix(any({}), 1)],
      ["save from past the tokens", RangeError, "from", (cache) => cache.save({ from: 8 })],
      ["save from past those of one", RangeError, "from[1]", (cache) => cache.save({ from: ints(130, 8) })],
      ["save from a string", TypeError, "from", (cache) => cache.save({ from: any("1") })],
      ["save into a short array", RangeError, "into", (cache) => cache.save({ into: new Uint8Array(99) })],
      ["save into floats", TypeError, "into", (cache) => cache.save({ into: any(new Float32Array(1e6)) })],
      ["read of no sequence", RangeError, "b", (cache) => cache.read(2, 0)],
      ["read from past the tokens", RangeError, "from", (cache) => cache.read(1, 8)],
      ["read to past the tokens", RangeError, "to", (cache) => cache.read(1, 0, 8)],
      [
        "append positions of other tokens",
        RangeError,
        "positions",
        (cache) => cache.append(k(1), v(1), { positions: ints(1, 2, 3) }),
      ],
      [
        "append positions out of range",
        RangeError,
        "positions[1]",
        (cache) => cache.append(k(2), v(2), { positions: ints(1, 2 ** 29 + 1) }),
      ],
      [
        "append positions an array",
        TypeError,
        "positions",
        (cache) => cache.append(k(1), v(1), { positions: any([1]) }),
      ],
      ["reorder by an array", TypeError, "indices", (cache) => cache.reorder(any([0, 1]))],
      ["attention without options", TypeError, "options", (cache) => cache.attention(q, any(undefined))],
      ["attention without numHeads", TypeError, "numHeads", (cache) => cache.attention(q, any({}))],
      [
        "attention of heads that do not group",
        RangeError,
        "numKvHeads",
        (cache) => cache.attention(q, { numHeads: 3 }),
      ],
      ["attention of q that does not divide", RangeError, "q", (cache) => cache.attention(rows(25), { numHeads: 4 })],
      ["attention of q an array", TypeError, "q", (cache) => cache.attention(any([1]), { numHeads: 4 })],
      [
        "attention with a mask of other keys",
        RangeError,
        "keepMask.shape[0]",
        (cache) => cache.attention(q, { numHeads: 4, keepMask: { data: new Uint8Array(131), shape: [131] } }),
      ],
      ["attention into a short out", RangeError, "out", (cache) => cache.attention(q, { numHeads: 4, out: rows(5) })],
    ])("%s", (_, kind, named, call) => {
      for (const more of [{}, { dtype: "int8" }, { window: 1000 }] as const) {
        using cache = filled(more);
        expectUnchanged(cache, kind, named, () => call(cache));
      }
    });

    it("new KvCache says where caches come from", () => {
      expect(() => new KvCache(any(undefined), any({}))).toThrow(
        '"KvCache" expected heed.createKvCache instead of new',
      );
    });

    it.each<[string, string, object]>([
      ["heads that do not group", "numKvHeads", { numHeads: 3 }],
      ["a mask of other keys", "keepMask.shape[0]", { keepMask: { data: new Uint8Array(131), shape: [131] } }],
      ["sinks of other heads", "sinks", { sinks: rows(3) }],
      ["a wrong window", "window.left", { window: { left: -1 } }],
    ])("and writes no results: %s", (_, named, wrong) => {
      using cache = filled();
      const into = { out: new Float32Array(2 * 3 * 4 * 10).fill(7), lse: new Float32Array(2 * 4 * 3).fill(7) };
      expectUnchanged(cache, RangeError, named, () => cache.attention(q, { numHeads: 4, ...into, ...wrong }));
      const { out, lse } = into;
      const weights = new Float32Array(2 * 4 * 3 * 130).fill(7);
      expectUnchanged(cache, RangeError, named, () => cache.attentionWeights(q, { numHeads: 4, weights, ...wrong }));
      expect([...out, ...lse, ...weights].every((x) => x === 7)).toBe(true);
    });

    it.each<[string, Refusal, string, object]>([
      ["numKvHeads missing", TypeError, "numKvHeads", { numKvHeads: undefined }],
      ["headDim 0", RangeError, "headDim", { headDim: 0 }],
      ["valueDim 1.5", RangeError, "valueDim", { valueDim: 1.5 }],
      ["capacity missing", TypeError, "capacity", { capacity: undefined }],
      ["capacity -1", RangeError, "capacity", { capacity: -1 }],
      ["batch 0", RangeError, "batch", { batch: 0 }],
      ["dtype unknown", RangeError, "dtype", { dtype: "f64" }],
      ["dtype a number", TypeError, "dtype", { dtype: 16 }],
      ["dtype of v unknown", RangeError, "dtype.v", { dtype: { k: "f32", v: "int4" } }],
      ["dtype of k missing", TypeError, "dtype.k", { dtype: { v: "f32" } }],
      ["window -1", RangeError, "window", { window: -1 }],
      ["firstPosition beyond 2²⁹", RangeError, "firstPosition", { firstPosition: 2 ** 29 + 1 }],
      ["firstPosition a string", TypeError, "firstPosition", { firstPosition: "1" }],
      ["window a string", TypeError, "window", { window: "4" }],
    ])("createKvCache: %s", (_, kind, named, wrong) => {
      const { used } = heed.memory;
      expectRefusal(kind, named, () => heed.createKvCache(any({ ...options, ...wrong })));
      expect(heed.memory.used).toBe(used);
    });
  });

  it("memory that may not grow", () => {
    const heed = open(32 * 65536);
    const holding: Cache[] = [];
    using cache = heed.createKvCache({ numKvHeads: 1, headDim: 64, capacity: 100_000, batch: 2 });
    cache.append(rows(2 * 600 * 64), rows(2 * 600 * 64), { lengths: ints(600, 200) });
    expectUnchanged(cache, RangeError, "memory", () => cache.append(rows(2 * 1900 * 64), rows(2 * 1900 * 64)));
    for (let n = 0; n < 1000; n++) holding.push(cache.fork());
    cache.reorder(ints(0, 0));
    expect(cache.lengths).toEqual(ints(600, 600));
    // The page that both sequences and all forks share has room for 40 tokens more, but must be copied for each.
    const filler = heed.createKvCache({ numKvHeads: 1, headDim: 64, capacity: 100_000 });
    expect(() => {
      for (;;) filler.append(rows(128 * 64), rows(128 * 64));
    }).toThrow(RangeError);
    const state = () => [cache.save(), cache.bytes, cache.sharedBytes, heed.memory.used];
    const before = state();
    expectRefusal(RangeError, "memory", () => cache.append(rows(2 * 64), rows(2 * 64)));
    expectRefusal(RangeError, "memory", () => cache.keep([ints(0, 599), ints(3)]));
    expect(state()).toEqual(before);
    filler.dispose();
    cache.append(rows(2 * 64), rows(2 * 64));
    cache.keep([ints(0, 599), ints(3)]);
    expect(cache.lengths).toEqual(ints(2, 1));
    for (const fork of holding) fork.dispose();
  });

  it("memory that suffices for one of two copies", () => {
    let refused = 0;
    for (let pages = 4; ; pages++) {
      const heed = open(pages * 65536);
      using cache = heed.createKvCache({ numKvHeads: 1, headDim: 64, capacity: 200, batch: 1 });
      cache.append(rows(100 * 64), rows(100 * 64));
      cache.add(2);
      cache.reorder(ints(0, 0, 0));
      const state = () => [cache.bytes, cache.lengths, heed.memory.used];
      const before = state();
      try {
        cache.append(rows(3 * 64), rows(3 * 64));
        break;
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
        expect(state()).toEqual(before);
        refused++;
      }
    }
    expect(refused).toBeGreaterThanOrEqual(1);
  });
});
