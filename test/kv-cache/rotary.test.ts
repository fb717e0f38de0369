// A KvCache that applies rotary embedding, against heed.rotary before a plain one: the same bits.

import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import type { KvCacheOptions } from "../../bindings/kv-cache/options.ts";
import type { RotaryForm } from "../../bindings/rotary/options.ts";
import { forEachBuild } from "../support/builds.ts";
import type { Cache } from "../support/kv-model.ts";
import { floats, integer, uniform } from "../support/random.ts";
import { tablesOf } from "../support/rotary.ts";

const ints = (...numbers: number[]) => Int32Array.from(numbers);
const rows = (length: number, seed = length) => floats(length, uniform(seed));

const HEAD_DIM = 20;
const CAPACITY = 700;
const forms: [string, RotaryForm][] = [
  ["halves", {}],
  ["interleaved, base 500000", { interleaved: true, base: 500000 }],
  ["some of a row", { rotaryDim: 6 }],
  ["tables", { ...tablesOf(CAPACITY + 9, 10) }],
  ["tables, some of a row, interleaved", { ...tablesOf(CAPACITY, 3), rotaryDim: 6, interleaved: true }],
];

/** Two caches, one that rotates and one whose rows heed.rotary has turned before. */
class Twins {
  readonly rotating: Cache;
  readonly plain: Cache;
  readonly #heed: Heed;
  readonly #form: RotaryForm;
  readonly #next = uniform(7);
  readonly #dims;

  constructor(
    heed: Heed,
    options: KvCacheOptions & { rotary: RotaryForm },
    caches?: Pick<Twins, "rotating" | "plain">,
  ) {
    const { numKvHeads, headDim, batch = 1, valueDim = headDim } = options;
    this.#heed = heed;
    this.#form = options.rotary;
    this.#dims = { numKvHeads, headDim, valueDim, batch };
    this.rotating = caches?.rotating ?? heed.createKvCache(options);
    this.plain = caches?.plain ?? heed.createKvCache({ ...options, rotary: undefined });
  }

