// MultiHeadAttention.fromTorch, fromHuggingFace, fromKeras and fromOnnx: the same layer, whoever named and laid out its weights.
import { MultiHeadAttention } from "heed";
import { describe, expect, it } from "vitest";
import type { MultiHeadAttentionOptions } from "../bindings/layer-options.ts";
import type { Weight } from "../bindings/weight.ts";
import { expectClose } from "./budget.ts";
import { forEachBuild } from "./builds.ts";
import { type Dims, type Projection, type Projections, layerFloor, layerReference, projectionsOf } from "./layer.ts";
import { transposed } from "./linear.ts";
import { floats, uniform } from "./random.ts";

const numHeads = 4;
const square: Dims = {
  embedDim: 24,
  numHeads,
  numKvHeads: 4,
  headDim: 6,
  valueDim: 6,
  kvDim: { k: 24, v: 24 },
  outDim: 24,
};
const grouped: Dims = { ...square, numKvHeads: 2, headDim: 10, valueDim: 10 };
/** Keras says every size. */
const free: Dims = { ...grouped, valueDim: 7, outDim: 13, kvDim: { k: 15, v: 17 } };

const weights = projectionsOf(square, uniform(1));
const ofGroups = projectionsOf(grouped, uniform(2));
const ofFree = projectionsOf(free, uniform(3));

type Dict = Record<string, Weight>;

const biasOf = ({ bias }: Projection): Weight => ({ data: bias!, shape: [bias!.length] });

/** Tensors named as in NAME.weight and NAME.bias. */
function named(projections: Projections, names: Record<keyof Projections, string>, biased = true): Dict {
  const dict: Dict = {};
  for (const key of ["q", "k", "v", "out"] as const) {
    dict[`${names[key]}.weight`] = projections[key]!.weight;
    if (biased) dict[`${names[key]}.bias`] = biasOf(projections[key]!);
  }
  return dict;
}

/** Arrays one after the other. */
function joined(...parts: ArrayLike<number>[]): Float32Array<ArrayBuffer> {
  return Float32Array.from(parts.flatMap((part) => Array.from(part)));
}

/** torch.nn.MultiheadAttention with one in_proj_weight. */
function torchDict({ q, k, v, out }: Projections, prefix = ""): Dict {
  const width = q.weight.shape[0];
  return {
    [`${prefix}in_proj_weight`]: {
      data: joined(q.weight.data, k.weight.data, v.weight.data),
      shape: [3 * width, width],
    },
    [`${prefix}in_proj_bias`]: { data: joined(q.bias!, k.bias!, v.bias!), shape: [3 * width] },
    [`${prefix}out_proj.weight`]: out!.weight,
    [`${prefix}out_proj.bias`]: biasOf(out!),
  };
}

/** Without biases. */
function bare({ q, k, v, out }: Projections): Projections {
  return { q: { weight: q.weight }, k: { weight: k.weight }, v: { weight: v.weight }, out: { weight: out!.weight } };
}

/** [inFeatures, outFeatures] of projections side by side. */
function sideBySide(...all: Projection[]): Weight {
  const inFeatures = all[0]!.weight.shape[1];
  const rows = joined(...all.map(({ weight }) => weight.data));
  const outFeatures = rows.length / inFeatures;
  return { data: transposed(rows, outFeatures, inFeatures), shape: [inFeatures, outFeatures] };
}

function kerasDict({ q, k, v, out }: Projections, { numHeads, numKvHeads, headDim, valueDim, outDim }: Dims): Dict {
  const of = (name: string, one: Projection, heads: number, dim: number): Dict => ({
    [`${name}/kernel`]: { data: sideBySide(one).data, shape: [one.weight.shape[1], heads, dim] },
    [`${name}/bias`]: { data: one.bias!, shape: [heads, dim] },
  });
  return {
    ...of("query", q, numHeads, headDim),
    ...of("key", k, numKvHeads, headDim),
    ...of("value", v, numKvHeads, valueDim),
    "attention_output/kernel": { data: sideBySide(out!).data, shape: [numHeads, valueDim, outDim] },
    "attention_output/bias": biasOf(out!),
  };
}

const renamed = (dict: Dict, rename: (name: string) => string): Dict =>
  Object.fromEntries(Object.entries(dict).map(([name, tensor]) => [rename(name), tensor]));

