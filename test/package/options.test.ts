// The options of every public function: unknown ones are refused by name, and all are read once, before anything else.
import { describe, expect, it } from "vitest";
import { loadSync, relativePositionBias, rotaryFrequencies } from "heed";
import type { AttentionOptions } from "../../bindings/api.ts";
import { nearestName } from "../../bindings/options.ts";
import { forEachBuild } from "../support/builds.ts";

const ones = (length: number) => new Float32Array(length).fill(1);
const heads = { numHeads: 1, headDim: 4 };
const square = { weight: ones(16) };
const layerOptions = { numHeads: 1, embedDim: 4, weights: { q: square, k: square, v: square, out: square } };
const cacheOptions = { numKvHeads: 1, headDim: 4, capacity: 8 };

forEachBuild((_, open) => {
  const heed = open();
  const cache = heed.createKvCache(cacheOptions);
  cache.append(ones(8), ones(8));
  const layer = heed.createMultiHeadAttention(layerOptions);

  /** Every public function with options, called with some. */
  const calls: Record<string, (options: never) => unknown> = {
    attention: (options) => heed.attention(ones(8), ones(8), ones(8), options),
    attentionWeights: (options) => heed.attentionWeights(ones(8), ones(8), options),
    merge: (options) => heed.merge([{ out: ones(4), lse: ones(1) }], options),
    rotary: (options) => heed.rotary(ones(8), options),
    rotaryFrequencies: (options) => rotaryFrequencies({}, options),
    relativePositionBias: (options) => relativePositionBias({ data: ones(8), shape: [8, 1] }, options),
    linear: (options) => heed.linear(ones(4), ones(16), undefined, options),
    packLinear: (options) => {
      heed.packLinear(ones(16), undefined, options).dispose();
    },
    createKvCache: (options) => {
      heed.createKvCache(options).dispose();
    },
    append: (options) => {
      cache.append(ones(4), ones(4), options);
    },
    "attention over a cache": (options) => cache.attention(ones(4), options),
    "attentionWeights over a cache": (options) => cache.attentionWeights(ones(4), options),
    createMultiHeadAttention: (options) => {
      heed.createMultiHeadAttention(options).dispose();
    },
    forward: (options) => layer.forward(ones(8), options),
    createCache: (options) => {
      layer.createCache(options).dispose();
    },
    weights: (options) => {
      layer.setWeights(options);
    },
    loadSync: (options) => {
      loadSync(options).dispose();
    },
  };
  const right: Record<string, object> = {
    attention: heads,
    attentionWeights: heads,
    merge: heads,
    rotary: heads,
    rotaryFrequencies: { headDim: 4 },
    relativePositionBias: { seqLenQ: 2 },
    linear: { inFeatures: 4 },
    packLinear: { inFeatures: 4 },
    createKvCache: cacheOptions,
    append: {},
    "attention over a cache": { numHeads: 1 },
    "attentionWeights over a cache": { numHeads: 1 },
    createMultiHeadAttention: layerOptions,
    forward: {},
    createCache: { capacity: 8 },
    weights: layerOptions.weights,
    loadSync: { variant: "simd" },
  };
  const names = Object.keys(calls);
  const call = (name: string, more: object = {}) => calls[name]!({ ...right[name], ...more } as never);

  describe("every function", () => {
    it.each(names)("%s refuses an option that it does not know, with nothing done", (name) => {
      const { used } = heed.memory;
      const { lengths } = cache;
      for (const unknown of ["isCausal", "zzzzzz", "__proto__x", "constructor", "toString", "out_"]) {
        expect(() => call(name, { [unknown]: undefined })).toThrow(TypeError);
        expect(() => call(name, { [unknown]: 1 })).toThrow(`"${unknown}" is no option of ${name}`);
      }
      const ownProto = JSON.parse('{ "__proto__": 1 }') as object;
      const options = Object.defineProperties({ ...right[name] }, Object.getOwnPropertyDescriptors(ownProto));
      expect(() => calls[name]!(options as never)).toThrow(`"__proto__" is no option of ${name}`);
      expect(heed.memory.used).toBe(used);
      expect(cache.lengths).toEqual(lengths);
    });

    it.each(names)("%s ignores what stands on Object.prototype, or is not enumerable", (name) => {
      const prototype = Object.prototype as Record<string, unknown>;
      for (const option of ["causal", "interleaved", "window", "lengths", "bias", "isCausal"]) {
        cache.truncate(2);
        prototype[option] = "nonsense";
        try {
          call(name);
        } finally {
          Reflect.deleteProperty(prototype, option);
        }
      }
      calls[name]!(Object.defineProperty({ ...right[name] }, "isCausal", { value: 1 }) as never);
      cache.truncate(2);
    });

    it.each(names)("%s reads each option once, before anything else", (name) => {
      const reads = new Map<PropertyKey, number>();
      const once = (object: object): object =>
        new Proxy(object, {
          get(target, key) {
            reads.set(key, (reads.get(key) ?? 0) + 1);
            return Reflect.get(target, key) as unknown;
          },
        });
      calls[name]!(once(right[name]!) as never);
      expect([...reads.values()].every((count) => count === 1)).toBe(true);
      expect([...reads.keys()].sort()).toEqual(Object.keys(right[name]!).sort());
      cache.truncate(2);
    });

    it.each(names)("%s lets an error of the caller's own getter through", (name) => {
      const { used } = heed.memory;
      const own = new Error("mine");
      const options = Object.defineProperty({ ...right[name] }, "batch", {
        enumerable: true,
        get() {
          throw own;
        },
      });
      expect(() => calls[name]!(options as never)).toThrow(own);
      expect(heed.memory.used).toBe(used);
    });

    it.each(names)("%s refuses options that are no object", (name) => {
      for (const options of [null, 1, "causal", true, Symbol("x")]) {
        expect(() => calls[name]!(options as never)).toThrow(/^"(options|weights)" expected an object, got /);
      }
    });
  });

  describe("options within options", () => {
    it.each([
      ["attention", "window", { window: { size: 1 } }, "size"],
      ["createKvCache", "rotary", { rotary: { rope_scaling: 1 } }, "rope_scaling"],
      ["createKvCache", "dtype", { dtype: { k: "f32", v: "f32", q: "f32" } }, "q"],
      ["createMultiHeadAttention", "rotary", { rotary: { interleave: true } }, "interleave"],
      ["createMultiHeadAttention", "kvDim", { kvDim: { k: 4, v: 4, q: 4 } }, "q"],
      ["createMultiHeadAttention", "q", { weights: { ...layerOptions.weights, q: { wieght: ones(16) } } }, "wieght"],
      ["createMultiHeadAttention", "weights", { weights: { ...layerOptions.weights, o: square } }, "o"],
      ["forward", "weights", { weights: { topk: 1 } }, "topk"],
      ["forward", "context", { context: { k: ones(4), v: ones(4), q: 1 } }, "q"],
    ])("%s: %s", (name, inner, options, unknown) => {
      expect(() => call(name, options)).toThrow(`"${unknown}" is no option of ${inner}`);
    });
  });

  describe("code that runs inside a call", () => {
    const truncating = (value: unknown, what: object = {}) =>
      Object.defineProperty({ ...what }, "data", {
        enumerable: true,
        get() {
          cache.truncate(0);
          return value;
        },
      });

    it("changes the cache before the call begins, and not half-way", () => {
      const keepMask = truncating(new Uint8Array(2).fill(1), { shape: [2] }) as AttentionOptions["keepMask"];
      expect(() => cache.attention(ones(4), { numHeads: 1, keepMask })).toThrow('"keepMask.shape[0]" expected 1 or 0');
      expect(() => cache.attentionWeights(ones(4), { numHeads: 1, keepMask })).toThrow("keepMask.shape[0]");
      cache.append(ones(8), ones(8));
      expect(cache.attention(ones(4), { numHeads: 1 }).out).toEqual(ones(4));
    });

    it("disposes what the call would read", () => {
      const q = heed.tensor(4);
      const window = Object.defineProperty({}, "left", {
        enumerable: true,
        get() {
          q.dispose();
          return 1;
        },
      });
      expect(() => heed.attention(q, ones(4), ones(4), { ...heads, window })).toThrow(ReferenceError);
    });

    it("lies about the length of an array", () => {
      const long = Object.defineProperties(ones(4), { length: { value: 400 }, byteLength: { value: 1600 } });
      const species = Object.defineProperty(ones(4), "constructor", {
        get() {
          throw new Error("never");
        },
      });
      expect(heed.attention(long, species, long, heads).out).toEqual(ones(4));
    });
  });
});

