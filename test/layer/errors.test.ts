// What the layer refuses, that nothing comes of it, and that its memory comes back.
import { describe, expect, it } from "vitest";
import type { MultiHeadAttentionOptions } from "../../bindings/layer/options.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Dims, projectionsOf } from "../support/layer.ts";
import { floats, uniform } from "../support/random.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";

const dims: Dims = {
  embedDim: 12,
  numHeads: 4,
  numKvHeads: 2,
  headDim: 6,
  valueDim: 5,
  kvDim: { k: 12, v: 12 },
  outDim: 9,
};
const weights = projectionsOf(dims, uniform(1));
const f32 = (length: number) => new Float32Array(length);
const without = projectionsOf(dims, uniform(1), false);

type Wrong = [name: string, named: string, kind: Refusal, options: object];

const wrongLayers: Wrong[] = [
  ["no numHeads", "numHeads", TypeError, { numHeads: undefined }],
  ["embedDim 0", "embedDim", RangeError, { embedDim: 0 }],
  ["neither embedDim nor weights", "embedDim", TypeError, { embedDim: undefined, weights: undefined }],
  [
    "embedDim that is no multiple of numHeads",
    "embedDim",
    RangeError,
    { embedDim: 13, headDim: undefined, weights: undefined },
  ],
  ["headDim a string", "headDim", TypeError, { headDim: "6" }],
  ["numKvHeads that does not divide", "numKvHeads", RangeError, { numKvHeads: 3 }],
  ["valueDim 0.5", "valueDim", RangeError, { valueDim: 0.5 }],
  ["kvDim a string", "kvDim", TypeError, { kvDim: "12" }],
  ["kvDim of k alone", "kvDim.v", TypeError, { kvDim: { k: 12 } }],
  ["outDim -1", "outDim", RangeError, { outDim: -1 }],
  ["bias a number", "bias", TypeError, { bias: 1 }],
  ["bias where there is none", "weights.q.bias", TypeError, { bias: true, weights: without }],
  ["no bias where there is one", "weights.q.bias", TypeError, { bias: false }],
  ["rotary a number", "rotary", TypeError, { rotary: 10000 }],
  ["rotary null", "rotary", TypeError, { rotary: null }],
  ["rotaryDim above headDim", "rotaryDim", RangeError, { rotary: { rotaryDim: 8 } }],
  ["rotary base 0", "base", RangeError, { rotary: { base: 0 } }],
  ["rotary cos alone", "sin", TypeError, { rotary: { cos: f32(6) } }],
  ["scale NaN", "scale", RangeError, { scale: NaN }],
  ["softcap 0", "softcap", RangeError, { softcap: 0 }],
  ["sinks of the KV heads", "sinks", RangeError, { sinks: f32(2) }],
  ["alibiSlopes of the KV heads", "alibiSlopes", RangeError, { alibiSlopes: f32(2) }],
  ["causal a number", "causal", TypeError, { causal: 1 }],
  ["reproducible a number", "reproducible", TypeError, { reproducible: 1 }],
  ["window a number", "window", TypeError, { window: 3 }],
  ["weights an array", "weights.q", TypeError, { weights: [] }],
  ["weights a number", "weights", TypeError, { weights: 4 }],
  ["weights without v", "weights.v", TypeError, { weights: { q: weights.q, k: weights.k } }],
  ["weights.k of v", "weights.k.weight.shape[0]", RangeError, { weights: { ...weights, k: weights.v } }],
  ["weights.out of q", "weights.out.weight.shape[0]", RangeError, { weights: { ...weights, out: weights.q } }],
  ["bare weights too short", "weights.q.weight", RangeError, { weights: { ...weights, q: { weight: f32(3) } } }],
  [
    "a bias of another length",
    "weights.v.bias",
    RangeError,
    { weights: { ...weights, v: { ...weights.v, bias: f32(3) } } },
  ],
  [
    "transposed weights",
    "weights.q.weight.shape[0]",
    RangeError,
    { weights: { ...weights, q: { ...weights.q, transposed: true } } },
  ],
];

