import { describe, expect, it } from "vitest";
import { forEachBuild } from "../support/builds.ts";
import { problemOf } from "../support/problems.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";

// The problem below: batch 2, 4 heads on 2 KV heads, 13 queries, 29 keys, headDim 24, valueDim 10.
const SIZES = { numKvHeads: 2, valueDim: 10 };
const OUT_LENGTH = 2 * 13 * 4 * 10;
const LSE_LENGTH = 2 * 4 * 13;

const floats = (length: number) => new Float32Array(length);
const ints = (...numbers: number[]) => Int32Array.from(numbers);
const mask = (length: number, shape: unknown) => ({ data: new Uint8Array(length), shape });
const bias = (length: number, shape: unknown) => ({ data: floats(length), shape });
const f64 = (length: number) => new Float64Array(length);

/** Options that are wrong, and the argument that the message must name. */
type Wrong = [name: string, options: Record<string, unknown>, named?: string];

const wrongKinds: Wrong[] = [
  ["numHeads missing", { numHeads: undefined }],
  ["numHeads a string", { numHeads: "4" }],
  ["headDim missing", { headDim: undefined }],
  ["headDim null", { headDim: null }],
  ["numKvHeads a string", { numKvHeads: "2" }],
  ["valueDim a bigint", { valueDim: 10n }],
  ["batch a boolean", { batch: true }],
  ["layout a number", { layout: 1 }],
  ["scale a string", { scale: "0.5" }],
  ["scale null", { scale: null }],
  ["causal a number", { causal: 1 }],
  ["reproducible a number", { reproducible: 1 }],
  ["queryOffset an array", { queryOffset: [1, 2] }],
  ["queryOffset floats", { queryOffset: floats(2) }],
  ["queryOffset null", { queryOffset: null }],
  ["window a number", { window: 4 }],
  ["window null", { window: null }],
  ["window.left a string", { window: { left: "2" } }, "window.left"],
  ["window.right null", { window: { right: null } }, "window.right"],
  ["kvLengths an array", { kvLengths: [29, 29] }],
  ["kvLengths a Uint32Array", { kvLengths: Uint32Array.of(29, 29) }],
  ["keepMask bytes alone", { keepMask: new Uint8Array(29) }, "keepMask.data"],
  ["keepMask null", { keepMask: null }],
  ["keepMask.data booleans", { keepMask: { data: [true], shape: [1] } }],
  ["keepMask.data clamped bytes", { keepMask: { data: new Uint8ClampedArray(1), shape: [1] } }],
  ["keepMask.shape missing", { keepMask: { data: new Uint8Array(29) } }],
  ["keepMask.shape of strings", { keepMask: mask(29, ["29"]) }, "keepMask.shape[0]"],
  ["bias floats alone", { bias: floats(29) }, "bias.data"],
  ["bias.data doubles", { bias: { data: f64(29), shape: [29] } }],
  ["bias.shape a number", { bias: bias(29, 29) }],
  ["alibiSlopes an array", { alibiSlopes: [1, 1, 1, 1] }],
  ["alibiSlopes doubles", { alibiSlopes: f64(4) }],
  ["softcap a string", { softcap: "5" }],
  ["softcap a boolean", { softcap: false }],
  ["sinks an array", { sinks: [0, 0, 0, 0] }],
  ["sinks a number", { sinks: 1 }],
  ["cuSeqlensQ an array", { batch: 1, cuSeqlensQ: [0, 26], cuSeqlensKv: ints(0, 58) }],
  ["cuSeqlensKv an array", { batch: 1, cuSeqlensQ: ints(0, 26), cuSeqlensKv: [0, 58] }],
  ["cuSeqlensKv alone", { batch: 1, cuSeqlensKv: ints(0, 58) }, "cuSeqlensQ"],
  ["out an array", { out: [] }],
  ["out doubles", { out: f64(OUT_LENGTH) }],
  ["out true", { out: true }],
  ["out false", { out: false }],
  ["lse a number", { lse: 1 }],
  ["lse doubles", { lse: f64(104) }],
  ["lse null", { lse: null }],
];

