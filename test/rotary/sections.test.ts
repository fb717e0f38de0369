// Positions on several axes (M-RoPE): heed.rotary, and the rows of a cache at positions that are given.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Instance } from "../../bindings/engine/instance.ts";
import { instantiate } from "../../bindings/engine/kernels.ts";
import { CacheRotary } from "../../bindings/kv-cache/cache-rotary.ts";
import { floatsAt } from "../../bindings/memory/arena.ts";
import type { RotaryForm } from "../../bindings/rotary/options.ts";
import { maxError } from "../support/budget.ts";
import { bytesOf, forEachBuild, openSimd } from "../support/builds.ts";
import { floats, integer, uniform } from "../support/random.ts";
import { type PlainRotaryOptions, axesOfPairs, rotaryReference, tablesOf } from "../support/rotary.ts";

const random = (length: number, most: number, seed: number) => {
  const next = uniform(seed);
  return Int32Array.from({ length }, () => integer(0, most, next));
};

describe("the axes of pairs", () => {
  it("are those of Qwen2-VL and of Qwen3-VL", () => {
    expect(axesOfPairs([2, 3, 3], false)).toEqual([0, 0, 1, 1, 1, 2, 2, 2]);
    expect(axesOfPairs([24, 20, 20], true).slice(56)).toEqual([2, 0, 1, 2, 0, 0, 0, 0]);
  });
});

