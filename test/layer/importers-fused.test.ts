// q, k and v in one matrix: each family's names and order give the bits of the same weights stored apart.
import { MultiHeadAttention } from "heed";
import { describe, expect, it } from "vitest";
import type { MultiHeadAttentionOptions } from "../../bindings/layer/options.ts";
import type { HuggingFaceOptions } from "../../bindings/importers/index.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Dict, bare, biasOf, grouped, ofGroups, renamed, square, weights, zeros } from "../support/importers.ts";
import { type Dims, type Projections, projectionsOf } from "../support/layer.ts";
import { transposed } from "../support/linear.ts";
import { floats, uniform } from "../support/random.ts";
import { expectRefusal } from "../support/refusal.ts";

const { fromHuggingFace } = MultiHeadAttention;

const ofOneHead: Dims = { ...square, numKvHeads: 1 };
const oneHead = projectionsOf(ofOneHead, uniform(3));

/** Rows of a matrix: `count` of them from `first` on. */
type Rows = [of: "q" | "k" | "v", first: number, count: number];

/** All of q, then k, then v. */
const whole = ({ numHeads, numKvHeads, headDim }: Dims): Rows[] => [
  ["q", 0, numHeads * headDim],
  ["k", 0, numKvHeads * headDim],
  ["v", 0, numKvHeads * headDim],
];

/** The query heads, the key and the value of each KV head. */
const byKvHead = ({ numHeads, numKvHeads, headDim }: Dims): Rows[] =>
  Array.from({ length: numKvHeads }, (_, head): Rows[] => {
    const queries = (numHeads / numKvHeads) * headDim;
    return [
      ["q", head * queries, queries],
      ["k", head * headDim, headDim],
      ["v", head * headDim, headDim],
    ];
  }).flat();

/** Projections in one matrix, `NAME.weight`, beside out. */
function fuse(projections: Projections, rows: Rows[], name: string, out: string, isTransposed = false): Dict {
  const { embedDim } = square;
  const data = rows.flatMap(([of, first, count]) =>
    Array.from(projections[of].weight.data.subarray(first * embedDim, (first + count) * embedDim)),
  );
  const matrix = (given: ArrayLike<number>, outFeatures: number) => {
    const floats = Float32Array.from(given);
    return isTransposed
      ? {
          data: transposed(floats, outFeatures, floats.length / outFeatures),
          shape: [floats.length / outFeatures, outFeatures],
        }
      : { data: floats, shape: [outFeatures, floats.length / outFeatures] };
  };
  const dict: Dict = {
    [`${name}.weight`]: matrix(data, data.length / embedDim),
    [`${out}.weight`]: matrix(projections.out!.weight.data, square.outDim),
  };
  if (projections.q.bias) {
    const bias = rows.flatMap(([of, first, count]) => Array.from(projections[of].bias!.subarray(first, first + count)));
    dict[`${name}.bias`] = { data: Float32Array.from(bias), shape: [bias.length] };
  }
  if (projections.out!.bias) dict[`${out}.bias`] = biasOf(projections.out!);
  return dict;
}

/** Without the bias of out. */
const bareOut = (all: Projections): Projections => ({ ...all, out: { weight: all.out!.weight } });
const apart = ({ q, k, v, out }: Projections, names: string[]): Dict => {
  const dict: Dict = {};
  [q, k, v, out!].forEach((one, n) => {
    dict[`${names[n]!}.weight`] = one.weight;
    if (one.bias) dict[`${names[n]!}.bias`] = biasOf(one);
  });
  return dict;
};