  /** Rows [batch, length, heads, headDim] in `layout`, turned by positions from `starts` on. */
  #rotated(x: Float32Array, heads: number, layout: "blhd" | "bhld", starts: Int32Array): Float32Array {
    const { batch, headDim } = this.#dims;
    const length = x.length / (batch * heads * headDim);
    const positions = Int32Array.from(
      { length: batch * length },
      (_, n) => starts[Math.floor(n / length)]! + (n % length),
    );
    // Rows that a table does not reach are not used.
    const last = this.#form.cos
      ? ((this.#form.cos as Float32Array).length * 2) / (this.#form.rotaryDim ?? headDim) - 1
      : Infinity;
    positions.forEach((position, n) => (positions[n] = Math.min(position, last)));
    return this.#heed.rotary(x, { ...this.#form, numHeads: heads, headDim, batch, layout, positions }).out;
  }

  append(tokens: number, layout: "blhd" | "bhld" = "blhd", lengths?: Int32Array, asTensor = false): void {
    const { numKvHeads, headDim, valueDim, batch } = this.#dims;
    const k = floats(batch * tokens * numKvHeads * headDim, this.#next);
    const v = floats(batch * tokens * numKvHeads * valueDim, this.#next);
    const before = k.slice();
    this.plain.append(this.#rotated(k, numKvHeads, layout, this.plain.lengths), v, { layout, lengths });
    if (asTensor) {
      using x = this.#heed.tensor(k.length);
      x.data.set(k);
      this.rotating.append(x, v, { layout, lengths });
      expect(x.data).toEqual(before);
    } else {
      this.rotating.append(k, v, { layout, lengths });
      expect(k).toEqual(before);
    }
  }

  expectSame(seqLenQ = 1, layout: "blhd" | "bhld" = "blhd", queryOffset?: number | Int32Array): void {
    const { numKvHeads, headDim, batch } = this.#dims;
    const numHeads = 2 * numKvHeads;
    const q = floats(batch * seqLenQ * numHeads * headDim, this.#next);
    const before = q.slice();
    const { lengths } = this.plain;
    const starts = lengths.map((length, b) =>
      typeof queryOffset === "number" ? queryOffset : (queryOffset?.[b] ?? length - seqLenQ),
    );
    const options = { numHeads, causal: true, lse: true, layout, queryOffset } as const;
    const turned = this.#rotated(q, numHeads, layout, starts);
    const expected = this.plain.attention(turned, options);
    expect(this.rotating.attention(q, options)).toEqual(expected);
    const of = { ...options, lse: undefined, rows: Int32Array.of(0, seqLenQ - 1) };
    const weights = this.plain.attentionWeights(turned, of);
    expect(this.rotating.attentionWeights(q, of)).toEqual(weights);
    expect(q).toEqual(before);
    using x = this.#heed.tensor(q.length);
    x.data.set(q);
    expect(this.rotating.attention(x, options)).toEqual(expected);
    expect(this.rotating.attentionWeights(x, of)).toEqual(weights);
    expect(x.data).toEqual(before);
  }

  /** The same step of both. */
  both(step: (cache: Cache) => void): void {
    step(this.rotating);
    step(this.plain);
  }

  fork(): Twins {
    const caches = { rotating: this.rotating.fork(), plain: this.plain.fork() };
    return new Twins(this.#heed, { ...this.#dims, capacity: 0, rotary: this.#form }, caches);
  }
}

forEachBuild((name, open) => {
  describe("is heed.rotary before a plain cache, bit for bit", () => {
    const heed = open();
    const dims = { numKvHeads: 2, headDim: HEAD_DIM, valueDim: 9, capacity: CAPACITY, batch: 2 };

    describe.each(forms)("%s", (_, rotary) => {
      it.each(["f32", "f16", "int8"] as const)("%s, prompts, tokens, ragged batches, both layouts", (dtype) => {
        const twins = new Twins(heed, { ...dims, dtype, rotary });
        twins.append(300, "blhd", ints(300, 131));
        twins.expectSame(5);
        twins.append(1);
        twins.expectSame();
        twins.append(140, "bhld", ints(140, 17), true);
        twins.expectSame(17, "bhld");
        twins.append(3, "blhd", undefined, true);
        twins.expectSame(3, "blhd", ints(100, 140));
        twins.append(2, "bhld");
        twins.both((cache) => cache.dispose());
      });
    });

    it("after truncate, reorder, fork and reset, at positions that go on from there", () => {
      const twins = new Twins(heed, { ...dims, rotary: { interleaved: true } });
      twins.append(200, "blhd", ints(200, 130));
      twins.both((cache) => cache.truncate(ints(127, 128)));
      twins.append(4);
      twins.expectSame(4);
      twins.both((cache) => cache.reorder(ints(1, 1)));
      const fork = twins.fork();
      expect(fork.rotating.rotary).toEqual({ interleaved: true });
      twins.append(2, "blhd", ints(2, 1));
      twins.expectSame();
      fork.append(129);
      fork.expectSame(2);
      twins.both((cache) => cache.reset());
      twins.append(7);
      twins.expectSame(7);
    });

    it("in a window, at absolute positions", () => {
      const twins = new Twins(heed, { ...dims, capacity: 10_000, window: 50, rotary: {} });
      for (let n = 0; n < 20; n++) {
        twins.append(70, "blhd", ints(70, n % 71));
        twins.expectSame(3);
      }
    });

    it("of queries before the first key and far behind the last one", () => {
      const twins = new Twins(heed, { ...dims, rotary: {} });
      twins.append(10, "blhd", ints(10, 1));
      twins.expectSame(5); // of the second sequence at −4 … 0
      twins.expectSame(3, "blhd", -200);
      twins.expectSame(300, "blhd", ints(2 ** 30, -(2 ** 30)));
    });

    it("over more positions than there are angles in memory", () => {
      const rotary = { base: 100 };
      const twins = new Twins(heed, { numKvHeads: 1, headDim: 2, capacity: 20_000, rotary });
      twins.append(8000);
      twins.append(600);
      twins.expectSame(3);
      twins.append(8500);
      twins.expectSame(2);
      twins.expectSame(200, "blhd", 8100);
    });

    it("after any sequence of appends and truncations", () => {
      const next = uniform(3);
      for (let round = 0; round < (name === "debug" ? 3 : 9); round++) {
        const [, rotary] = forms[round % forms.length]!;
        const twins = new Twins(heed, { ...dims, rotary, dtype: (["f32", "f16", "int8"] as const)[round % 3]! });
        while (twins.plain.length < 500) {
          const tokens = integer(1, 160, next);
          const layout = next() < 0.5 ? "blhd" : "bhld";
          twins.append(tokens, layout, ints(tokens, integer(0, tokens, next)), next() < 0.3);
          twins.expectSame(Math.min(...twins.plain.lengths, integer(1, 6, next)), layout);
          const lengths = twins.plain.lengths.map((length) => Math.max(0, length - integer(0, 60, next)));
          twins.both((cache) => cache.truncate(lengths));
        }
        twins.both((cache) => cache.dispose());
      }
    });

    it("with tables in Tensors", () => {
      const own = open();
      const { cos, sin } = tablesOf(CAPACITY, 10);
      using cosines = own.tensor(cos.length);
      using sines = own.tensor(sin.length);
      cosines.data.set(cos);
      sines.data.set(sin);
      const { used } = own.memory;
      for (const rotary of [
        { cos: cosines, sin: sines },
        { cos: cosines, sin },
      ]) {
        const twins = new Twins(own, { ...dims, rotary });
        twins.append(130);
        twins.expectSame(3);
        twins.both((cache) => cache.dispose());
        expect(own.memory.used).toBe(used);
      }
    });
  });

  it("is what a layer of its own rotary does, and stands in for it", () => {
    const heed = open();
    const weight = (outFeatures: number) => ({ weight: { data: rows(outFeatures * 24), shape: [outFeatures, 24] } });
    const weights = {
      q: weight(32),
      k: weight(16),
      v: weight(16),
      out: { weight: { data: rows(24 * 32), shape: [24, 32] } },
    };
    const rotary = { base: 500, rotaryDim: 4 };
    using turning = heed.createMultiHeadAttention({ numHeads: 4, numKvHeads: 2, headDim: 8, weights, rotary });
    using plain = heed.createMultiHeadAttention({ numHeads: 4, numKvHeads: 2, headDim: 8, weights });
    using itsCache = turning.createCache({ capacity: 300 });
    using cache = plain.createCache({ capacity: 300, rotary });
    for (const tokens of [140, 1, 3]) {
      const x = rows(tokens * 24);
      const options = { causal: true, weights: { rows: Int32Array.of(tokens - 1) } };
      expect(plain.forward(x, { ...options, cache })).toEqual(turning.forward(x, { ...options, cache: itsCache }));
    }
    expect(() => turning.forward(rows(24), { cache })).toThrow(
      new RangeError('"cache.rotary" expected nothing, since the layer rotates, got a value of type Object'),
    );
  });
});
