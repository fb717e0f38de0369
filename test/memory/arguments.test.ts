// The arrays that a call is given: of any realm, of shared memory, transferred or lying; outputs over what is read; and
// sizes that no data stand behind.
import { createContext, runInContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";

const ones = (length: number) => new Float32Array(length).fill(1);
const heads = { numHeads: 1, headDim: 4 };
const square = { weight: ones(16) };

forEachBuild((build, open) => {
  const heed = open();
  const cache = heed.createKvCache({ numKvHeads: 1, headDim: 4, capacity: 8 });

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
      const view = <T>(Kind: new (buffer: ArrayBufferLike, at: number, length: number) => T): T =>
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

  describe("what claims to be more than it is", () => {
    const lying = (length: number) => Object.defineProperty(ones(length), "length", { value: 2 ** 40 });

    it("tables of a layer with another length", () => {
      const weights = { q: square, k: square, v: square };
      const rotary = { cos: lying(4), sin: lying(4) };
      const { used } = heed.memory;
      const layer = heed.createMultiHeadAttention({ numHeads: 1, embedDim: 4, weights, rotary });
      expect(layer.forward(ones(8)).out.length).toBe(8);
      layer.dispose();
      expect(heed.memory.used).toBe(used);
    });

    it("a shape of a length without end", () => {
      const shape = new Proxy<number[]>([], { get: (_, key) => (key === "length" ? 2 ** 53 - 1 : 1) });
      const keepMask = { data: new Uint8Array(1), shape };
      expect(() => heed.attention(ones(4), ones(4), ones(4), { ...heads, keepMask })).toThrow(
        '"keepMask.shape" expected at most 4 dimensions',
      );
    });
  });

  describe("arrays that are Proxies", () => {
    const [q, k] = [ones(4), ones(8)];
    const part = { out: ones(4), lse: ones(1) };
    const calls = {
      rows: (rows: unknown) => heed.attentionWeights(q, k, { ...heads, rows: rows as number[] }).weights,
      heads: (chosen: unknown) => heed.attentionWeights(q, k, { ...heads, heads: chosen as number[] }).weights,
      parts: (parts: unknown) => heed.merge(parts as (typeof part)[], heads).out,
    };
    const elements = { rows: 0, heads: 0, parts: part };
    const names = Object.keys(calls) as (keyof typeof calls)[];
    /** An array of `length` elements, or what claims to have as many, and how often it was asked for any. */
    const claiming = (element: unknown, length: unknown) => {
      const asked = { elements: 0, lengths: 0 };
      const array = new Proxy([element], {
        get(_, key) {
          asked[key === "length" ? "lengths" : "elements"]++;
          return key === "length" ? length : element;
        },
      });
      return { array, asked };
    };

    it.each(names)("%s are read once, up to the length they said at first", (name) => {
      const { array, asked } = claiming(elements[name], 3);
      const expected = calls[name]([elements[name], elements[name], elements[name]]);
      expect(calls[name](array)).toEqual(expected);
      expect(asked).toEqual({ elements: 3, lengths: 1 });
    });

    // The kernels do not come into it, so one build does.
    it.each(build === "simd" ? names : [])("%s of a length without end are refused", (name) => {
      const { used } = heed.memory;
      const { array, asked } = claiming(elements[name], 2 ** 53 - 1);
      expect(() => calls[name](array)).toThrow(`"${name}.length" expected an integer from 0 to 1048576, got 1048577`);
      expect(asked).toEqual({ elements: 2 ** 20 + 1, lengths: 1 });
      expect(heed.memory.used).toBe(used);
    });

    it.each(names)("%s of a length that no array has are refused", (name) => {
      for (const length of [
        -1,
        0.5,
        NaN,
        Infinity,
        2 ** 53,
        "2",
        2n,
        null,
        undefined,
        Symbol("2"),
        { valueOf: () => 2 },
      ]) {
        const { array, asked } = claiming(elements[name], length);
        expect(() => calls[name](array)).toThrow(new RegExp(`^"${name}" expected an? .*, got `));
        expect(asked).toEqual({ elements: 0, lengths: 1 });
      }
    });

    it.each(names)("%s that lose elements while they are read lack those", (name) => {
      const array = [elements[name], elements[name], elements[name]] as unknown[];
      Object.defineProperty(array, 0, {
        get() {
          array.length = 1;
          return elements[name];
        },
        configurable: true,
      });
      array.length = 3;
      expect(() => calls[name](array)).toThrow(new RegExp(`^"${name}\\[1\\]" expected .*, got undefined`));
    });

    it.each(names)("%s that get more elements while they are read have those they had", (name) => {
      const array = [elements[name]] as unknown[];
      const first = elements[name];
      Object.defineProperty(array, 0, {
        get() {
          array.push(first);
          return first;
        },
      });
      expect(calls[name](array)).toEqual(calls[name]([first]));
    });
  });

  it("a result that the engine makes no array for is refused before anything is written", () => {
    const realm = globalThis as { Float32Array: typeof Float32Array };
    const Real = realm.Float32Array;
    const out = new Real(4).fill(7);
    const [q, k] = [ones(4), ones(4)];
    realm.Float32Array = new Proxy(Real, {
      construct(target, args: [number]) {
        if (args[0] === 1) throw new RangeError("Array buffer allocation failed");
        return new target(...args);
      },
    });
    const { used } = heed.memory;
    try {
      expect(() => heed.attention(q, k, k, { ...heads, out, lse: true })).toThrow(/^"lse" expected memory for 1 /);
    } finally {
      realm.Float32Array = Real;
    }
    expect([...out]).toEqual([7, 7, 7, 7]);
    expect(heed.memory.used).toBe(used);
  });
});
