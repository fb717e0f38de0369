import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { problemOf } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import type { PlainOptions } from "../support/reference.ts";

const MIB = 2 ** 20;

/** q, k and v of 1 head of 64: out is as large as each. */
function longProblem(length: number) {
  const next = uniform(1);
  const [q, k, v] = [0, 1, 2].map(() => floats(length * 64, next));
  return { q: q!, k: k!, v: v!, options: { numHeads: 1, headDim: 64 } };
}

forEachBuild((name, open) => {
  describe("no score matrix", () => {
    // In full on the builds that are meant to be fast, 17 GFLOP; by a window of keys on the debug build.
    const cases: [string, Partial<PlainOptions>][] = [
      name === "debug" ? ["windowed", { window: { left: 40, right: 40 } }] : ["in full", {}],
      [
        "windowed, with ALiBi, softcap, sinks",
        {
          window: { left: 40 },
          causal: true,
          alibiSlopes: Float32Array.of(0.1),
          softcap: 9,
          sinks: Float32Array.of(1),
        },
      ],
      [
        "windowed, with masks of keys",
        {
          window: { left: 40 },
          causal: true,
          keepMask: { data: new Uint8Array(8192).fill(1), shape: [8192] },
          bias: { data: new Float32Array(8192), shape: [8192] },
        },
      ],
    ];
    it.each(cases)("1 × 8192 × 8192 × 64, %s, within 8 MiB of its rows", (_, chosen) => {
      const heed = open();
      const { q, k, v, options } = longProblem(8192);
      const { out, lse } = heed.attention(q, k, v, { ...options, ...chosen, lse: true });
      expect(out.every(Number.isFinite)).toBe(true);
      expect(lse.every(Number.isFinite)).toBe(true);
      const rows = 4 * 8192 * 64 * 4;
      expect(heed.memory.peak).toBeLessThanOrEqual(rows + 8 * MIB);
      expect(heed.memory.reserved).toBeLessThanOrEqual(rows + 8 * MIB);
      heed.dispose();
    });

    it("copies nothing that stands in tensors", () => {
      const heed = open();
      const [q, k, v, out] = [0, 1, 2, 3].map(() => heed.tensor(1000 * 64));
      const before = heed.memory.used;
      heed.attention(q!, k!, v!, { numHeads: 1, headDim: 64, window: { left: 9, right: 9 }, out: out! });
      expect(heed.memory.used).toBe(before);
      // What is left is the scratch of one block, whatever the length.
      expect(heed.memory.peak - before).toBeLessThan(MIB);
    });
  });

  describe("small calls", () => {
    it("leave nothing behind, ten thousand times", () => {
      const heed = open();
      const problems = [
        problemOf({ seqLenQ: 1, seqLenKv: 3, headDim: 5 }),
        problemOf({ seqLenQ: 2, seqLenKv: 1, headDim: 8 }),
      ];
      const call = (n: number) => {
        const { q, k, v, options } = problems[n % 2]!;
        heed.attention(q, k, v, { ...options, causal: n % 3 === 0, lse: n % 5 === 0 });
      };
      for (let n = 0; n < 30; n++) call(n);
      const before = heed.memory;
      for (let n = 0; n < 10_000; n++) call(n);
      expect(heed.memory).toEqual(before);
    });

    it("leave nothing behind when they fail", () => {
      const heed = open();
      const { q, k, v, options } = problemOf({});
      heed.attention(q, k, v, options);
      const before = heed.memory;
      for (let n = 0; n < 1000; n++) {
        expect(() => heed.attention(q, k, v.subarray(1), options)).toThrow(RangeError);
        expect(() => heed.attention(q, k, v, { ...options, out: new Float32Array(3) })).toThrow(RangeError);
      }
      expect(heed.memory).toEqual(before);
    });
  });

  describe("tensors", () => {
    it("hold zeros at first, also where memory was used before", () => {
      const heed = open();
      const first = heed.tensor(1000);
      first.data.fill(7);
      first.dispose();
      expect(heed.tensor(1000).data).toEqual(new Float32Array(1000));
    });

    it("count in memory.used until they are disposed", () => {
      const heed = open();
      const before = heed.memory.used;
      const tensor = heed.tensor(1000);
      expect(tensor.length).toBe(1000);
      expect(heed.memory.used - before).toBeGreaterThanOrEqual(4000);
      tensor.dispose();
      expect(heed.memory.used).toBe(before);
      tensor.dispose();
      expect(heed.memory.used).toBe(before);
    });

    it("are disposed of by using", () => {
      const heed = open();
      const before = heed.memory.used;
      {
        using tensor = heed.tensor(10);
        expect(tensor.data.length).toBe(10);
      }
      expect(heed.memory.used).toBe(before);
    });

    it("are refused once they are disposed, by name", () => {
      const heed = open();
      const live = heed.tensor(8);
      const gone = heed.tensor(8);
      gone.dispose();
      const options = { numHeads: 1, headDim: 8 };
      expect(() => gone.data).toThrow(ReferenceError);
      expect(() => heed.attention(gone, live, live, options)).toThrow(
        new ReferenceError('"q" expected a live Tensor, got a disposed one'),
      );
      expect(() => heed.attention(live, live, gone, options)).toThrow(/"v"/);
      expect(() => heed.attention(live, live, live, { ...options, out: gone })).toThrow(/"out"/);
      expect(() => heed.attention(live, live, live, { ...options, sinks: gone })).toThrow(/"sinks"/);
      expect(heed.attention(live, live, live, options).out).toEqual(new Float32Array(8));
    });

    it("show their floats anew once growth has detached older views", () => {
      const heed = open();
      const tensor = heed.tensor(4);
      const view = tensor.data;
      view.set([1, 2, 3, 4]);
      heed.tensor(heed.memory.reserved);
      expect(view.length).toBe(0);
      expect(tensor.data).toEqual(Float32Array.of(1, 2, 3, 4));
    });

    it("may be empty", () => {
      const heed = open();
      const empty = heed.tensor(0);
      expect(empty.data.length).toBe(0);
      expect(heed.attention(empty, empty, empty, { numHeads: 1, headDim: 8 }).out.length).toBe(0);
    });

    it.each<[unknown, typeof TypeError | typeof RangeError]>([
      [-1, RangeError],
      [1.5, RangeError],
      [NaN, RangeError],
      [2 ** 40, RangeError],
      ["8", TypeError],
      [undefined, TypeError],
    ])("of length %s are refused", (length, kind) => {
      const heed = open();
      const before = heed.memory.used;
      expect(() => heed.tensor(length as number)).toThrow(kind);
      expect(heed.memory.used).toBe(before);
    });
  });

  describe("memory that may not grow", () => {
    it("is a RangeError that changes nothing, and the instance works on", () => {
      const heed = open(16 * 65536);
      const small = problemOf({});
      const { out } = heed.attention(small.q, small.k, small.v, small.options);
      const tensor = heed.tensor(100);
      tensor.data.fill(3);
      const { used } = heed.memory;
      const { q, k, v, options } = longProblem(4096);
      const target = new Float32Array(4096 * 64).fill(5);
      expect(() => heed.attention(q, k, v, { ...options, out: target })).toThrow(RangeError);
      expect(() => heed.tensor(2 ** 20)).toThrow(RangeError);
      expect(target.every((x) => x === 5)).toBe(true);
      expect(heed.memory.used).toBe(used);
      expect(heed.memory.reserved).toBeLessThanOrEqual(16 * 65536);
      expect(tensor.data).toEqual(new Float32Array(100).fill(3));
      expect(heed.attention(small.q, small.k, small.v, small.options).out).toEqual(out);
    });

    it("says what was needed", () => {
      expect(() => open(65536 * 2).tensor(10 ** 6)).toThrow(/^"memory" expected .*, got .*bytes/);
    });

    it("can be used to the last byte, again and again", () => {
      const heed = open(8 * 65536);
      for (let round = 0; round < 50; round++) {
        const held = [];
        for (let size = 40_000; size > 0;) {
          try {
            held.push(heed.tensor(size));
          } catch (error) {
            expect(error).toBeInstanceOf(RangeError);
            size >>= 1;
          }
        }
        expect(heed.memory.reserved - heed.memory.used).toBeLessThan(8192);
        for (const tensor of held) tensor.dispose();
      }
      expect(heed.tensor(100_000).data.length).toBe(100_000);
    });
  });

  it("is let go by dispose, after which everything is a ReferenceError", () => {
    const heed = open();
    const tensor = heed.tensor(8);
    heed.dispose();
    heed.dispose();
    expect(() => heed.attention(tensor, tensor, tensor, { numHeads: 1, headDim: 8 })).toThrow(ReferenceError);
    const rows = new Float32Array(8);
    expect(() => heed.attention(rows, rows, rows, { numHeads: 1, headDim: 8 })).toThrow(ReferenceError);
    expect(() => heed.memory).toThrow(ReferenceError);
    expect(() => tensor.data).toThrow(ReferenceError);
    tensor.dispose();
  });
});