forEachBuild((_, open) => {
  const heed = open();
  const [batch, seqLen, numHeads, headDim] = [2, 7, 2, 24];
  const x = floats(batch * seqLen * numHeads * headDim, uniform(1));
  const sizes = { batch, numHeads, headDim };

  it.each<[string, Partial<PlainRotaryOptions>]>([
    ["Qwen2-VL", { sections: [4, 4, 4] }],
    ["uneven, of a part of the row", { sections: [1, 5, 2], rotaryDim: 16 }],
    ["Qwen3-VL", { sections: [5, 4, 3], sectionsInterleaved: true }],
    ["interleaved, of uneven sections", { sections: [9, 2, 1], sectionsInterleaved: true }],
    ["four axes, two of them without pairs", { sections: [0, 10, 0, 2] }],
    ["one axis", { sections: [12] }],
    ["pairs of neighbours, own base", { sections: [4, 4, 4], interleaved: true, base: 1e6 }],
    [
      "frequencies and attentionScale",
      { sections: [2, 10], frequencies: Float64Array.from({ length: 12 }, (_, j) => 1 / (j + 2)), attentionScale: 1.2 },
    ],
    ["tables", { sections: [4, 4, 4], ...tablesOf(50, 12), attentionScale: 1.1 }],
  ])("turn pairs by the position of their axis: %s", (_, options) => {
    const axes = options.sections!.length;
    for (const layout of ["blhd", "bhld"] as const) {
      for (const positions of [random(axes * seqLen, 49, 2), random(axes * batch * seqLen, 49, 3), 5]) {
        const given = { ...sizes, ...options, layout, positions };
        const exact = rotaryReference(x, given);
        const plain = rotaryReference(x, given, Math.fround);
        const floor = 2 ** -23 * 1.2 * Math.SQRT2 * 1.8;
        expect(maxError(heed.rotary(x, given).out, exact)).toBeLessThanOrEqual(
          Math.max(2 * maxError(plain, exact), floor),
        );
      }
    }
  });

  it("are plain rotary embedding where all axes agree, bit for bit", () => {
    const one = random(batch * seqLen, 1e6, 4);
    const plain = heed.rotary(x, { ...sizes, positions: one }).out;
    const positions = Int32Array.from({ length: 3 * one.length }, (_, n) => one[n % one.length]!);
    for (const sectionsInterleaved of [false, true]) {
      const form = { ...sizes, sections: [4, 5, 3], sectionsInterleaved };
      if (sectionsInterleaved) form.sections = [5, 4, 3];
      expect(heed.rotary(x, { ...form, positions }).out).toEqual(plain);
      expect(heed.rotary(x, { ...form, positions: 70 }).out).toEqual(heed.rotary(x, { ...sizes, positions: 70 }).out);
    }
  });

  it("work in place, in Tensors and without rows", () => {
    const options = { ...sizes, sections: [4, 4, 4], positions: random(3 * seqLen, 99, 5) };
    const { out } = heed.rotary(x, options);
    using rows = heed.tensor(x.length);
    rows.data.set(x);
    expect(heed.rotary(rows, { ...options, out: rows }).out.data).toEqual(out);
    const none = heed.rotary(new Float32Array(0), { ...options, positions: new Int32Array(0) });
    expect(none.out).toHaveLength(0);
  });

  it("say which length positions have", () => {
    const given = { ...sizes, sections: [4, 4, 4], positions: new Int32Array(7) };
    expect(() => heed.rotary(x, given)).toThrow(
      new RangeError('"positions" expected a length of 21 (axes × rows) or 42 (axes × batch × rows), got 7'),
    );
    expect(() => heed.rotary(x, { ...sizes, positions: new Int32Array(8) })).toThrow(
      new RangeError('"positions" expected a length of 7 (rows) or 14 (batch × rows), got 8'),
    );
  });

  it("give back their memory", () => {
    const { used } = heed.memory;
    heed.rotary(x, { ...sizes, sections: [4, 4, 4], positions: random(3 * batch * seqLen, 99, 6) });
    expect(heed.memory.used).toBe(used);
  });

  it("are no matter to a cache and a layer whose tokens follow each other", () => {
    const form = { numKvHeads: 2, headDim, capacity: 9, batch };
    const q = floats(batch * 2 * 24, uniform(7));
    const outs = [{}, { sections: [4, 4, 4] }].map((rotary) => {
      using cache = heed.createKvCache({ ...form, rotary });
      cache.append(x, x);
      using fork = cache.fork();
      return [cache.attention(q, { numHeads: 2 }).out, fork.attention(q, { numHeads: 2 }).out];
    });
    expect(outs[1]).toEqual(outs[0]);
    const square = (seed: number) => ({ weight: { data: floats(48 * 48, uniform(seed)), shape: [48, 48] } });
    const weights = { q: square(1), k: square(2), v: square(3), out: square(4) };
    const results = [{}, { sections: [4, 4, 4] }].map((rotary) => {
      using layer = heed.createMultiHeadAttention({ numHeads: 2, headDim, embedDim: 48, weights, rotary });
      using cache = layer.createCache({ capacity: 40, batch });
      layer.forward(x, { cache, lengths: Int32Array.of(7, 3) });
      const next = layer.forward(x, { cache }).out;
      const packed = layer.forward(x, { cuSeqlensQ: Int32Array.of(0, 4, 14) }).out;
      return [next, packed];
    });
    expect(results[1]).toEqual(results[0]);
  });

  it("go on behind the largest one in a cache of a layer", () => {
    const square = (seed: number) => ({ weight: { data: floats(48 * 48, uniform(seed)), shape: [48, 48] } });
    const weights = { q: square(1), k: square(2), v: square(3), out: square(4) };
    const rotary = { sections: [4, 4, 4] };
    using layer = heed.createMultiHeadAttention({ numHeads: 2, headDim, embedDim: 48, weights, rotary });
    const rows = x.subarray(0, 4 * 48);
    // A word, and an image of one row of three.
    const positions = Int32Array.of(0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 2, 3);
    const nextOf = (given: Int32Array | undefined) => {
      using cache = layer.createCache({ capacity: 40 });
      layer.forward(rows, { cache, positions });
      expect(cache.nextPositions).toEqual(Int32Array.of(4));
      return layer.forward(rows.subarray(0, 2 * 48), { cache, positions: given, causal: true }).out;
    };
    expect(nextOf(undefined)).toEqual(nextOf(Int32Array.of(4, 5, 4, 5, 4, 5)));
  });

  it("are those of a layer's rows where the call gives them", () => {
    const square = (seed: number) => ({ weight: { data: floats(48 * 48, uniform(seed)), shape: [48, 48] } });
    const [q, k, v] = [square(1), square(2), square(3)];
    using layer = heed.createMultiHeadAttention({
      ...{ numHeads: 2, headDim, embedDim: 48, weights: { q, k, v } },
      rotary: { sections: [5, 4, 3], sectionsInterleaved: true, attentionScale: 1.3 },
    });
    const positions = random(3 * batch * seqLen, 99, 8);
    const { out } = layer.forward(x, { batch, positions });
    const form = { ...sizes, sections: [5, 4, 3], sectionsInterleaved: true, attentionScale: 1.3, positions };
    const project = ({ weight }: typeof q) => heed.linear(x, weight.data, undefined, { inFeatures: 48 }).out;
    const turned = [q, k].map((weight) => heed.rotary(project(weight), form).out);
    const expected = heed.attention(turned[0]!, turned[1]!, project(v), sizes).out;
    expect(maxError(out, expected)).toBeLessThan(1e-5 * expected.reduce((most, y) => Math.max(most, Math.abs(y)), 0));
  });
});