const llama = { q: "q_proj", k: "k_proj", v: "v_proj", out: "o_proj" };
const bert = { q: "self.query", k: "self.key", v: "self.value", out: "output.dense" };
const gpt2 = (): Dict => ({
  "c_attn.weight": sideBySide(weights.q, weights.k, weights.v),
  "c_attn.bias": { data: joined(weights.q.bias!, weights.k.bias!, weights.v.bias!), shape: [72] },
  "c_proj.weight": sideBySide(weights.out!),
  "c_proj.bias": biasOf(weights.out!),
});

const { fromTorch, fromHuggingFace, fromKeras, fromOnnx } = MultiHeadAttention;
const separate = projectionsOf({ ...square, kvDim: { k: 15, v: 17 } }, uniform(4));
const torchSeparate: Dict = {
  q_proj_weight: separate.q.weight,
  k_proj_weight: separate.k.weight,
  v_proj_weight: separate.v.weight,
  in_proj_bias: { data: joined(separate.q.bias!, separate.k.bias!, separate.v.bias!), shape: [72] },
  "out_proj.weight": separate.out!.weight,
};
const separateDims = { ...square, kvDim: { k: 15, v: 17 } };
const ofOnnx = { ...square, valueDim: 5, outDim: 11 };
const onnx = projectionsOf(ofOnnx, uniform(5));

type Options = MultiHeadAttentionOptions;

const layers: [name: string, options: () => Options, dims: Dims, projections: Projections][] = [
  ["fromTorch, numHeads beside it", () => ({ numHeads, ...fromTorch(torchDict(weights)) }), square, weights],
  ["fromTorch, numHeads within", () => fromTorch(torchDict(weights), { numHeads }), square, weights],
  [
    "fromTorch of a whole model",
    () =>
      fromTorch(
        { ...torchDict(weights, "layers.0.self_attn."), ...torchDict(ofGroups, "layers.1.self_attn.") },
        { prefix: "layers.0.self_attn", numHeads },
      ),
    square,
    weights,
  ],
  [
    "fromTorch, kdim and vdim, without a bias of out_proj",
    () => fromTorch(torchSeparate, { numHeads }),
    separateDims,
    { ...separate, out: { weight: separate.out!.weight } },
  ],
  [
    "fromTorch of a Map, without biases",
    () =>
      fromTorch(new Map(Object.entries(torchDict(weights)).filter(([name]) => !name.includes("bias"))), { numHeads }),
    square,
    bare(weights),
  ],
  [
    "fromHuggingFace, Llama, GQA",
    () => fromHuggingFace(named(ofGroups, llama, false), { numHeads }),
    grouped,
    bare(ofGroups),
  ],
  [
    "fromHuggingFace, Qwen2, below a prefix",
    () =>
      fromHuggingFace(
        renamed(named(ofGroups, llama), (name) => `model.layers.3.self_attn.${name}`),
        { prefix: "model.layers.3.self_attn.", numHeads },
      ),
    grouped,
    ofGroups,
  ],
  [
    "fromHuggingFace, OPT",
    () => fromHuggingFace(named(weights, { ...llama, out: "out_proj" }), { numHeads }),
    square,
    weights,
  ],
  ["fromHuggingFace, BERT", () => fromHuggingFace(named(weights, bert), { numHeads }), square, weights],
  [
    "fromHuggingFace, ViT",
    () =>
      fromHuggingFace(
        renamed(named(weights, bert), (name) => name.replace("self", "attention")),
        { numHeads },
      ),
    square,
    weights,
  ],
  [
    "fromHuggingFace, query, key, value alone",
    () =>
      fromHuggingFace(
        renamed(named(weights, bert), (name) => name.replace("self.", "")),
        { numHeads },
      ),
    square,
    weights,
  ],
  [
    "fromHuggingFace, DistilBERT",
    () => fromHuggingFace(named(weights, { q: "q_lin", k: "k_lin", v: "v_lin", out: "out_lin" }), { numHeads }),
    square,
    weights,
  ],
  ["fromHuggingFace, GPT-2", () => fromHuggingFace(gpt2(), { numHeads }), square, weights],
  ["fromKeras", () => fromKeras(kerasDict(ofFree, free)), free, ofFree],
  [
    "fromKeras, names of TensorFlow",
    () =>
      fromKeras(
        renamed(kerasDict(ofFree, free), (name) => `mha/${name}:0`),
        { prefix: "mha" },
      ),
    free,
    ofFree,
  ],
  [
    "fromKeras, names with dots",
    () => fromKeras(renamed(kerasDict(ofGroups, grouped), (name) => name.replace("/", "."))),
    grouped,
    ofGroups,
  ],
  [
    "fromOnnx",
    () =>
      fromOnnx({ weights: sideBySide(weights.q, weights.k, weights.v), bias: gpt2()["c_attn.bias"] }, { num_heads: 4 }),
    square,
    { q: weights.q, k: weights.k, v: weights.v },
  ],
  [
    "fromOnnx, qkv_hidden_sizes and the MatMul behind it",
    () =>
      fromOnnx(
        {
          weights: sideBySide(onnx.q, onnx.k, onnx.v),
          outWeight: sideBySide(onnx.out!),
          outBias: biasOf(onnx.out!),
        },
        { num_heads: 4, qkv_hidden_sizes: [24, 24, 20] },
      ),
    ofOnnx,
    { ...bare(onnx), out: onnx.out! },
  ],
];