describe("the name that was meant", () => {
  const known = [
    "numHeads",
    "numKvHeads",
    "headDim",
    "causal",
    "keepMask",
    "window",
    "interleaved",
    "dtype",
    "variant",
    "base",
    "frequencies",
    "attentionScale",
    "sections",
    "sectionsInterleaved",
  ];
  it.each([
    ["isCausal", "causal"],
    ["is_causal", "causal"],
    ["attn_mask", "keepMask"],
    ["mask", "keepMask"],
    ["slidingWindow", "window"],
    ["sliding_window", "window"],
    ["numKVHeads", "numKvHeads"],
    ["num_kv_heads", "numKvHeads"],
    ["num_key_value_heads", "numKvHeads"],
    ["num_heads", "numHeads"],
    ["interleave", "interleaved"],
    ["dtyp", "dtype"],
    ["varient", "variant"],
    ["head_dim", "headDim"],
    ["rope_theta", "base"],
    ["theta", "base"],
    ["inv_freq", "frequencies"],
    ["attention_factor", "attentionScale"],
    ["attention_scaling", "attentionScale"],
    ["mrope_section", "sections"],
    ["mrope_interleaved", "sectionsInterleaved"],
    ["dropout", undefined],
    ["x".repeat(1e6), undefined],
  ])("%s", (name, meant) => {
    expect(nearestName(name, known)).toBe(meant);
  });
});