describe("rows of a cache at given positions", () => {
  const { kernels, memory } = instantiate(new WebAssembly.Module(bytesOf("simd")), 2 ** 26);
  const instance = new Instance(kernels, memory);
  const { arena } = instance;
  const [heads, dim] = [2, 12];
  /** CacheRotary.rotateAt of rows in an array, in two parts, as sequences of a batch come. */
  function rotateAt(x: Float32Array, form: RotaryForm, positions: Int32Array): Float32Array {
    const origin = new CacheRotary(instance, form, { headDim: dim, capacity: 10, firstPosition: 0 });
    const rotary = origin.fork();
    origin.angles.release();
    const rows = x.length / (heads * dim);
    const ptr = arena.allocate(x.byteLength);
    const spare = arena.allocate(rotary.bytesAt(rows));
    floatsAt(arena, ptr, x.length).set(x);
    const shape = { ptr, rowStride: heads * dim * 4, headStride: dim * 4, heads, dim };
    const first = Math.floor(rows / 3);
    const axisStride = rotary.axes > 1 ? rows : 0;
    rotary.checkRuns("positions", [{ position: 0, count: rows, mixed: positions }]);
    rotary.rotateAt(ptr, shape, positions, 0, axisStride, first, spare);
    const rest = { ...shape, ptr: ptr + first * shape.rowStride };
    rotary.rotateAt(rest.ptr, rest, positions, first, axisStride, rows - first, spare);
    const out = floatsAt(arena, ptr, x.length).slice();
    for (const block of [ptr, spare, ...rotary.angles.releasing()]) arena.release(block);
    return out;
  }

  it.each<[string, RotaryForm]>([
    ["one axis", {}],
    ["three axes", { sections: [1, 2, 3] }],
    [
      "interleaved, frequencies, attentionScale",
      {
        sections: [4, 2],
        sectionsInterleaved: true,
        frequencies: Float64Array.of(3, 1, 0.5, 0.1, 0.01, 0),
        attentionScale: 1.4,
      },
    ],
    ["tables", { ...tablesOf(400, 6), attentionScale: 0.9, sections: [3, 3] }],
    ["pairs of neighbours", { interleaved: true, rotaryDim: 10 }],
  ])("are those of heed.rotary, bit for bit: %s", (_, form) => {
    const { used } = arena.stats;
    const heed = openSimd()();
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 300 }), fc.integer(), (rows, seed) => {
        const x = floats(rows * heads * dim, uniform(seed));
        const positions = random((form.sections?.length ?? 1) * rows, 399, seed);
        const expected = heed.rotary(x, { numHeads: heads, headDim: dim, ...form, positions }).out;
        expect(rotateAt(x, form, positions)).toEqual(expected);
      }),
      { seed: 1, numRuns: 20 },
    );
    expect(arena.stats.used).toBe(used);
  });

  it("must be in the tables", () => {
    const rotary = new CacheRotary(instance, tablesOf(20, 6), { headDim: dim, capacity: 10, firstPosition: 0 });
    rotary.checkRuns("positions", [{ position: 0, count: 2, mixed: Int32Array.of(0, 19) }]);
    expect(() => {
      rotary.checkRuns("positions", [{ position: 0, count: 3, mixed: Int32Array.of(0, 5, 20) }]);
    }).toThrow(new RangeError('"positions[2]" expected positions from 0 to 19 (rows of rotary.cos), got 20'));
    rotary.angles.release();
  });
});
