// What fromTorch, fromHuggingFace, fromKeras and fromOnnx refuse, and that they say which tensor.
import { MultiHeadAttention } from "heed";
import { describe, expect, it } from "vitest";
import type { Weight } from "../../bindings/layer/linear-weights.ts";
import {
  bert,
  free,
  gpt2,
  kerasDict,
  llama,
  named,
  ofFree,
  sideBySide,
  torchDict,
  torchSeparate,
  weights,
} from "../support/importers.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";

const { fromTorch, fromHuggingFace, fromKeras, fromOnnx } = MultiHeadAttention;

describe("errors name the tensor", () => {
  const shape = (...sizes: number[]): Weight => ({
    data: new Float32Array(sizes.reduce((a, b) => a * b, 1)),
    shape: sizes,
  });
  const halves = { data: new Uint16Array(1728), dtype: "F16", shape: [72, 24] } as const;
  const torch = torchDict(weights);
  const keras = kerasDict(ofFree, free);
  const packed = sideBySide(weights.q, weights.k, weights.v);
  const cases: [string, string, Refusal, () => unknown][] = [
    ["no state dict", "stateDict", TypeError, () => fromTorch(undefined as never)],
    ["nothing in it", "q_proj_weight", TypeError, () => fromTorch({})],
    ["a prefix that is a number", "prefix", TypeError, () => fromTorch(torch, { prefix: 1 as never })],
    ["numHeads 0", "numHeads", RangeError, () => fromTorch(torch, { numHeads: 0 })],
    ["bias_k", "bias_k", RangeError, () => fromTorch({ ...torch, bias_k: shape(1, 1, 24) })],
    [
      "bias_v",
      "a.bias_v",
      RangeError,
      () => fromTorch({ ...torchDict(weights, "a."), "a.bias_v": shape(1, 1, 24) }, { prefix: "a" }),
    ],
    ["add_zero_attn", "add_zero_attn", RangeError, () => fromTorch(torch, { add_zero_attn: true })],
    [
      "in_proj_weight of two thirds",
      "in_proj_weight.shape[0]",
      RangeError,
      () => fromTorch({ ...torch, in_proj_weight: shape(48, 24) }),
    ],
    [
      "in_proj_weight of one dimension",
      "in_proj_weight.shape",
      RangeError,
      () => fromTorch({ ...torch, in_proj_weight: shape(1728) }),
    ],
    ["in_proj_bias", "in_proj_bias.shape[0]", RangeError, () => fromTorch({ ...torch, in_proj_bias: shape(24) })],
    [
      "out_proj.weight",
      "out_proj.weight.shape[1]",
      RangeError,
      () => fromTorch({ ...torch, "out_proj.weight": shape(24, 23) }),
    ],
    ["out_proj.bias", "out_proj.bias.shape[0]", RangeError, () => fromTorch({ ...torch, "out_proj.bias": shape(23) })],
    ["no out_proj", "out_proj.weight", TypeError, () => fromTorch({ in_proj_weight: torch["in_proj_weight"]! })],
    [
      "no v_proj_weight",
      "v_proj_weight",
      TypeError,
      () => fromTorch({ ...torchSeparate, v_proj_weight: undefined as never }),
    ],
    [
      "16 bits without a dtype",
      "in_proj_weight.data",
      TypeError,
      () => fromTorch({ ...torch, in_proj_weight: { data: new Uint16Array(1728) as never, shape: [72, 24] } }),
    ],
    [
      "16 bits of integers",
      "in_proj_weight.dtype",
      RangeError,
      () => fromTorch({ ...torch, in_proj_weight: { ...halves, dtype: "U16" as never } }),
    ],
    [
      "a dtype that is no name",
      "in_proj_weight.dtype",
      TypeError,
      () => fromTorch({ ...torch, in_proj_weight: { ...halves, dtype: 16 as never } }),
    ],
    [
      "16 bits of another shape",
      "in_proj_weight.data",
      RangeError,
      () => fromTorch({ ...torch, in_proj_weight: { ...halves, shape: [24, 24] } }),
    ],
    [
      "a shape that is not that of the data",
      "in_proj_weight.data",
      RangeError,
      () => fromTorch({ ...torch, in_proj_weight: { data: new Float32Array(5), shape: [72, 24] } }),
    ],
    [
      "no shape",
      "in_proj_weight.shape",
      TypeError,
      () => fromTorch({ ...torch, in_proj_weight: { data: new Float32Array(5) } as never }),
    ],
    ["no q_proj", "q_proj.weight", TypeError, () => fromHuggingFace({})],
    [
      "no o_proj",
      "o_proj.weight",
      TypeError,
      () => fromHuggingFace({ ...named(weights, llama), "o_proj.weight": undefined as never }),
    ],
    [
      "no self.value",
      "self.value.weight",
      TypeError,
      () => fromHuggingFace({ ...named(weights, bert), "self.value.weight": undefined as never }),
    ],
    [
      "q_norm",
      "q_norm.weight",
      RangeError,
      () => fromHuggingFace({ ...named(weights, llama), "q_norm.weight": shape(6) }),
    ],
    [
      "k_proj.bias",
      "k_proj.bias.shape[0]",
      RangeError,
      () => fromHuggingFace({ ...named(weights, llama), "k_proj.bias": shape(6) }),
    ],
    [
      "v_proj of three dimensions",
      "v_proj.weight.shape",
      RangeError,
      () => fromHuggingFace({ ...named(weights, llama), "v_proj.weight": shape(4, 6, 24) }),
    ],
    [
      "c_attn of two thirds",
      "c_attn.weight.shape[1]",
      RangeError,
      () => fromHuggingFace({ ...gpt2(), "c_attn.weight": shape(24, 48) }),
    ],
    ["no key/kernel", "key/kernel", TypeError, () => fromKeras({ ...keras, "key/kernel": undefined as never })],
    [
      "a kernel of two dimensions",
      "query/kernel.shape",
      RangeError,
      () => fromKeras({ ...keras, "query/kernel": shape(24, 40) }),
    ],
    [
      "keys of another size",
      "key/kernel.shape[2]",
      RangeError,
      () => fromKeras({ ...keras, "key/kernel": shape(15, 2, 9), "key/bias": shape(2, 9) }),
    ],
    [
      "values of other heads",
      "value/kernel.shape[1]",
      RangeError,
      () => fromKeras({ ...keras, "value/kernel": shape(17, 4, 7), "value/bias": shape(4, 7) }),
    ],
    [
      "a bias of other heads",
      "query/bias.shape[0]",
      RangeError,
      () => fromKeras({ ...keras, "query/bias": shape(2, 20) }),
    ],
    [
      "attention_output",
      "attention_output/kernel.shape[1]",
      RangeError,
      () => fromKeras({ ...keras, "attention_output/kernel": shape(4, 10, 13) }),
    ],
    ["no attributes", "attributes", TypeError, () => fromOnnx({ weights: packed }, undefined as never)],
    [
      "num_heads that does not divide",
      "weights.shape[1]",
      RangeError,
      () => fromOnnx({ weights: packed }, { num_heads: 5 }),
    ],
    [
      "qkv_hidden_sizes of two",
      "qkv_hidden_sizes",
      RangeError,
      () => fromOnnx({ weights: packed }, { num_heads: 4, qkv_hidden_sizes: [36, 36] }),
    ],
    [
      "qkv_hidden_sizes of another sum",
      "weights.shape[1]",
      RangeError,
      () => fromOnnx({ weights: packed }, { num_heads: 4, qkv_hidden_sizes: [24, 24, 20] }),
    ],
    [
      "k of another size than q",
      "qkv_hidden_sizes[1]",
      RangeError,
      () => fromOnnx({ weights: packed }, { num_heads: 4, qkv_hidden_sizes: [24, 20, 28] }),
    ],
    ["do_rotary", "do_rotary", RangeError, () => fromOnnx({ weights: packed }, { num_heads: 4, do_rotary: 1 })],
    [
      "outWeight",
      "outWeight.shape[0]",
      RangeError,
      () => fromOnnx({ weights: packed, outWeight: shape(20, 24) }, { num_heads: 4 }),
    ],
  ];
  it.each(cases)("%s", (_, named, kind, call) => {
    expectRefusal(kind, named, call);
  });

  it("and says where one is", () => {
    const dict = { ...torchDict(weights, "encoder.0.attn."), ...torchDict(weights, "encoder.1.attn.") };
    expect(() => fromTorch(dict)).toThrow(
      new TypeError(
        '"q_proj_weight" expected a tensor { data, shape } (or in_proj_weight); ' +
          'prefixes that have one: "encoder.0.attn.", "encoder.1.attn.", got undefined',
      ),
    );
  });
});