forEachBuild((_, open) => {
  const heed = open();

  describe("a layer", () => {
    it.each(wrongLayers)("%s", (_, named, kind, wrong) => {
      const { used } = heed.memory;
      const options = { ...dims, weights, ...wrong } as MultiHeadAttentionOptions;
      expectRefusal(kind, named, () => heed.createMultiHeadAttention(options));
      expect(heed.memory.used).toBe(used);
    });

    it("options that are no object", () => {
      expectRefusal(TypeError, "options", () =>
        heed.createMultiHeadAttention(4 as unknown as MultiHeadAttentionOptions),
      );
    });

    it("without weights", () => {
      const layer = heed.createMultiHeadAttention(dims);
      expectRefusal(TypeError, "weights", () => layer.forward(f32(12)));
      layer.setWeights(weights);
      expect(layer.forward(f32(12)).out).toHaveLength(9);
      layer.dispose();
    });
  });

  describe("a call", () => {
    const layer = heed.createMultiHeadAttention({ ...dims, weights });
    const turning = heed.createMultiHeadAttention({ ...dims, weights, rotary: { cos: f32(30), sin: f32(30) } });
    const other = heed.createMultiHeadAttention({ ...dims, numKvHeads: 4 });
    const apart = heed.createMultiHeadAttention({
      ...dims,
      kvDim: { k: 3, v: 4 },
      weights: projectionsOf({ ...dims, kvDim: { k: 3, v: 4 } }, uniform(2)),
    });
    const cache = layer.createCache({ capacity: 8 });
    cache.append(f32(5 * 12), f32(5 * 10));
    const pair = layer.createCache({ capacity: 8, batch: 2 });
    const gone = layer.createCache({ capacity: 8 });
    gone.dispose();
    const x = floats(4 * 12, uniform(3));
    const good = layer.forward(x, { lse: true });
    const mask = (length: number, ...shape: number[]) => ({ data: new Uint8Array(length), shape });

    const wrongCalls: Wrong[] = [
      ["numHeads", "numHeads", RangeError, { numHeads: 4 }],
      ["layout", "layout", RangeError, { layout: "blhd" }],
      ["batch that does not divide", "x", RangeError, { batch: 3 }],
      ["batch 0", "batch", RangeError, { batch: 0 }],
      ["context a number", "context", TypeError, { context: 4 }],
      ["context that does not divide", "context", RangeError, { context: f32(13) }],
      ["context.v of other rows", "context.v", RangeError, { context: { k: f32(24), v: f32(12) } }],
      ["context.v missing", "context.v", TypeError, { context: { k: f32(24) } }],
      ["cache an object", "cache", TypeError, { cache: {} }],
      ["a cache of another batch", "x", RangeError, { cache: pair, batch: undefined, x: f32(36) }],
      ["batch beside the cache", "batch", RangeError, { cache, batch: 2 }],
      ["a cache of other heads", "cache.numKvHeads", RangeError, { cache: other.createCache({ capacity: 1 }) }],
      [
        "a cache of another instance",
        "cache",
        TypeError,
        { cache: open().createKvCache({ numKvHeads: 2, headDim: 6, valueDim: 5, capacity: 1 }) },
      ],
      ["a disposed cache", "cache", ReferenceError, { cache: gone }],
      ["more than the cache takes", "x", RangeError, { cache }],
      ["a context that is more than the cache takes", "context", RangeError, { cache, context: f32(48) }],
      ["kvLengths beside a cache", "kvLengths", TypeError, { cache, kvLengths: Int32Array.of(4) }],
      ["cuSeqlensQ beside a cache", "cuSeqlensQ", TypeError, { cache, cuSeqlensQ: Int32Array.of(0, 4) }],
      ["append a number", "append", TypeError, { cache, append: 0 }],
      ["append: false without a cache", "cache", TypeError, { append: false }],
      ["append: false beside a context", "context", TypeError, { cache, append: false, context: x }],
      ["lengths without a cache", "lengths", TypeError, { lengths: Int32Array.of(1) }],
      ["lengths above the rows", "lengths[0]", RangeError, { cache, lengths: Int32Array.of(5) }],
      ["positions without rotary", "positions", TypeError, { positions: 4 }],
      ["contextPositions without rotary", "contextPositions", TypeError, { contextPositions: 4 }],
      ["dropMask bytes alone", "dropMask.data", TypeError, { dropMask: new Uint8Array(4) }],
      ["dropMask booleans", "dropMask.data", TypeError, { dropMask: { data: [true], shape: [1] } }],
      ["dropMask that does not broadcast", "dropMask.shape[0]", RangeError, { dropMask: mask(5, 5) }],
      ["keepMask that does not broadcast", "keepMask.shape[0]", RangeError, { keepMask: mask(5, 5) }],
      [
        "keepMask that does not broadcast, beside a dropMask",
        "keepMask.shape[0]",
        RangeError,
        { keepMask: mask(5, 5), dropMask: mask(4, 4) },
      ],
      [
        "a mask of the cache's old length",
        "keepMask.shape[0]",
        RangeError,
        { cache, x: f32(12), keepMask: mask(5, 5) },
      ],
      ["a bias of the wrong length", "bias.data", RangeError, { bias: { data: f32(3), shape: [4] } }],
      [
        "a bias of the wrong length, with a cache",
        "bias.data",
        RangeError,
        { cache, x: f32(12), bias: { data: f32(3), shape: [6] } },
      ],
      ["scale Infinity", "scale", RangeError, { scale: Infinity }],
      ["softcap a string, with a cache", "softcap", TypeError, { cache, x: f32(12), softcap: "1" }],
      ["queryOffset 0.5", "queryOffset", RangeError, { queryOffset: 0.5 }],
      ["out too short", "out", RangeError, { out: f32(35) }],
      ["out true", "out", TypeError, { out: true }],
      ["lse too long", "lse", RangeError, { lse: f32(17) }],
      ["lse too long, with a cache", "lse", RangeError, { cache, x: f32(12), lse: f32(17) }],
    ];
    it.each(wrongCalls)("%s", (_, named, kind, { x: given = x, ...wrong }: { x?: Float32Array }) => {
      const { used } = heed.memory;
      const out = f32(36).fill(7);
      const options = { out, ...wrong } as object;
      if (given !== x && !("out" in wrong)) delete (options as { out?: unknown }).out;
      expectRefusal(kind, named, () => layer.forward(given, options));
      expect(out).toEqual(f32(36).fill(7));
      expect(cache.length).toBe(5);
      expect(heed.memory.used).toBe(used);
      expect(layer.forward(x, { lse: true })).toEqual(good);
    });

    it("x of the wrong kind, options of the wrong kind", () => {
      expectRefusal(TypeError, "x", () => layer.forward([1] as unknown as Float32Array));
      expectRefusal(TypeError, "options", () => layer.forward(x, 4 as unknown as object));
      expectRefusal(TypeError, "options", () => layer.forward(x, null as unknown as object));
    });

    it("no context where k and v are not as wide as x, or not as wide as each other", () => {
      expectRefusal(TypeError, "context", () => apart.forward(x));
      expectRefusal(TypeError, "context", () => apart.forward(x, { context: f32(12) }));
      expect(apart.forward(x, { context: { k: f32(6), v: f32(8) } }).out).toHaveLength(36);
    });

    it("positions outside the tables, and contextPositions without a context", () => {
      expectRefusal(RangeError, "positions", () => turning.forward(x, { positions: 7 }));
      expectRefusal(RangeError, "positions[1]", () => turning.forward(x, { positions: Int32Array.of(0, 10, 0, 0) }));
      expectRefusal(TypeError, "contextPositions", () => turning.forward(x, { contextPositions: 7 }));
      expect(turning.forward(x, { positions: 6 }).out).toHaveLength(36);
    });

    it("out over lse", () => {
      const square = heed.createMultiHeadAttention({
        embedDim: 4,
        numHeads: 4,
        weights: projectionsOf(
          { ...dims, embedDim: 4, numKvHeads: 4, headDim: 1, valueDim: 1, kvDim: { k: 4, v: 4 }, outDim: 4 },
          uniform(4),
        ),
      });
      const both = heed.tensor(8);
      expectRefusal(RangeError, "out", () => square.forward(f32(8), { out: both, lse: both }));
      both.dispose();
      square.dispose();
    });
  });

  describe("memory", () => {
    it("that cannot grow leaves the cache as it was and the instance at work", () => {
      const own = open(24 * 65536);
      const layer = own.createMultiHeadAttention({ ...dims, weights });
      const cache = layer.createCache({ capacity: 1e6 });
      layer.forward(f32(12 * 20), { cache, causal: true });
      const { used } = own.memory;
      let refused = 0;
      for (let rows = 100; rows < 12_000; rows += 500) {
        const { lengths } = cache;
        const before = cache.bytes;
        try {
          layer.forward(f32(12 * rows), { cache, causal: true });
          cache.truncate(20);
        } catch (error) {
          refused++;
          expect(error).toBeInstanceOf(RangeError);
          expect(cache.lengths).toEqual(lengths);
          expect(cache.bytes).toBe(before);
        }
        expect(own.memory.used).toBe(used);
      }
      expect(refused).toBeGreaterThan(2);
      expect(layer.forward(f32(12), { cache }).out).toHaveLength(9);
    });

    it("of a layer is that of its weights, and comes back", () => {
      const own = open();
      const before = own.memory.used;
      const layer = own.createMultiHeadAttention({ ...dims, weights, rotary: { cos: f32(30), sin: f32(30) } });
      // Panels of 16 features, biases, tables.
      const panels = 12 * 32 + 12 * 16 + 12 * 16 + 20 * 16;
      expect(layer.bytes).toBe(4 * (panels + 24 + 12 + 10 + 9 + 60));
      layer.dispose();
      layer.dispose();
      expect(own.memory.used).toBe(before);
      expectRefusal(ReferenceError, "layer", () => layer.forward(f32(12)));
      expectRefusal(ReferenceError, "layer", () => layer.bytes);
      expectRefusal(ReferenceError, "layer", () => layer.createCache({ capacity: 1 }));
      expectRefusal(ReferenceError, "layer", () => layer.setWeights(weights));
    });

    it("of a disposed instance is gone", () => {
      const own = open();
      const layer = own.createMultiHeadAttention({ ...dims, weights });
      own.dispose();
      expectRefusal(ReferenceError, "heed", () => layer.forward(f32(12)));
      expectRefusal(ReferenceError, "heed", () => own.createMultiHeadAttention(dims));
      layer.dispose();
    });
  });
});
