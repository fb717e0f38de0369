// What the functions of transformer blocks refuse, by name and with nothing done.
import { expect, it } from "vitest";
import type { Tensor } from "../../bindings/memory/tensor.ts";
import type { Blocks } from "../../bindings/transformer/blocks.ts";
import { blocksOf, openSimd } from "../support/builds.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";

const heed = openSimd()();
const blocks = blocksOf(heed);
const other = openSimd()();
const tensor = heed.tensor(40);
const tokens = Int32Array.of(0, 1);
const part = (from: number, to: number) => tensor.data.subarray(from, to);
const four = new Float32Array(4);
const wrong: [keyof Blocks, string, Refusal, string, unknown, object][] = [
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
  ["layerNorm", "out and sum in one place", RangeError, "out", four, { dim: 2, residual: four, out: four, sum: four }],
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