const wrongValues: Wrong[] = [
  ["numHeads 0", { numHeads: 0 }],
  ["numHeads 1.5", { numHeads: 1.5 }],
  ["numHeads NaN", { numHeads: NaN }],
  ["headDim 0", { headDim: 0 }],
  ["headDim -24", { headDim: -24 }],
  ["headDim Infinity", { headDim: Infinity }],
  ["headDim that does not divide q", { headDim: 25 }, "q"],
  ["numKvHeads 0", { numKvHeads: 0 }],
  ["numKvHeads that does not divide numHeads", { numKvHeads: 3 }],
  ["numKvHeads above numHeads", { numKvHeads: 8 }],
  ["valueDim 0", { valueDim: 0 }],
  ["valueDim that does not fit v", { valueDim: 11 }, "v"],
  ["batch 0", { batch: 0 }],
  ["batch that does not divide q", { batch: 4 }, "q"],
  ["layout unknown", { layout: "lbhd" }],
  ["scale NaN", { scale: NaN }],
  ["scale Infinity", { scale: Infinity }],
  ["scale beyond f32", { scale: 1e39 }],
  ["queryOffset 0.5", { queryOffset: 0.5 }],
  ["queryOffset NaN", { queryOffset: NaN }],
  ["queryOffset beyond 2³⁰", { queryOffset: 2 ** 31 }],
  ["queryOffset of one sequence", { queryOffset: ints(1) }],
  ["queryOffset with one beyond 2³⁰", { queryOffset: ints(0, -(2 ** 31)) }, "queryOffset[1]"],
  ["window.left -1", { window: { left: -1 } }, "window.left"],
  ["window.right 0.5", { window: { right: 0.5 } }, "window.right"],
  ["window.left NaN", { window: { left: NaN } }, "window.left"],
  ["kvLengths of one sequence", { kvLengths: ints(29) }],
  ["kvLengths with -1", { kvLengths: ints(3, -1) }, "kvLengths[1]"],
  ["kvLengths beyond the keys", { kvLengths: ints(30, 1) }, "kvLengths[0]"],
  ["keepMask.shape that does not broadcast", { keepMask: mask(28, [28]) }, "keepMask.shape[0]"],
  ["keepMask.shape of five dimensions", { keepMask: mask(29, [1, 1, 1, 1, 29]) }, "keepMask.shape"],
  ["keepMask.shape of the KV heads", { keepMask: mask(2 * 29, [2, 1, 29]) }, "keepMask.shape[0]"],
  ["keepMask.shape with 1.5", { keepMask: mask(29, [1.5, 29]) }, "keepMask.shape[0]"],
  ["keepMask.data too short", { keepMask: mask(28, [29]) }, "keepMask.data"],
  ["bias.shape that does not broadcast", { bias: bias(12, [12, 1]) }, "bias.shape[0]"],
  ["bias.shape with -1", { bias: bias(29, [-1, 29]) }, "bias.shape[0]"],
  ["bias.data too long", { bias: bias(30, [29]) }, "bias.data"],
  ["alibiSlopes of the KV heads", { alibiSlopes: floats(2) }],
  ["softcap 0", { softcap: 0 }],
  ["softcap -1", { softcap: -1 }],
  ["softcap NaN", { softcap: NaN }],
  ["softcap Infinity", { softcap: Infinity }],
  ["softcap below the floats", { softcap: 1e-46 }],
  ["sinks of the KV heads", { sinks: floats(2) }],
  ["sinks of batch and heads", { sinks: floats(8) }],
  ["batch beside cuSeqlensQ", { cuSeqlensQ: ints(0, 26) }, "batch"],
  ["cuSeqlensQ empty", { batch: 1, cuSeqlensQ: ints() }],
  ["cuSeqlensQ from 1", { batch: 1, cuSeqlensQ: ints(1, 26) }, "cuSeqlensQ[0]"],
  ["cuSeqlensQ falling", { batch: 1, cuSeqlensQ: ints(0, 9, 8, 26) }, "cuSeqlensQ[2]"],
  ["cuSeqlensQ short of the rows", { batch: 1, cuSeqlensQ: ints(0, 25) }, "cuSeqlensQ[1]"],
  ["cuSeqlensKv beyond the rows", { batch: 1, cuSeqlensQ: ints(0, 26), cuSeqlensKv: ints(0, 59) }, "cuSeqlensKv[1]"],
  ["cuSeqlensKv missing beside other keys", { batch: 1, cuSeqlensQ: ints(0, 26) }, "cuSeqlensKv[1]"],
  ["cuSeqlensKv of more sequences", { batch: 1, cuSeqlensQ: ints(0, 26), cuSeqlensKv: ints(0, 9, 58) }, "cuSeqlensKv"],
  [
    "kvLengths beyond a packed sequence",
    { batch: 1, cuSeqlensQ: ints(0, 9, 26), cuSeqlensKv: ints(0, 9, 58), kvLengths: ints(10, 3) },
    "kvLengths[0]",
  ],
  ["out too short", { out: floats(OUT_LENGTH - 1) }],
  ["out too long", { out: floats(OUT_LENGTH + 1) }],
  ["lse too short", { lse: floats(103) }],
];

const wrongRows: [string, "q" | "k" | "v", unknown, Refusal][] = [
  ["an array", "q", [1, 2], TypeError],
  ["doubles", "q", f64(2 * 13 * 4 * 24), TypeError],
  ["missing", "q", undefined, TypeError],
  ["a length that does not divide", "q", floats(2 * 13 * 4 * 24 + 1), RangeError],
  ["null", "k", null, TypeError],
  ["an ArrayBuffer", "k", new ArrayBuffer(96), TypeError],
  ["a length that does not divide", "k", floats(2 * 29 * 2 * 24 - 24), RangeError],
  ["an object", "v", { length: 1160 }, TypeError],
  ["fewer rows than k", "v", floats(2 * 28 * 2 * 10), RangeError],
];

