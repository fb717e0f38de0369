// What holds for all functions of transformer blocks: arrays or Tensors, out given, fresh or in place, rows alone or
// beside others, memory, and what they refuse.
import { describe, expect, it } from "vitest";
import type { Tensor } from "../../bindings/memory/tensor.ts";
import type { Blocks } from "../../bindings/transformer/blocks.ts";
import { blocksOf, forEachBuild, openSimd } from "../support/builds.ts";
import { floats, uniform } from "../support/random.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";

type Rows = Float32Array | Tensor;
/** The rows of x, of what is beside it, and where to write. */
type Call = (blocks: Blocks, x: Rows, beside: Rows, out?: Rows) => { out: Rows };

const dim = 10;
const rows = 7;
const [weight, bias] = [floats(dim, uniform(2)), floats(dim, uniform(3))];

/** Functions by row; `width` is the floats of a row of out. Those "of itself" take x as out. */
const calls: Record<string, { call: Call; width: number }> = {
  "rmsNorm of itself": {
    call: (blocks, x, residual, out) => blocks.rmsNorm(x, { weight, residual, out }),
    width: dim,
  },
  "layerNorm of itself": {
    call: (blocks, x, residual, out) => blocks.layerNorm(x, { weight, bias, residual, out }),
    width: dim,
  },
  "l2Normalize of itself": { call: (blocks, x, _, out) => blocks.l2Normalize(x, { dim, out }), width: dim },
  "activate of itself": {
    call: (blocks, x, up, out) => blocks.activate(x, { activation: "geglu-tanh", up, out }),
    width: dim,
  },
  "activate in halves": {
    call: (blocks, x, _, out) => blocks.activate(x, { activation: "swiglu", dim: dim / 2, out }),
    width: dim / 2,
  },
  "pool of each row": {
    call: (blocks, x, _, out) => blocks.pool(x, { dim, batch: x.length / dim, out }),
    width: dim,
  },
  "pool of each last row": {
    call: (blocks, x, _, out) => blocks.pool(x, { dim, batch: x.length / dim, pooling: "last", out }),
    width: dim,
  },
  "softmax of itself": { call: (blocks, x, _, out) => blocks.softmax(x, { dim, out }), width: dim },
  "scaleLogits of itself": { call: (blocks, x, _, out) => blocks.scaleLogits(x, { softcap: 2, out }), width: dim },
};
const names = Object.keys(calls);

const next = uniform(5);
const x = floats(rows * dim, next);
const beside = floats(rows * dim, next);

forEachBuild((_, open) => {
  const heed = open();
  const blocks = blocksOf(heed);
  const tensorOf = (array: Float32Array): Tensor => {
    const tensor = heed.tensor(array.length);
    tensor.data.set(array);
    return tensor;
  };

  it.each(names)("%s has the same bits for arrays and Tensors, with any out, and keeps no memory", (name) => {
    const { call, width } = calls[name]!;
    const { used } = heed.memory;
    const expected = call(blocks, x, beside).out as Float32Array;
    expect(expected).toHaveLength(rows * width);
    const given = new Float32Array(rows * width);
    expect(call(blocks, x, beside, given).out).toBe(given);
    expect(given).toEqual(expected);
    using xIn = tensorOf(x);
    using besideIn = tensorOf(beside);
    using outIn = heed.tensor(rows * width);
    expect(call(blocks, xIn, besideIn, outIn).out).toBe(outIn);
    expect(outIn.data).toEqual(expected);
    expect(call(blocks, xIn, besideIn).out).toEqual(expected);
    expect([xIn.data, besideIn.data]).toEqual([x, beside]);
    if (name.endsWith("itself")) {
      const array = x.slice();
      call(blocks, array, beside, array);
      expect(array).toEqual(expected);
      call(blocks, xIn, besideIn, xIn);
      expect(xIn.data).toEqual(expected);
    }
    for (const tensor of [xIn, besideIn, outIn]) tensor.dispose();
    expect(heed.memory.used).toBe(used);
  });

  it.each(names)("%s gives a row the same bits whatever is beside it", (name) => {
    const { call, width } = calls[name]!;
    const expected = call(blocks, x, beside).out as Float32Array;
    for (const [from, to] of [
      [0, 1],
      [3, 5],
      [6, 7],
    ] as const) {
      const part = (array: Float32Array) => array.subarray(from * dim, to * dim);
      expect(call(blocks, part(x), part(beside)).out).toEqual(expected.subarray(from * width, to * width));
    }
    // A row of NaN leaves the others as they were.
    const spoiled = x.slice().fill(NaN, 2 * dim, 3 * dim);
    const got = call(blocks, spoiled, beside).out as Float32Array;
    got.set(expected.subarray(2 * width, 3 * width), 2 * width);
    expect(got).toEqual(expected);
  });

  it.each(names)("%s of no rows is nothing", (name) => {
    const { call } = calls[name]!;
    if (!name.startsWith("pool")) {
      expect(call(blocks, new Float32Array(0), new Float32Array(0)).out).toHaveLength(0);
    }
  });
});

