// The attention of model families by the tensors that they keep in its place: all of them are used, or left alone as
// buffers that say nothing new.
import { MultiHeadAttention } from "heed";
import { describe, expect, it } from "vitest";
import {
  type Dict,
  below,
  bertNames as bert,
  llamaNames as llama,
  weightNames,
  optNames as opt,
  zeros as shape,
} from "../support/importers.ts";

const { fromHuggingFace, fromKeras } = MultiHeadAttention;

describe("a family's attention is read as it stands", () => {
  it.each<[family: string, prefix: string, names: string[], more?: Dict]>([
    ["BERT", "bert.encoder.layer.0.attention.", [...bert, "output.LayerNorm"]],
    [
      "BERT of TensorFlow",
      "bert.encoder.layer.0.attention.",
      bert,
      {
        "bert.encoder.layer.0.attention.output.LayerNorm.gamma": shape(8),
        "bert.encoder.layer.0.attention.output.LayerNorm.beta": shape(8),
      },
    ],
    ["RoBERTa", "roberta.encoder.layer.11.attention.", [...bert, "output.LayerNorm"]],
    ["RoBERTa-PreLayerNorm", "encoder.layer.0.attention.", [...bert, "LayerNorm"]],
    [
      "ESM",
      "esm.encoder.layer.0.attention.",
      [...bert, "LayerNorm"],
      { "esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq": shape(2) },
    ],
    [
      "ALBERT",
      "encoder.albert_layer_groups.0.albert_layers.0.attention.",
      ["query", "key", "value", "dense", "LayerNorm"],
    ],
    ["DistilBERT", "transformer.layer.0.attention.", ["q_lin", "k_lin", "v_lin", "out_lin"]],
    ["ViT", "encoder.layer.0.attention.", ["attention.query", "attention.key", "attention.value", "output.dense"]],
    ["DeiT, without the output", "x.", ["query", "key", "value", "output.dense"]],
    ["CLIP", "vision_model.encoder.layers.0.self_attn.", opt],
    ["OPT", "model.decoder.layers.0.self_attn.", opt],
    ["Whisper", "model.encoder.layers.0.self_attn.", ["q_proj", "k_proj.weight", "v_proj", "out_proj"]],
    ["Wav2Vec2", "wav2vec2.encoder.layers.0.attention.", opt],
    ["Llama", "model.layers.0.self_attn.", llama],
    ["Llama of 2023", "model.layers.0.self_attn.", llama, { "model.layers.0.self_attn.rotary_emb.inv_freq": shape(2) }],
    [
      "Mistral with cached angles",
      "model.layers.0.self_attn.",
      llama,
      {
        "model.layers.0.self_attn.rotary_emb.cos_cached": shape(1, 1, 9, 4),
        "model.layers.0.self_attn.rotary_emb.sin_cached": shape(1, 1, 9, 4),
        "model.layers.0.self_attn.rotary_emb.original_inv_freq": shape(2),
      },
    ],
    ["Qwen2", "model.layers.0.self_attn.", ["q_proj", "k_proj", "v_proj", "o_proj.weight"]],
    ["Gemma", "model.layers.0.self_attn.", llama],
    ["Phi", "model.layers.0.self_attn.", ["q_proj", "k_proj", "v_proj", "dense"]],
    [
      "GPT-OSS",
      "model.layers.0.self_attn.",
      ["q_proj", "k_proj", "v_proj", "o_proj"],
      { "model.layers.0.self_attn.sinks": shape(2) },
    ],
    [
      "GPT-J",
      "transformer.h.0.attn.",
      weightNames("q_proj", "k_proj", "v_proj", "out_proj"),
      { "transformer.h.0.attn.bias": shape(1, 1, 9, 9), "transformer.h.0.attn.masked_bias": shape() },
    ],
    [
      "GPT-Neo",
      "transformer.h.0.attn.attention.",
      [...weightNames("q_proj", "k_proj", "v_proj"), "out_proj"],
      {
        "transformer.h.0.attn.attention.bias": shape(1, 1, 9, 9),
        "transformer.h.0.attn.attention.masked_bias": shape(),
      },
    ],
    [
      "GPT-2",
      "h.0.attn.",
      ["c_proj"],
      {
        "h.0.attn.c_attn.weight": shape(8, 24),
        "h.0.attn.c_attn.bias": shape(24),
        "h.0.attn.bias": shape(1, 1, 9, 9),
        "h.0.attn.masked_bias": shape(1),
      },
    ],
    [
      "GPT-2, the mask in bytes",
      "h.0.attn.",
      ["c_proj"],
      {
        "h.0.attn.c_attn.weight": shape(8, 24),
        "h.0.attn.bias": { data: new Uint8Array(81) as never, shape: [1, 1, 9, 9] },
      },
    ],
    ["Qwen", "transformer.h.0.attn.", ["c_attn", "c_proj.weight"]],
    ["Phi-3", "model.layers.0.self_attn.", weightNames("qkv_proj", "o_proj")],
    ["MPT", "transformer.blocks.0.attn.", weightNames("Wqkv", "out_proj")],
    ["Nomic BERT", "encoder.layers.0.attn.", weightNames("Wqkv", "out_proj")],
    ["ModernBERT", "model.layers.0.attn.", weightNames("Wqkv", "Wo")],
    ["timm, DINOv2", "blocks.0.attn.", ["qkv", "proj"]],
    ["BLIP", "vision_model.encoder.layers.0.self_attn.", ["qkv", "projection"]],
    ["Baichuan", "model.layers.0.self_attn.", weightNames("W_pack", "o_proj")],
    [
      "GPT-NeoX",
      "gpt_neox.layers.0.attention.",
      ["query_key_value", "dense"],
      {
        "gpt_neox.layers.0.attention.bias": { data: new Uint8Array(81) as never, shape: [1, 1, 9, 9] },
        "gpt_neox.layers.0.attention.masked_bias": shape(),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": shape(2),
      },
    ],
    ["BLOOM", "h.0.self_attention.", ["query_key_value", "dense"]],
    ["Falcon", "transformer.h.0.self_attention.", weightNames("query_key_value", "dense")],
    ["InternLM2", "model.layers.0.attention.", weightNames("wqkv", "wo")],
    ["T5", "encoder.block.1.layer.0.SelfAttention.", weightNames("q", "k", "v", "o")],
    ["MPNet", "encoder.layer.0.attention.attn.", ["q", "k", "v", "o"]],
    ["any, with a file's header", "", llama, { __metadata__: { format: "pt" } as never }],
    ["any, with position_ids", "", opt, { position_ids: { data: new BigInt64Array(9) as never, shape: [1, 9] } }],
  ])("%s", (_, prefix, names, more = {}) => {
    const elsewhere = prefix && { [`elsewhere.${prefix}other.weight`]: shape(3) };
    const dict = { ...below(prefix, ...names), ...more, ...elsewhere };
    const options = fromHuggingFace(dict, { prefix, numHeads: 2 });
    expect(options).toMatchObject({ numHeads: 2, embedDim: 8 });
    expect(fromHuggingFace(new Map(Object.entries(dict)), { prefix, numHeads: 2 })).toEqual(options);
  });

  it("Keras, with the state of its dropout", () => {
    const kernels = {
      "m/query/kernel": shape(8, 2, 4),
      "m/key/kernel": shape(8, 2, 4),
      "m/value/kernel": shape(8, 2, 4),
    };
    const dict = { ...kernels, "m/attention_output/kernel": shape(2, 4, 8) };
    const seeds = { "m/seed_generator/seed_generator_state": { data: new Uint32Array(2) as never, shape: [2] } };
    expect(fromKeras({ ...dict, ...seeds }, { prefix: "m" })).toEqual(fromKeras(dict, { prefix: "m" }));
  });
});