forEachBuild((_, open) => {
  const heed = open();
  const { q, k, v, options } = problemOf(SIZES);
  const good = heed.attention(q, k, v, { ...options, lse: true });

  /** Expects the error, and that nothing has come of the call. */
  function expectRefused(
    kind: Refusal,
    named: string,
    call: (into: { out: Float32Array; lse: Float32Array }) => unknown,
  ) {
    const into = { out: floats(OUT_LENGTH).fill(7), lse: floats(LSE_LENGTH).fill(7) };
    const { used } = heed.memory;
    expectRefusal(kind, named, () => call(into));
    expect(into).toEqual({ out: floats(OUT_LENGTH).fill(7), lse: floats(LSE_LENGTH).fill(7) });
    expect(heed.memory.used).toBe(used);
    expect(heed.attention(q, k, v, { ...options, lse: true })).toEqual(good);
  }

  const refuse = (kind: Refusal, name: string, wrong: object, named?: string) =>
    expectRefused(kind, named ?? name.split(" ")[0]!, (into) =>
      heed.attention(q, k, v, { ...into, ...options, ...wrong }),
    );

  describe("TypeError for the wrong kind", () => {
    it.each(wrongKinds)("%s", (name, wrong, named) => refuse(TypeError, name, wrong, named));

    it.each([undefined, null, 4, "options"])("options %s", (wrong) =>
      expectRefused(TypeError, "options", () => heed.attention(q, k, v, wrong as unknown as typeof options)),
    );

    it("a tensor of another instance", () => {
      const other = open().tensor(q.length);
      expectRefused(TypeError, "q", (into) => heed.attention(other, k, v, { ...options, ...into }));
    });

    it("out that is a view of linear memory", () => {
      const tensor = heed.tensor(OUT_LENGTH);
      const wrong = { ...options, out: tensor.data };
      expect(() => heed.attention(q, k, v, wrong)).toThrow(/^"out" expected .*, got .+/);
      tensor.dispose();
    });
  });

  describe("RangeError for the wrong size or value", () => {
    it.each(wrongValues)("%s", (name, wrong, named) => refuse(RangeError, name, wrong, named));

    it.each(["q", "k", "v", "lse"] as const)("out in the tensor of %s", (title) => {
      // One head of one float, so that the lengths agree.
      const shared = heed.tensor(6);
      const pick = (name: string) => (name === title ? shared : floats(6));
      expect(() =>
        heed.attention(pick("q"), pick("k"), pick("v"), {
          numHeads: 1,
          headDim: 1,
          out: shared,
          lse: title === "lse" ? shared : false,
        }),
      ).toThrow(/^"out" expected memory apart from ".+", got .+/);
      shared.dispose();
    });
  });

  describe("q, k and v", () => {
    it.each(wrongRows)("%s: %s", (_, title, wrong, kind) => {
      const rows = { q, k, v, [title]: wrong as Float32Array };
      expectRefused(kind, title, (into) => heed.attention(rows.q, rows.k, rows.v, { ...options, ...into }));
    });
  });

  it("quotes the expected length and the one that came", () => {
    expect(() => heed.attention(floats(768), floats(1000), floats(768), { numHeads: 12, headDim: 64 })).toThrow(
      new RangeError('"k" expected a length divisible by 768 (numKvHeads × headDim), got 1000'),
    );
  });

  it("writes nothing into a tensor either", () => {
    const out = heed.tensor(OUT_LENGTH);
    out.data.fill(7);
    expect(() => heed.attention(q, k, v, { ...options, out, sinks: floats(3) })).toThrow(RangeError);
    expect(out.data).toEqual(floats(OUT_LENGTH).fill(7));
    out.dispose();
  });

  it("takes undefined for every option that has a default", () => {
    const names = ["batch", "layout", "scale", "causal", "queryOffset", "window", "kvLengths", "keepMask", "bias"];
    const more = [
      "alibiSlopes",
      "softcap",
      "sinks",
      "cuSeqlensQ",
      "cuSeqlensKv",
      "out",
      "lse",
      "numKvHeads",
      "valueDim",
    ];
    const undefinedOptions = Object.fromEntries([...names, ...more].map((name) => [name, undefined]));
    const plain = problemOf({ batch: 1 });
    const { numHeads, headDim } = plain.options;
    const { out } = heed.attention(plain.q, plain.k, plain.v, { ...undefinedOptions, numHeads, headDim });
    expect(out).toEqual(heed.attention(plain.q, plain.k, plain.v, { numHeads, headDim }).out);
  });
});