type Family = [name: string, dict: Dict, dims: Dims, of: Projections, more?: HuggingFaceOptions, scale?: number];
const families: Family[] = [
  ["GPT-2", fuse(weights, whole(square), "c_attn", "c_proj", true), square, weights],
  ["Qwen", fuse(bareOut(weights), whole(square), "c_attn", "c_proj"), square, bareOut(weights)],
  ["GPT BigCode", fuse(oneHead, whole(ofOneHead), "c_attn", "c_proj"), ofOneHead, oneHead],
  [
    "GPT BigCode without multi_query",
    fuse(weights, byKvHead(square), "c_attn", "c_proj"),
    square,
    weights,
    { qkvOrder: "grouped" },
  ],
  ["Phi-3", fuse(bare(ofGroups), whole(grouped), "qkv_proj", "o_proj"), grouped, bare(ofGroups)],
  ["MPT", fuse(bare(weights), whole(square), "Wqkv", "out_proj"), square, bare(weights)],
  ["DBRX", fuse(bare(ofGroups), whole(grouped), "Wqkv", "out_proj"), grouped, bare(ofGroups)],
  ["ModernBERT", fuse(bare(weights), whole(square), "Wqkv", "Wo"), square, bare(weights)],
  ["timm", fuse(weights, whole(square), "qkv", "proj"), square, weights],
  ["BLIP", fuse(weights, whole(square), "qkv", "projection"), square, weights],
  ["Baichuan", fuse(bare(weights), whole(square), "W_pack", "o_proj"), square, bare(weights)],
  [
    "GPT-NeoX",
    {
      ...fuse(weights, byKvHead(square), "query_key_value", "dense"),
      bias: zeros(1, 1, 9, 9),
      masked_bias: zeros(),
      "rotary_emb.inv_freq": zeros(3),
    },
    square,
    weights,
  ],
  ["Falcon 7B", fuse(bare(oneHead), byKvHead(ofOneHead), "query_key_value", "dense"), ofOneHead, bare(oneHead)],
  ["Falcon 40B", fuse(bare(ofGroups), byKvHead(grouped), "query_key_value", "dense"), grouped, bare(ofGroups)],
  [
    "ChatGLM2",
    fuse(bareOut(ofGroups), whole(grouped), "query_key_value", "dense"),
    grouped,
    bareOut(ofGroups),
    { qkvOrder: "whole" },
  ],
  ["InternLM2", fuse(bare(ofGroups), byKvHead(grouped), "wqkv", "wo"), grouped, bare(ofGroups)],
  ["T5", apart(bare(weights), ["q", "k", "v", "o"]), square, bare(weights), {}, 1],
  ["MPNet", apart(weights, ["q", "k", "v", "o"]), square, weights],
  [
    "Whisper, whose k has no bias",
    apart({ ...weights, k: { weight: weights.k.weight } }, ["q_proj", "k_proj", "v_proj", "out_proj"]),
    square,
    { ...weights, k: { weight: weights.k.weight } },
  ],
];

forEachBuild((_, open) => {
  const heed = open();
  const x = floats(2 * 11 * square.embedDim, uniform(9));
  const run = (options: MultiHeadAttentionOptions) => {
    using layer = heed.createMultiHeadAttention(options);
    return layer.forward(x, { batch: 2, causal: true, lse: true });
  };

  it.each(families)("%s", (_, dict, dims, projections, more = {}, scale) => {
    const prefix = "model.layers.7.attn";
    const own = { ...renamed(dict, (name) => `${prefix}.${name}`), "model.layers.8.attn.q_norm.weight": zeros(6) };
    const got = run(fromHuggingFace(own, { ...more, prefix, numHeads: 4 }));
    expect(got).toEqual(run({ ...dims, weights: projections, scale }));
  });
});