forEachBuild((_, open) => {
  const heed = open();

  it.each(layers)("%s", (_, options, dims, projections) => {
    const layer = heed.createMultiHeadAttention(options());
    const { outDim } = projections.out ? dims : square;
    expect(layer).toMatchObject({ ...dims, outDim });
    const next = uniform(9);
    const x = floats(2 * 11 * dims.embedDim, next);
    const context =
      dims.kvDim.k === dims.embedDim
        ? undefined
        : { k: floats(2 * 13 * dims.kvDim.k, next), v: floats(2 * 13 * dims.kvDim.v, next) };
    const plain = { batch: 2, attention: { causal: true }, ...(context && { context }) };
    const got = layer.forward(x, { ...plain.attention, batch: 2, context, lse: true });
    const exact = layerReference(x, projections, dims, plain);
    const naive = layerReference(x, projections, dims, plain, Math.fround);
    expectClose(got, exact, naive, layerFloor(x, projections, dims, plain, exact));
    layer.dispose();
  });
});

describe("what belongs to the model besides its projections", () => {
  it("GPT-OSS: sinks", () => {
    const sinks = Float32Array.of(1, 2, 3, 4);
    const dict = { ...named(ofGroups, llama), sinks: { data: sinks, shape: [4] } };
    expect(fromHuggingFace(dict).sinks).toBe(sinks);
    expect("sinks" in fromHuggingFace(named(ofGroups, llama))).toBe(false);
  });

  it("com.microsoft.Attention: scale and unidirectional", () => {
    const inputs = { weights: sideBySide(weights.q, weights.k, weights.v) };
    expect(fromOnnx(inputs, { num_heads: 4, scale: 0.5, unidirectional: 1 })).toMatchObject({
      scale: 0.5,
      causal: true,
    });
    const plain = fromOnnx(inputs, { num_heads: 4, scale: 0, unidirectional: 0 });
    expect("scale" in plain || "causal" in plain).toBe(false);
  });
});

describe("errors name the tensor", () => {
  const shape = (...sizes: number[]): Weight => ({
    data: new Float32Array(sizes.reduce((a, b) => a * b, 1)),
    shape: sizes,
  });
  const torch = torchDict(weights);
  const keras = kerasDict(ofFree, free);
  const packed = sideBySide(weights.q, weights.k, weights.v);
  const cases: [string, string, typeof TypeError | typeof RangeError, () => unknown][] = [
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
      "data of halves",
      "in_proj_weight.data",
      TypeError,
      () => fromTorch({ ...torch, in_proj_weight: { data: new Uint16Array(1728) as never, shape: [72, 24] } }),
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
    expect(call).toThrow(kind);
    expect(call).toThrow(new RegExp(`^"${named.replace(/[[\]]/g, "\\$&")}" expected .+, got .+`));
  });

  it("and says where one is", () => {
    const dict = { ...torchDict(weights, "encoder.0.attn."), ...torchDict(weights, "encoder.1.attn.") };
    expect(() => fromTorch(dict)).toThrow(
      new TypeError(
        '"q_proj_weight" expected a tensor { data, shape } (or in_proj_weight); prefixes that have one: "encoder.0.attn.", "encoder.1.attn.", got undefined',
      ),
    );
  });
});
