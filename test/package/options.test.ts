// The options of every public function: unknown ones are refused by name, and all are read once, before anything else.
import { createContext, runInContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { loadSync } from "heed";
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

  describe("arrays", () => {
    it("of another realm are as good as those of this one", () => {
      const foreign = runInContext("(length) => new Float32Array(length).fill(1)", createContext()) as typeof ones;
      const ints = runInContext("Int32Array.of(0)", createContext()) as Int32Array;
      const mask = runInContext("Uint8Array.of(1)", createContext()) as Uint8Array;
      const out = foreign(4);
      const options = { ...heads, out, kvLengths: ints, queryOffset: ints, keepMask: { data: mask, shape: [1] } };
      expect(heed.attention(foreign(4), foreign(4), foreign(4), options).out).toBe(out);
      expect([...out]).toEqual([0, 0, 0, 0]);
      expect([...heed.rotary(foreign(4), { ...heads, positions: ints }).out]).toEqual([1, 1, 1, 1]);
    });

    it("may share their memory", () => {
      const shared = new Float32Array(new SharedArrayBuffer(16)).fill(1);
      expect(heed.attention(shared, shared, shared, { ...heads, out: shared }).out).toBe(shared);
      expect([...shared]).toEqual([1, 1, 1, 1]);
    });

    const lost = <T extends { buffer: ArrayBufferLike }>(array: T): T => {
      structuredClone(null, { transfer: [array.buffer as ArrayBuffer] });
      return array;
    };

    it.each<[string, () => unknown]>([
      ["q", () => heed.attention(lost(ones(4)), ones(4), ones(4), heads)],
      ["k", () => heed.attention(ones(4), lost(ones(4)), ones(4), heads)],
      ["v", () => heed.attention(ones(4), ones(4), lost(ones(4)), heads)],
      ["out", () => heed.attention(ones(4), ones(4), ones(4), { ...heads, out: lost(ones(4)) })],
      ["lse", () => heed.attention(ones(4), ones(4), ones(4), { ...heads, lse: lost(ones(1)) })],
      ["sinks", () => heed.attention(ones(4), ones(4), ones(4), { ...heads, sinks: lost(ones(1)) })],
      ["kvLengths", () => heed.attention(ones(4), ones(4), ones(4), { ...heads, kvLengths: lost(Int32Array.of(1)) })],
      ["rows", () => heed.attentionWeights(ones(4), ones(4), { ...heads, rows: lost(Int32Array.of(0)) })],
      ["entropy", () => heed.attentionWeights(ones(4), ones(4), { ...heads, entropy: lost(ones(1)) })],
      [
        "indices",
        () => heed.attentionWeights(ones(4), ones(4), { ...heads, topK: 1, indices: lost(Int32Array.of(0)) }),
      ],
      ["k", () => { cache.append(lost(ones(0)), ones(0)); }], // prettier-ignore
      ["positions", () => heed.rotary(ones(4), { ...heads, positions: lost(Int32Array.of(0)) })],
      ["x", () => heed.linear(lost(ones(4)), ones(16), undefined, { inFeatures: 4 })],
      ["parts[0].out", () => heed.merge([{ out: lost(ones(4)), lse: ones(1) }], heads)],
    ])("whose buffer was transferred are refused by name: %s", (title, act) => {
      const { used } = heed.memory;
      expect(act).toThrow(TypeError);
      expect(act).toThrow(new RegExp(`^"${title.replaceAll(/[[\].]/g, "\\$&")}" expected .+, got one whose buffer`));
      expect(heed.memory.used).toBe(used);
    });

    it("and Tensors are no Proxies of ones", () => {
      const q = heed.tensor(4);
      const proxy = new Proxy(q, {});
      expect(() => heed.attention(proxy, ones(4), ones(4), heads)).toThrow('"q" expected a Float32Array or a Tensor');
      const array = new Proxy(ones(4), {});
      expect(() => heed.attention(array, ones(4), ones(4), heads)).toThrow('"q" expected a Float32Array or a Tensor');
      const inheriting = Object.create(q) as typeof q;
      expect(() => heed.attention(inheriting, ones(4), ones(4), heads)).toThrow(TypeError);
      q.dispose();
    });

    it("of integers in linear memory are read before memory grows", () => {
      const place = heed.tensor(2);
      const lengths = new Int32Array(place.data.buffer, place.data.byteOffset, 1);
      lengths[0] = 1;
      const many = ones(4 * 2 ** 20);
      expect(heed.attention(ones(4), many, many, { ...heads, kvLengths: lengths }).out).toEqual(ones(4));
      place.dispose();
    });
  });

  describe("an output apart from what is read", () => {
    it.each(["sinks", "alibiSlopes", "bias", "keepMask", "queryOffset", "kvLengths"])("%s", (name) => {
      const out = heed.tensor(4);
      const view = <T>(Kind: new (buffer: ArrayBuffer, at: number, length: number) => T): T =>
        new Kind(out.data.buffer, out.data.byteOffset, 1);
      const value = {
        sinks: view(Float32Array),
        alibiSlopes: view(Float32Array),
        bias: { data: view(Float32Array), shape: [1] },
        keepMask: { data: view(Uint8Array), shape: [1] },
        queryOffset: view(Int32Array),
        kvLengths: view(Int32Array),
      }[name];
      const act = () => heed.attention(ones(4), ones(4), ones(4), { ...heads, out, [name]: value });
      expect(act).toThrow(RangeError);
      expect(act).toThrow(`"out" expected memory apart from "${name}", got`);
      out.dispose();
    });

    it("indices over weights, and in linear memory", () => {
      const buffer = new ArrayBuffer(16);
      const [weights, indices] = [new Float32Array(buffer, 0, 2), new Int32Array(buffer, 4, 2)];
      const options = { ...heads, topK: 2, weights, indices };
      expect(() => heed.attentionWeights(ones(4), ones(8), options)).toThrow('"weights" expected memory apart from');
      const place = heed.tensor(2);
      const inside = new Int32Array(place.data.buffer, place.data.byteOffset, 2);
      expect(() => heed.attentionWeights(ones(4), ones(8), { ...heads, topK: 2, indices: inside })).toThrow(
        '"indices" expected an Int32Array outside the instance\'s memory',
      );
      place.dispose();
    });

    it("positions of rotary", () => {
      const x = heed.tensor(4);
      const positions = new Int32Array(x.data.buffer, x.data.byteOffset, 1);
      expect(() => heed.rotary(x, { ...heads, positions, out: x })).toThrow(
        '"out" expected memory apart from "positions"',
      );
      x.dispose();
    });
  });

  describe("work is as much as the data", () => {
    const empty = new Float32Array(0);
    const most = 2 ** 20;
    it.each<[string, () => unknown]>([
      [
        "a batch of 2^30 without rows",
        () => heed.attention(empty, empty, empty, { ...heads, batch: 2 ** 30 }).out.length,
      ],
      [
        "2^20 heads without rows",
        () => heed.attentionWeights(empty, empty, { numHeads: most, headDim: 1 }).weights.length,
      ],
      ["a head of 2^20 floats without rows", () => heed.rotary(empty, { numHeads: most, headDim: most }).out.length],
      ["parts without rows", () => heed.merge([{ out: empty, lse: empty }], { ...heads, batch: 2 ** 30 }).out.length],
    ])("%s", (_, act) => {
      expect(act()).toBe(0);
    });

    it.each<[string, string, () => unknown]>([
      ["headDim", "attention", () => heed.attention(empty, empty, empty, { numHeads: 1, headDim: most + 1 })],
      ["valueDim", "attention", () => heed.attention(empty, empty, empty, { ...heads, valueDim: most + 1 })],
      ["numHeads", "attention", () => heed.attention(empty, empty, empty, { numHeads: most + 1, headDim: 1 })],
      ["batch", "attention", () => heed.attention(empty, empty, empty, { ...heads, batch: 2 ** 31 })],
      ["headDim", "rotary", () => heed.rotary(empty, { numHeads: 1, headDim: 2 ** 27 })],
      ["parts[0]", "merge of holes", () => heed.merge(new Array(2 ** 32 - 1), heads)],
      ["keepMask.shape[0]", "shape of holes", () => heed.attention(empty, empty, empty, { ...heads, keepMask: { data: new Uint8Array(1), shape: new Array(4) } })], // prettier-ignore
    ])("%s is refused: %s", (title, _, act) => {
      expect(act).toThrow(new RegExp(`^"${title.replaceAll(/[[\].]/g, "\\$&")}" expected `));
    });

    it("packed sequences of one row each, and every row of a large batch", () => {
      const count = 20_000;
      const starts = Int32Array.from({ length: count + 1 }, (_, i) => i);
      const packed = { numHeads: 1, headDim: 1, cuSeqlensQ: starts, topK: 1 };
      expect(heed.attentionWeights(ones(count), ones(count), packed).weights).toEqual(ones(count));
      const batch = { numHeads: 1, headDim: 1, batch: count };
      expect(heed.attentionWeights(ones(count), ones(count), batch).weights).toEqual(ones(count));
      const many = { numHeads: 4096, headDim: 1 };
      expect(heed.attentionWeights(ones(4096), ones(4096), many).weights).toEqual(ones(4096));
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
    ["dropout", undefined],
    ["x".repeat(1e6), undefined],
  ])("%s", (name, meant) => {
    expect(nearestName(name, known)).toBe(meant);
  });
});
