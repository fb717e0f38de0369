// MultiHeadAttention.fromTorch, fromHuggingFace, fromKeras and fromOnnx: the same layer, whoever named and laid out its
// weights.
import { MultiHeadAttention } from "heed";
import { describe, expect, it } from "vitest";
import type { MultiHeadAttentionOptions } from "../../bindings/layer/options.ts";
import { expectClose } from "../support/budget.ts";
import { forEachBuild } from "../support/builds.ts";
import {
  bare,
  bert,
  biasOf,
  free,
  gpt2,
  grouped,
  kerasDict,
  llama,
  named,
  numHeads,
  ofFree,
  ofGroups,
  renamed,
  separate,
  sideBySide,
  square,
  torchDict,
  torchSeparate,
  weights,
} from "../support/importers.ts";
import { type Dims, type Projections, layerFloor, layerReference, projectionsOf } from "../support/layer.ts";
import { floats, uniform } from "../support/random.ts";

const { fromTorch, fromHuggingFace, fromKeras, fromOnnx } = MultiHeadAttention;
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
