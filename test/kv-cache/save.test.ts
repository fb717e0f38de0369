// Saved caches: the format, parts that continue each other, and bytes that are not what was saved.
import { describe, expect, it } from "vitest";
import type { KvCacheOptions } from "../../bindings/kv-cache/options.ts";
import { forEachBuild } from "../support/builds.ts";
import type { Cache, Dtype } from "../support/kv-model.ts";
import { floats, integer, uniform } from "../support/random.ts";
import { expectRefusal } from "../support/refusal.ts";

const ints = (...numbers: number[]) => Int32Array.from(numbers);
const DTYPES: (Dtype | { k: Dtype; v: Dtype })[] = ["f32", "f16", "int8", { k: "int8", v: "f32" }];

forEachBuild((name, open) => {
  const heed = open();
  const options = { numKvHeads: 2, headDim: 6, valueDim: 9, capacity: 900, batch: 2 } as const;

  /** Appends tokens that follow from `seed`. */
  function append(cache: Cache, newTokens: number, seed: number, lengths?: Int32Array): void {
    const { batch, numKvHeads, headDim, valueDim } = cache;
    const rows = (dim: number, from: number) => floats(batch * newTokens * numKvHeads * dim, uniform(from));
    cache.append(rows(headDim, seed), rows(valueDim, seed + 1000), { lengths });
  }

  function filled(more: Partial<KvCacheOptions> = {}): Cache {
    const cache = heed.createKvCache({ ...options, ...more });
    append(cache, 300, 1, ints(300, 131));
    return cache;
  }

  /** What must be the same of two caches. */
  function stateOf(cache: Cache) {
    const q = floats(cache.batch * 2 * 4 * cache.headDim, uniform(3));
    const { batch, numKvHeads, headDim, valueDim, capacity, dtype, window, firstPosition } = cache;
    return {
      ...cache.attention(q, { numHeads: 4, causal: true, lse: true }),
      ...{ lengths: cache.lengths, next: cache.nextPositions },
      ...{ batch, numKvHeads, headDim, valueDim, capacity, dtype, window, firstPosition },
    };
  }

  describe("restored", () => {
    it.each(DTYPES)("%o: has the same bits, also of what comes later, in another instance too", (dtype) => {
      for (const more of [
        {},
        { window: 40 },
        { rotary: { base: 700, rotaryDim: 4, interleaved: true }, firstPosition: 5 },
      ]) {
        using cache = filled({ dtype, ...more });
        const saved = cache.save();
        const other = open();
        const { used } = other.memory;
        for (const instance of [heed, other]) {
          using fork = cache.fork();
          const restored = instance.restoreKvCache(saved);
          expect(stateOf(restored)).toEqual(stateOf(fork));
          for (const one of [restored, fork]) append(one, 7, 9, ints(7, 2));
          expect(stateOf(restored)).toEqual(stateOf(fork));
          expect(restored.rotary).toEqual(cache.rotary);
          restored.dispose();
        }
        expect(other.memory.used).toBe(used);
      }
    });

    it("has the tables as they were when the cache read them", () => {
      const cos = floats(900 * 3, uniform(1));
      const sin = floats(900 * 3, uniform(2));
      using cache = filled({ rotary: { cos, sin } });
      cos.fill(0);
      using restored = heed.restoreKvCache(cache.save());
      for (const one of [restored, cache]) append(one, 3, 8);
      expect(stateOf(restored)).toEqual(stateOf(cache));
      expect(restored.rotary?.cos).toHaveLength(900 * 3);
    });

    it("of one without tokens, of many empty sequences and of none", () => {
      for (const batch of [1, 2 ** 30]) {
        using cache = heed.createKvCache({ ...options, batch });
        using restored = heed.restoreKvCache(cache.save());
        expect([restored.batch, restored.length]).toEqual([batch, 0]);
      }
      using cache = filled();
      cache.remove(1);
      cache.remove(0);
      using restored = heed.restoreKvCache(cache.save());
      expect([restored.batch, restored.length, restored.bytes]).toEqual([0, 0, 0]);
      for (const one of [cache, restored]) {
        expectRefusal(RangeError, "batch", () => one.append(new Float32Array(12), new Float32Array(18)));
        expectRefusal(RangeError, "batch", () => one.attention(new Float32Array(24), { numHeads: 4 }));
        expect(one.add(2)).toBe(0);
        append(one, 300, 1, ints(300, 131));
      }
      expect(stateOf(restored)).toEqual(stateOf(cache));
    });
  });

  describe("in parts", () => {
    it.each(DTYPES)("%o: each part takes the place of what follows its first token", (dtype) => {
      for (const window of [undefined, 30, 200]) {
        using cache = filled({ dtype, window });
        const parts = [cache.save()];
        for (let n = 0; n < 6; n++) {
          const from = cache.lengths;
          if (n % 3 === 2) {
            cache.truncate(from.map((length) => length - 9));
            parts.push(cache.save({ from: from.map((length) => length - 9 - n) }));
          } else if (n === 4) {
            append(cache, 40, n, ints(40, 40));
            parts.push(cache.save({ from: Math.min(...from) }));
          } else {
            append(cache, 50, n, ints(50, 20));
            parts.push(cache.save({ from }));
          }
          using restored = heed.restoreKvCache(parts);
          expect(stateOf(restored)).toEqual(stateOf(cache));
          expect(restored.save()).toEqual(cache.save());
        }
      }
    });

    it("a part alone, in the wrong order, or of another cache is refused", () => {
      using cache = filled();
      const first = cache.save();
      append(cache, 10, 2);
      const second = cache.save({ from: ints(300, 131) });
      append(cache, 10, 2);
      const third = cache.save({ from: ints(310, 141) });
      using another = filled({ capacity: 901 });
      const { used } = heed.memory;
      expectRefusal(RangeError, "bytes", () => heed.restoreKvCache(second));
      expectRefusal(RangeError, "bytes[0]", () => heed.restoreKvCache([second, first]));
      expectRefusal(RangeError, "bytes[1]", () => heed.restoreKvCache([first, third]));
      expectRefusal(RangeError, "bytes[1]", () => heed.restoreKvCache([first, another.save()]));
      // After one that was reset nothing is there to go on from.
      using empty = heed.createKvCache(options);
      expectRefusal(RangeError, "bytes[2]", () => heed.restoreKvCache([first, empty.save(), second]));
      expect(heed.restoreKvCache([first, empty.save()]).length).toBe(0);
      expectRefusal(RangeError, "bytes", () => heed.restoreKvCache([]));
      expect(heed.memory.used).toBe(used);
      using restored = heed.restoreKvCache([first, second, third]);
      expect(stateOf(restored)).toEqual(stateOf(cache));
    });
  });

  it("bytes have no trace of what else was in memory", () => {
    const fresh = open();
    const clean = fresh.createKvCache(options);
    append(clean, 140, 5);
    using cache = filled();
    append(cache, 100, 6);
    cache.truncate(0);
    append(cache, 140, 5);
    expect(cache.save()).toEqual(clean.save());
    using reused = heed.createKvCache(options);
    append(reused, 140, 5);
    expect(reused.save()).toEqual(clean.save());
  });

  it("goes where it is told to, and comes from wherever bytes are", () => {
    using cache = filled();
    const saved = cache.save();
    const into = new Uint8Array(saved.length + 100).fill(7);
    const written = cache.save({ into: into.subarray(3) });
    expect(written).toEqual(saved);
    expect([written.buffer, written.byteOffset]).toEqual([into.buffer, 3]);
    expect(into.subarray(3 + saved.length)).toEqual(new Uint8Array(97).fill(7));
    const shared = new Uint8Array(new SharedArrayBuffer(saved.length));
    shared.set(saved);
    for (const bytes of [written, shared, Buffer.from(saved)]) {
      using restored = heed.restoreKvCache(bytes);
      expect(restored.save()).toEqual(saved);
    }
    expect(saved).toEqual(cache.save()); // It was not written to.
  });

  it("is what docs/kv-cache.md says, to the byte", () => {
    using cache = heed.createKvCache({
      numKvHeads: 2,
      headDim: 3,
      valueDim: 1,
      capacity: 9,
      dtype: { k: "f32", v: "int8" },
    });
    cache.append(
      Float32Array.from({ length: 12 }, (_, n) => n),
      Float32Array.of(127, 254, -127, 0),
    );
    const saved = cache.save();
    const text = (from: number, to: number) => String.fromCharCode(...saved.subarray(from, to));
    const numbers = new DataView(saved.buffer);
    expect([text(0, 7), saved[7]]).toEqual(["heed.kv", 1]);
    expect(numbers.getBigUint64(8, true)).toBe(BigInt(saved.length));
    const json = text(36, 36 + numbers.getUint32(32, true));
    expect(JSON.parse(json)).toEqual({
      ...{ numKvHeads: 2, headDim: 3, valueDim: 1, capacity: 9, batch: 1, dtype: { k: "f32", v: "int8" } },
      firstPosition: 0,
    });
    let at = Math.ceil((36 + json.length) / 16) * 16;
    for (const value of [2, 0, 0, 0]) {
      expect(numbers.getInt32(at, true)).toBe(value);
      at += 16;
    }
    // K: two heads of two tokens, each a row of eight floats.
    const k = new Float32Array(saved.buffer, at, 32);
    expect([...k]).toEqual([0, 6, 3, 9].flatMap((n) => [n, n + 1, n + 2, 0, 0, 0, 0, 0]));
    const v = new Int8Array(saved.buffer, at + 128, 32);
    expect([...v]).toEqual([127, -127, 127, 0].flatMap((byte) => [byte, 0, 0, 0, 0, 0, 0, 0]));
    expect([...new Float32Array(saved.buffer, at + 160, 4)]).toEqual([1, 1, 2, 0]);
    expect(saved.length).toBe(at + 176);
    expect(numbers.getUint32(16, true)).toBe(xxh32OfSpec(saved.subarray(32)));
  });

  it("read gives what is stored as floats", () => {
    for (const dtype of DTYPES) {
      using cache = filled({ dtype });
      const { k, v } = cache.read(0, 100, 260);
      expect([k.length, v.length]).toEqual([160 * 12, 160 * 18]);
      // What attention reads: the whole of v for one key alone, and k by its scores.
      using one = cache.fork();
      one.keep([ints(137), ints(5)]);
      const { out } = one.attention(new Float32Array(2 * 12), { numHeads: 2 });
      expect(out.subarray(0, 18)).toEqual(v.subarray(37 * 18, 38 * 18));
      expect(cache.read(1, 5, 6).v).toEqual(out.subarray(18));
      for (let d = 0; d < 6; d++) {
        const q = new Float32Array(2 * 12);
        [q[d], q[6 + d]] = [1, 1];
        const { lse } = one.attention(q, { numHeads: 2, scale: 1, lse: true });
        expect(lse[0]).toBeCloseTo(k[37 * 12 + d]!, 5);
        expect(lse[1]).toBeCloseTo(k[37 * 12 + 6 + d]!, 5);
      }
      expect(cache.read(1, 131)).toEqual({ k: new Float32Array(0), v: new Float32Array(0) });
    }
    using windowed = heed.createKvCache({ ...options, window: 10 });
    for (let n = 0; n < 4; n++) append(windowed, 100, n);
    expectRefusal(RangeError, "from", () => windowed.read(0, 100));
    expect(windowed.read(0, 390).k).toHaveLength(120);
  });

  it("bytes that were flipped, cut or lengthened are refused, and nothing is allocated", { timeout: 120_000 }, () => {
    const next = uniform(20261128);
    using cache = heed.createKvCache({ ...options, rotary: {}, window: 20 });
    append(cache, 31, 2, ints(31, 7));
    const saved = cache.save();
    const { used } = heed.memory;
    const rounds = name === "simd" ? 10_000 : 300;
    for (let n = 0; n < rounds; n++) {
      const bytes = saved.slice(0, n % 5 === 0 ? integer(0, saved.length - 1, next) : saved.length);
      for (let flips = n % 5 === 0 ? 0 : 1 + (n % 3); flips > 0; flips--) {
        // The same bit twice would mend it.
        bytes[integer(0, bytes.length - 1, next)]! ^= 1 << integer(0, 7, next);
      }
      if (bytes.length === saved.length && bytes.every((byte, i) => byte === saved[i])) continue;
      expectRefusal(RangeError, "bytes", () => heed.restoreKvCache(bytes));
    }
    const longer = new Uint8Array(saved.length + 16);
    longer.set(saved);
    expectRefusal(RangeError, "bytes", () => heed.restoreKvCache(longer));
    for (const foreign of [
      new Uint8Array(0),
      new Uint8Array(1000),
      Uint8Array.from("heed.kv", (c) => c.charCodeAt(0)),
    ]) {
      expectRefusal(RangeError, "bytes", () => heed.restoreKvCache(foreign));
    }
    for (const wrong of [undefined, "heed.kv", saved.buffer, new Float32Array(9), { length: 3 }]) {
      expectRefusal(TypeError, "bytes", () => heed.restoreKvCache(wrong as never));
    }
    expect(heed.memory.used).toBe(used);
  });

  it("where memory cannot grow, nothing stays allocated", () => {
    using cache = heed.createKvCache({ numKvHeads: 4, headDim: 64, capacity: 10_000 });
    append(cache, 5000, 1);
    const small = open(40 * 65536);
    const { used } = small.memory;
    expectRefusal(RangeError, "memory", () => small.restoreKvCache(cache.save()));
    expect(small.memory.used).toBe(used);
    cache.truncate(300);
    using restored = small.restoreKvCache(cache.save());
    expect(restored.read(0, 0)).toEqual(cache.read(0, 0));
  });
});

/** XXH32 as its specification has it, step by step, of a multiple of 16 bytes. */
function xxh32OfSpec(bytes: Uint8Array): number {
  const [p1, p2, p3, mask] = [0x9e3779b1n, 0x85ebca77n, 0xc2b2ae3dn, 0xffffffffn];
  const rotate = (x: bigint, by: bigint) => ((x << by) | (x >> (32n - by))) & mask;
  let lanes = [(p1 + p2) & mask, p2, 0n, (0n - p1) & mask];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < bytes.length; at += 16) {
    lanes = lanes.map(
      (lane, n) => (rotate((lane + BigInt(view.getUint32(at + 4 * n, true)) * p2) & mask, 13n) * p1) & mask,
    );
  }
  const by = [1n, 7n, 12n, 18n];
  let hash = lanes.reduce((sum, lane, n) => sum + rotate(lane, by[n]!), 0n) & mask;
  hash = (hash + BigInt(bytes.length)) & mask;
  hash = ((hash ^ (hash >> 15n)) * p2) & mask;
  hash = ((hash ^ (hash >> 13n)) * p3) & mask;
  return Number(hash ^ (hash >> 16n));
}