describe("how one matrix is cut", () => {
  it("cuts 16 bits as it cuts floats", () => {
    const { q, k, v } = fromHuggingFace(
      {
        "query_key_value.weight": { data: Uint16Array.of(1, 2, 3, 4, 5, 6), dtype: "BF16", shape: [6, 1] },
        "query_key_value.bias": { data: Uint16Array.of(1, 2, 3, 4, 5, 6), dtype: "F16", shape: [6] },
        "dense.weight": zeros(1, 2),
      },
      { numHeads: 2 },
    ).weights;
    const part = (first: number, second: number) => ({
      weight: { data: Uint16Array.of(first, second), dtype: "bf16", shape: [2, 1] },
      bias: { data: Uint16Array.of(first, second), dtype: "f16", shape: [2] },
    });
    expect([q, k, v]).toMatchObject([part(1, 4), part(2, 5), part(3, 6)]);
  });

  it("shares the memory of rows that stand together, and needs no numHeads for them", () => {
    const dict = fuse(ofGroups, whole(grouped), "qkv_proj", "o_proj");
    const { q, k, v } = fromHuggingFace(dict).weights;
    for (const { weight } of [q, k, v]) {
      expect((weight as { data: Float32Array }).data.buffer).toBe(
        (dict["qkv_proj.weight"]!.data as Float32Array).buffer,
      );
    }
    expect(k.weight).toMatchObject({ data: ofGroups.k.weight.data, shape: [20, 24] });
  });

  it("takes the width of q from out, whatever embedDim is", () => {
    const dict = { "Wqkv.weight": zeros(40 + 2 * 20, 24), "Wo.weight": zeros(13, 40) };
    expect(fromHuggingFace(dict)).toMatchObject({ embedDim: 24, outDim: 13, kvDim: { k: 24, v: 24 } });
  });

  const neox = fuse(weights, byKvHead(square), "query_key_value", "dense");
  const phi = fuse(bare(weights), whole(square), "qkv_proj", "o_proj");
  const llama = apart(bare(weights), ["q_proj", "k_proj", "v_proj", "o_proj"]);
  it.each<[string, string, typeof TypeError | typeof RangeError, Dict, object?]>([
    ["grouped rows without numHeads", "numHeads", TypeError, neox],
    ["numHeads that does not divide q", "numHeads", RangeError, neox, { numHeads: 5 }],
    [
      "k and v of a part of a head",
      "qkv_proj.weight.shape[0]",
      RangeError,
      { ...phi, "qkv_proj.weight": zeros(48, 24) },
      { numHeads: 1 },
    ],
    ["a matrix without k and v", "qkv_proj.weight.shape[0]", RangeError, { ...phi, "qkv_proj.weight": zeros(24, 24) }],
    ["an odd row", "qkv_proj.weight.shape[0]", RangeError, { ...phi, "qkv_proj.weight": zeros(49, 24) }],
    ["k that does not divide q", "qkv_proj.weight.shape[0]", RangeError, { ...phi, "qkv_proj.weight": zeros(44, 24) }],
    ["out of nothing", "qkv_proj.weight.shape[0]", RangeError, { ...phi, "o_proj.weight": zeros(24, 0) }],
    ["three dimensions", "qkv_proj.weight.shape", RangeError, { ...phi, "qkv_proj.weight": zeros(3, 24, 24) }],
    ["a bias of q alone", "qkv_proj.bias.shape[0]", RangeError, { ...phi, "qkv_proj.bias": zeros(24) }],
    ["no out", "o_proj.weight", TypeError, { "qkv_proj.weight": zeros(72, 24) }],
    [
      "CodeGen, whose order is another",
      "o_proj.weight",
      TypeError,
      renamed(phi, (name) => name.replace("o_proj", "out_proj")),
    ],
    [
      "cross-attention of GPT-2",
      "c_attn.weight.shape[1]",
      RangeError,
      { "c_attn.weight": zeros(24, 48), "c_proj.weight": zeros(24, 24), "q_attn.weight": zeros(24, 24) },
    ],
    ["an unknown order", "qkvOrder", RangeError, phi, { qkvOrder: "qkv" }],
    ["an order that is no string", "qkvOrder", TypeError, phi, { qkvOrder: 1 }],
    ["an order of what stands apart", "qkvOrder", TypeError, llama, { qkvOrder: "whole" }],
    ["a second family", "v_proj.weight", RangeError, { ...phi, "v_proj.weight": zeros(24, 24) }],
    ["ignore of one name", "ignore", TypeError, llama, { ignore: "q_norm.weight" }],
    ["ignore of a number", "ignore", TypeError, llama, { ignore: [1] }],
  ])("refuses %s", (_, named, kind, dict, more = {}) => {
    expectRefusal(kind, named, () => fromHuggingFace(dict, more as HuggingFaceOptions));
  });

  it("ignores the names that it is told to, and no other", () => {
    const dict = { ...apart(bare(weights), ["q", "k", "v", "o"]), "relative_attention_bias.weight": zeros(32, 4) };
    const ignore = ["relative_attention_bias.weight"];
    expectRefusal(RangeError, ignore[0]!, () => fromHuggingFace(dict));
    expect(fromHuggingFace(dict, { ignore })).toMatchObject({ scale: 1, embedDim: 24 });
    expectRefusal(RangeError, "q_norm.weight", () =>
      fromHuggingFace({ ...dict, "q_norm.weight": zeros(6) }, { ignore }),
    );
  });
});