describe("errors", () => {
  const heed = openSimd()();
  const blocks = blocksOf(heed);
  const other = openSimd()();
  const tensor = heed.tensor(40);
  const tokens = Int32Array.of(0, 1);
  const part = (from: number, to: number) => tensor.data.subarray(from, to);
  const four = new Float32Array(4);
  type Method = Exclude<keyof Blocks, never>;
  const wrong: [Method, string, Refusal, string, unknown, object][] = [
    ["rmsNorm", "no array", TypeError, "x", [1], { dim: 2 }],
    ["rmsNorm", "doubles", TypeError, "x", new Float64Array(4), { dim: 2 }],
    ["rmsNorm", "16 bits", TypeError, "x", heed.tensor(4, "f16"), { dim: 2 }],
    ["rmsNorm", "a Tensor of another instance", TypeError, "x", other.tensor(4), { dim: 2 }],
    ["rmsNorm", "no dim", TypeError, "dim", four, {}],
    ["rmsNorm", "a dim of 0", RangeError, "dim", four, { dim: 0 }],
    ["rmsNorm", "half a row", RangeError, "x", new Float32Array(5), { dim: 2 }],
    ["rmsNorm", "a weight of another length", RangeError, "weight", four, { dim: 2, weight: new Float32Array(3) }],
    ["rmsNorm", "an eps of 0", RangeError, "eps", four, { dim: 2, eps: 0 }],
    ["rmsNorm", "a residual too short", RangeError, "residual", four, { dim: 2, residual: new Float32Array(2) }],
    ["rmsNorm", "a sum without a residual", TypeError, "sum", four, { dim: 2, sum: true }],
    ["rmsNorm", "unitOffset that is no boolean", TypeError, "unitOffset", four, { weight: four, unitOffset: 1 }],
    ["rmsNorm", "unitOffset without a weight", TypeError, "unitOffset", four, { dim: 2, unitOffset: true }],
    ["rmsNorm", "out too short", RangeError, "out", four, { dim: 2, out: new Float32Array(2) }],
    ["rmsNorm", "out over a part of x", RangeError, "out", part(1, 11), { dim: 2, out: heed.tensor(10), shift: true }],
    [
      "layerNorm",
      "out and sum in one place",
      RangeError,
      "sum",
      four,
      { dim: 2, residual: four, out: four, sum: four },
    ],
    ["layerNorm", "out over the weight", RangeError, "out", four, { weight: "same", dim: 4, out: heed.tensor(4) }],
    ["layerNorm", "a bias of another length", RangeError, "bias", four, { dim: 2, bias: four }],
    ["l2Normalize", "no dim", TypeError, "dim", four, {}],
    ["activate", "no name", TypeError, "activation", four, {}],
    ["activate", "a name that is none", RangeError, "activation", four, { activation: "mish" }],
    ["activate", "up with what is no gate", TypeError, "up", four, { activation: "gelu", up: four }],
    ["activate", "a gate without dim", TypeError, "dim", four, { activation: "swiglu" }],
    ["activate", "dim beside up", TypeError, "dim", four, { activation: "swiglu", up: four, dim: 2 }],
    ["activate", "up of another length", RangeError, "up", four, { activation: "geglu", up: new Float32Array(3) }],
    ["activate", "halves that do not divide", RangeError, "x", new Float32Array(6), { activation: "geglu", dim: 2 }],
    [
      "activate",
      "halves in place",
      RangeError,
      "out",
      part(0, 8),
      { activation: "geglu", dim: 2, out: heed.tensor(4), shift: true },
    ],
    ["embed", "tokens that are no Int32Array", TypeError, "tokens", [0], { table: four, dim: 2 }],
    ["embed", "no table", TypeError, "table", tokens, { dim: 2 }],
    ["embed", "a token beyond the table", RangeError, "tokens[1]", Int32Array.of(0, 2), { table: four, dim: 2 }],
    ["embed", "a negative token", RangeError, "tokens[0]", Int32Array.of(-1), { table: four, dim: 2 }],
    ["embed", "half a row of a table", RangeError, "table", tokens, { table: four, dim: 3 }],
    ["embed", "positions without a table", TypeError, "positions", tokens, { table: four, dim: 2, positions: 1 }],
    [
      "embed",
      "a position beyond the table",
      RangeError,
      "positions[0]",
      tokens,
      { table: four, dim: 2, positionTable: four, positions: 2 },
    ],
    [
      "embed",
      "positions of another length",
      RangeError,
      "positions",
      tokens,
      { table: four, dim: 2, positionTable: four, positions: Int32Array.of(0) },
    ],
    [
      "embed",
      "seqLen beside positions",
      TypeError,
      "seqLen",
      tokens,
      { table: four, dim: 2, positionTable: four, positions: tokens, seqLen: 1 },
    ],
    [
      "embed",
      "a seqLen that does not divide",
      RangeError,
      "tokens",
      tokens,
      { table: four, dim: 2, positionTable: four, seqLen: 3 },
    ],
    ["embed", "types without a table", TypeError, "types", tokens, { table: four, dim: 2, types: tokens }],
    [
      "embed",
      "a type beyond the table",
      RangeError,
      "types[1]",
      tokens,
      { table: four, dim: 2, typeTable: four, types: Int32Array.of(0, 7) },
    ],
    ["embed", "a scale that is not finite", RangeError, "scale", tokens, { table: four, dim: 2, scale: NaN }],
    ["embed", "out over a table", RangeError, "out", tokens, { table: "same", dim: 2, out: heed.tensor(4) }],
    ["pool", "a pooling that is none", RangeError, "pooling", four, { dim: 2, pooling: "max" }],
    ["pool", "a batch that does not divide", RangeError, "x", four, { dim: 2, batch: 3 }],
    ["pool", "a length beyond the rows", RangeError, "lengths[0]", four, { dim: 2, lengths: Int32Array.of(3) }],
    ["pool", "lengths beside cuSeqlens", TypeError, "lengths", four, { dim: 2, lengths: tokens, cuSeqlens: tokens }],
    [
      "pool",
      "cuSeqlens that go back",
      RangeError,
      "cuSeqlens[2]",
      four,
      { dim: 2, cuSeqlens: Int32Array.of(0, 2, 1, 2) },
    ],
    [
      "pool",
      "cuSeqlens that end too early",
      RangeError,
      "cuSeqlens[1]",
      four,
      { dim: 2, cuSeqlens: Int32Array.of(0, 1) },
    ],
    ["pool", "no cuSeqlens", RangeError, "cuSeqlens", four, { dim: 2, cuSeqlens: new Int32Array(0) }],
    ["pool", "a mask of another length", RangeError, "keepMask", four, { dim: 2, keepMask: new Uint8Array(3) }],
    ["pool", "a mask of booleans", TypeError, "keepMask", four, { dim: 2, keepMask: [true, false] }],
    [
      "pool",
      "more sequences than there may be of no rows",
      RangeError,
      "batch",
      new Float32Array(0),
      { dim: 2, batch: 2 ** 29 },
    ],
    ["softmax", "a scale of 0", RangeError, "scale", four, { dim: 2, scale: 0 }],
    ["scaleLogits", "a softcap of 0", RangeError, "softcap", four, { softcap: 0 }],
    ["scaleLogits", "a scale that is a string", TypeError, "scale", four, { scale: "2" }],
    ["sample", "no seed", TypeError, "seed", four, { vocabSize: 2 }],
    ["sample", "seeds of another length", RangeError, "seed", four, { vocabSize: 2, seed: Int32Array.of(1) }],
    ["sample", "a seed that is no integer", RangeError, "seed", four, { vocabSize: 2, seed: 0.5 }],
    ["sample", "a vocabSize that does not divide", RangeError, "logits", four, { vocabSize: 3, seed: 1 }],
    ["sample", "a negative temperature", RangeError, "temperature", four, { vocabSize: 2, seed: 1, temperature: -1 }],
    ["sample", "a topK of 0", RangeError, "topK", four, { vocabSize: 2, seed: 1, topK: 0 }],
    ["sample", "a topP of 0", RangeError, "topP", four, { vocabSize: 2, seed: 1, topP: 0 }],
    ["sample", "a topP above 1", RangeError, "topP", four, { vocabSize: 2, seed: 1, topP: 1.1 }],
    ["sample", "a negative step", RangeError, "step", four, { vocabSize: 2, seed: 1, step: -1 }],
    [
      "sample",
      "tokens that are floats",
      TypeError,
      "tokens",
      four,
      { vocabSize: 2, seed: 1, tokens: new Float32Array(2) },
    ],
    [
      "sample",
      "tokens of another length",
      RangeError,
      "tokens",
      four,
      { vocabSize: 2, seed: 1, tokens: new Int32Array(3) },
    ],
    [
      "sample",
      "tokens in linear memory",
      TypeError,
      "tokens",
      four,
      { vocabSize: 2, seed: 1, tokens: new Int32Array(tensor.data.buffer, tensor.data.byteOffset, 2) },
    ],
  ];

  it.each(wrong)("%s, %s", (method, _, kind, title, first, given) => {
    const { shift, ...options } = given as { shift?: boolean; out?: Tensor; weight?: unknown; table?: unknown };
    // The memory of out itself, or a float further.
    const out = options.out as Tensor;
    if (options.weight === "same") options.weight = out;
    if (options.table === "same") options.table = out;
    if (shift) first = new Float32Array(out.data.buffer, out.data.byteOffset + 4, (first as Float32Array).length);
    const { used } = heed.memory;
    const before = tensor.data.slice();
    expectRefusal(kind, title, () => (blocks[method] as (...args: unknown[]) => unknown).call(blocks, first, options));
    expect(heed.memory.used).toBe(used);
    expect(tensor.data).toEqual(before);
  });

  it.each([
    "rmsNorm",
    "layerNorm",
    "l2Normalize",
    "activate",
    "embed",
    "pool",
    "softmax",
    "scaleLogits",
    "sample",
  ] as const)("%s refuses options that it does not know, and no options", (method) => {
    const call = (options: unknown) => (blocks[method] as (...args: unknown[]) => unknown).call(blocks, four, options);
    expect(() => call({ ouput: 1 })).toThrow(`"ouput" is no option of ${method}`);
    expect(() => call({ ouput: 1 })).toThrow(TypeError);
    expect(() => call(null)).toThrow(TypeError);
  });

  it("refuses a disposed Tensor, and everything once the instance is disposed", () => {
    const own = openSimd()();
    const disposed = own.tensor(4);
    disposed.dispose();
    expectRefusal(ReferenceError, "x", () => blocksOf(own).softmax(disposed, { dim: 2 }));
    own.dispose();
    expect(() => blocksOf(own).softmax(four, { dim: 2 })).toThrow(ReferenceError);
  });
});
