// Importers take tensors of 16 bits as they are: the layer has the bits of one of the floats that they stand for.
import { MultiHeadAttention, type StateDict } from "heed";
import { expect, it } from "vitest";
import type { MultiHeadAttentionOptions } from "../../bindings/layer/options.ts";
import { forEachBuild } from "../support/builds.ts";
import { bitsOfFloats, floatsOf, halvesOf } from "../support/halves.ts";
import {
  bert,
  free,
  gpt2,
  kerasDict,
  llama,
  named,
  numHeads,
  ofFree,
  ofGroups,
  renamed,
  sideBySide,
  torchDict,
  torchSeparate,
  weights,
} from "../support/importers.ts";
import { floats, uniform } from "../support/random.ts";

const { fromTorch, fromHuggingFace, fromKeras, fromOnnx } = MultiHeadAttention;

type Dict = Record<string, { data: Float32Array; shape: readonly number[] }>;
type Options = MultiHeadAttentionOptions;

const gptOss = {
  ...named(ofGroups, llama),
  sinks: { data: floats(numHeads, uniform(2)), shape: [numHeads] },
} as StateDict;
const onnx = {
  weights: sideBySide(weights.q, weights.k, weights.v),
  bias: { data: floats(72, uniform(3)), shape: [72] },
  outWeight: sideBySide(weights.out!),
};

forEachBuild((_, open) => {
  const heed = open();

  it.each<[string, object, (dict: never) => object]>([
    ["fromTorch", torchDict(weights), (dict) => fromTorch(dict, { numHeads })],
    ["fromTorch, apart", torchSeparate, (dict) => fromTorch(dict, { numHeads })],
    ["fromHuggingFace, BERT", named(weights, bert), (dict) => fromHuggingFace(dict, { numHeads })],
    ["fromHuggingFace, sinks", gptOss, (dict) => fromHuggingFace(dict, { numHeads })],
    ["fromHuggingFace, GPT-2", gpt2(), (dict) => fromHuggingFace(dict, { numHeads })],
    ["fromKeras", renamed(kerasDict(ofFree, free), (name) => name), (dict) => fromKeras(dict)],
    ["fromOnnx", onnx, (dict) => fromOnnx(dict, { num_heads: numHeads })],
  ])("%s", (_, given, read) => {
    const [narrow, plain] = [{} as Record<string, object>, {} as Record<string, object>];
    Object.entries(given as Dict).forEach(([name, { data, shape }], n) => {
      // In the spelling of safetensors, and in that of heed.
      const dtype = n % 2 ? "f16" : "bf16";
      const half = halvesOf(data, dtype);
      narrow[name] = { ...half, shape, dtype: n % 3 ? dtype : dtype.toUpperCase() };
      plain[name] = { data: floatsOf(half), shape };
    });
    using layer = heed.createMultiHeadAttention(read(narrow as never) as Options);
    using expected = heed.createMultiHeadAttention(read(plain as never) as Options);
    expect(layer.bytes).toBe(expected.bytes);
    const { kvDim, embedDim } = layer;
    const next = uniform(4);
    const x = floats(5 * embedDim, next);
    const context = { k: floats(6 * kvDim.k, next), v: floats(6 * kvDim.v, next) };
    const outOf = (one: typeof layer) => bitsOfFloats(one.forward(x, { context }).out);
    expect(outOf(layer)).toEqual(outOf(expected));
  });
});

it("no data are copied but columns", () => {
  const rows = halvesOf(new Float32Array(4 * 8), "bf16").data;
  const tensor = { data: rows, dtype: "BF16", shape: [4, 8] } as const;
  const dict = { "q_proj.weight": tensor, "k_proj.weight": tensor, "v_proj.weight": tensor, "o_proj.weight": tensor };
  const { q } = fromHuggingFace(dict).weights;
  expect((q.weight as { data: unknown }).data).toBe(rows);
  const packed = new Uint16Array(24 * 8);
  const { weights: split } = fromTorch({
    in_proj_weight: { data: packed, dtype: "F16", shape: [24, 8] },
    "out_proj.weight": { data: new Uint16Array(64), dtype: "F16", shape: [8, 8] },
  });
  expect((split.v.weight as { data: Uint16Array }).data.buffer).toBe(packed.buffer);
});

it.skipIf(!("Float16Array" in globalThis))("a Float16Array needs no dtype (Node 24 and later)", () => {
  const Float16 = (globalThis as unknown as { Float16Array: new (length: number) => never }).Float16Array;
  const tensor = { data: new Float16(64), shape: [8, 8] };
  const dict = { "q_proj.weight": tensor, "k_proj.weight": tensor, "v_proj.weight": tensor, "o_proj.weight": tensor };
  expect(fromHuggingFace(dict).weights.q.weight).toMatchObject({ data: tensor.data, dtype: "f16" });
});
