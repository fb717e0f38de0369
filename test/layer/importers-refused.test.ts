// Tensors below the prefix that the layer does not use: each is refused by name, with a reason where heed knows one.
import { MultiHeadAttention } from "heed";
import { describe, expect, it } from "vitest";
import type { Weight } from "../../bindings/layer/linear-weights.ts";
import {
  type Dict,
  below,
  bertNames as bert,
  llamaNames as llama,
  weightNames,
  optNames as opt,
  zeros as shape,
} from "../support/importers.ts";

const { fromTorch, fromHuggingFace, fromKeras, fromOnnx } = MultiHeadAttention;

/** The refusal of the tensor `name`. */
const absent = (name: string, reason: string) =>
  new RangeError(
    `"${name}" expected to be absent, since heed's attention has no ${reason}, got a value of type Object`,
  );
/** timm's attention, q, k and v in one. */
const fused = ["qkv", "proj"];
const QK_NORM = "norm of q and k";
const NORM = "norm before the projection back";
const POSITIONS = "learned positions: make a bias of them for forward";
const ADAPTER = "adapters: merge them into the weights";
const QUANTISED = "quantised weights";
const GATE = "gates";
const SCALE = "learned scale";
const UNKNOWN = "tensor of this name";

describe("a tensor that the layer does not use is refused with a reason", () => {
  it.each<[family: string, names: string[], other: string, reason: string]>([
    ["Qwen3", llama, "q_norm.weight", QK_NORM],
    ["Gemma 3", llama, "k_norm.weight", QK_NORM],
    ["PhiPersimmon", [...weightNames("q_proj", "k_proj", "v_proj"), "dense.weight"], "q_layernorm.weight", QK_NORM],
    ["Chameleon", llama, "k_norm.bias", QK_NORM],
    ["StableLM 2", llama, "q_layernorm.norms.0.weight", QK_NORM],
    ["Evolla", llama, "query_layernorm.weight", QK_NORM],
    ["Hunyuan", llama, "key_layernorm.weight", QK_NORM],
    ["Llama 4", llama, "qk_norm.weight", QK_NORM],
    ["diffusers", llama, "norm_q.weight", QK_NORM],
    ["diffusers, added", llama, "norm_added_k.weight", QK_NORM],
    ["MPT, ESM C", llama, "q_ln.weight", QK_NORM],
    ["BERT with norms of q", bert, "self.query_norm.weight", QK_NORM],
    ["timm with norms of q", fused, "q_norm.weight", QK_NORM],
    ["timm with a norm of attention", fused, "norm.weight", NORM],
    ["EVA, BEiT", fused, "q_bias", UNKNOWN],
    ["BitNet", llama, "attn_sub_norm.weight", NORM],
    ["BEiT 3", opt, "inner_attn_ln.weight", NORM],
    ["OPT with a norm", opt, "output.LayerNorm.weight", NORM],
    ["OPT with another norm", opt, "LayerNorm.bias", NORM],
    ["Swin V2", bert, "self.logit_scale", SCALE],
    ["XCiT", ["query", "key", "value", "dense"], "temperature", SCALE],
    ["Swin", bert, "self.relative_position_bias_table", POSITIONS],
    ["Swin, the buffer", bert, "self.relative_position_index", POSITIONS],
    ["BERT, relative_key", bert, "self.distance_embedding.weight", POSITIONS],
    ["T5 with names of Llama", llama, "relative_attention_bias.weight", POSITIONS],
    ["WavLM", opt, "rel_attn_embed.weight", POSITIONS],
    ["WavLM, gated", opt, "gru_rel_pos_const", POSITIONS],
    ["Conformer", opt, "pos_bias_u", POSITIONS],
    ["DeBERTa", bert, "self.pos_proj.weight", POSITIONS],
    ["BLOOM with names of Llama", llama, "alibi", POSITIONS],
    ["Qwen3-Next", llama, "gate.weight", GATE],
    ["Afmoe", llama, "gate_proj.weight", GATE],
    ["ConViT", opt, "gating_param", GATE],
    ["Mllama", llama, "attn_gate", GATE],
    ["PEFT", llama, "q_proj.lora_A.default.weight", ADAPTER],
    ["PEFT, B", bert, "self.query.lora_B.weight", ADAPTER],
    ["DoRA", llama, "v_proj.lora_magnitude_vector", ADAPTER],
    ["kohya", llama, "q_proj.lora_down.weight", ADAPTER],
    ["IA3", llama, "k_proj.ia3_l.default", ADAPTER],
    ["GPTQ", llama, "q_proj.qweight", QUANTISED],
    ["GPTQ, indices", llama, "q_proj.g_idx", QUANTISED],
    ["AWQ", llama, "q_proj.scales", QUANTISED],
    ["AWQ, zeros", llama, "q_proj.qzeros", QUANTISED],
    ["FP8", llama, "q_proj.weight_scale", QUANTISED],
    ["DeepSeek FP8", llama, "q_proj.weight_scale_inv", QUANTISED],
    ["activations in FP8", llama, "q_proj.input_scale", QUANTISED],
    ["an FP8 cache", llama, "k_proj.k_scale", QUANTISED],
    ["compressed-tensors", llama, "q_proj.weight_zero_point", QUANTISED],
    ["compressed-tensors, packed", llama, "q_proj.weight_packed", QUANTISED],
    ["bitsandbytes", llama, "q_proj.weight.absmax", QUANTISED],
    ["bitsandbytes, nf4", llama, "q_proj.weight.quant_state.bitsandbytes__nf4", QUANTISED],
    ["bitsandbytes, int8", llama, "q_proj.SCB", QUANTISED],
    ["weight_norm", llama, "q_proj.weight_g", UNKNOWN],
    ["parametrizations", llama, "q_proj.parametrizations.weight.original0", UNKNOWN],
    ["DeepSeek beside a plain layer", llama, "kv_b_proj.weight", UNKNOWN],
    ["ConvBERT", bert, "self.key_conv_attn_layer.depthwise.weight", UNKNOWN],
    ["Longformer", bert, "self.query_global.weight", UNKNOWN],
    ["two outputs", llama, "out_proj.weight", UNKNOWN],
    ["two families", llama, "self.query.weight", UNKNOWN],
    ["two families, one of them fused", llama, "c_attn.weight", UNKNOWN],
    ["a bias that is no mask", opt, "bias", UNKNOWN],
    ["a mask of GPT-2 in BERT", bert, "masked_bias", UNKNOWN],
    ["an own __proto__", llama, "__proto__", UNKNOWN],
    ["an own constructor", llama, "constructor", UNKNOWN],
  ])("%s: %s and %s", (_, names, other, reason) => {
    const prefix = "model.layers.0.self_attn.";
    for (const at of [prefix, ""]) {
      const dict = new Map([...Object.entries(below(at, ...names)), [at + other, shape(8)] as const]);
      const act = (given: Dict | Map<string, Weight>) => () => fromHuggingFace(given, { prefix: at, numHeads: 2 });
      const error = absent(at + other, reason);
      expect(act(dict)).toThrow(error);
      expect(act(Object.fromEntries(dict))).toThrow(error);
      // What is undefined is not there.
      expect(act(new Map(dict).set(at + other, undefined as never))).not.toThrow();
    }
  });

  it("fromTorch", () => {
    const dict = { in_proj_weight: shape(24, 8), "out_proj.weight": shape(8, 8) };
    const refused = (other: string, reason: string) => {
      expect(() => fromTorch({ ...dict, [other]: shape(8) })).toThrow(absent(other, reason));
    };
    refused("bias_k", "learned keys (add_bias_kv)");
    refused("bias_v", "learned keys (add_bias_kv)");
    refused("q_norm.weight", QK_NORM);
    refused("out_proj.lora_A", ADAPTER);
    refused("out_proj.weight_scale", QUANTISED);
    refused("q_proj_weight", UNKNOWN);
    refused("bias", UNKNOWN);
    refused("inv_freq", UNKNOWN);
    expect(() => fromTorch({ ...dict, __metadata__: {} as never })).not.toThrow();
  });

  it("fromKeras", () => {
    const dict = {
      "query/kernel": shape(8, 2, 4),
      "key/kernel": shape(8, 2, 4),
      "value/kernel": shape(8, 2, 4),
      "attention_output/kernel": shape(2, 4, 8),
    };
    const refused = (other: string, reason: string) => {
      expect(() => fromKeras({ ...dict, [other]: shape(8) })).toThrow(absent(other, reason));
    };
    refused("query/lora_kernel_a", ADAPTER);
    refused("query/kernel_scale", QUANTISED);
    refused("gate/kernel", GATE);
    refused("query_norm/scale", QK_NORM);
    refused("key.kernel", UNKNOWN);
  });

  it("fromOnnx", () => {
    const inputs = { weights: shape(8, 24), outBias: shape(8) };
    expect(() => fromOnnx(inputs, { num_heads: 2 })).toThrow(/^"outBias" expected nothing without outWeight/);
    const wrong = { weights: shape(8, 24), outWeight: shape(8, 9), outBias: shape(8) };
    expect(() => fromOnnx(wrong, { num_heads: 2 })).toThrow(/^"outBias.shape\[0\]" expected 9/);
  });
});

describe("where nothing fits, the error says what stands there", () => {
  const told = (call: () => unknown): string => {
    try {
      call();
    } catch (error) {
      return `${(error as Error).name}: ${(error as Error).message}`;
    }
    return "accepted";
  };
  const p = "transformer.h.0.self_attention";
  it.each<[family: string, names: string[], expected: RegExp]>([
    [
      "Megatron",
      weightNames("linear_qkv", "linear_proj"),
      /linear_qkv\.weight \(fused q, k and v: split it\), linear_p/,
    ],
    ["CogVLM", weightNames("vision_expert_query_key_value"), /vision_expert_query_key_value\.weight \(fused/],
    [
      "DeepSeek V2",
      weightNames("q_proj", "kv_a_proj_with_mqa", "o_proj"),
      /kv_a_proj_with_mqa\.weight, o_proj\.weight/,
    ],
    ["DeBERTa", ["self.in_proj.weight", "self.q_bias"], /self\.in_proj\.weight \(fused/],
    [
      "DeBERTa V2",
      ["self.query_proj", "self.key_proj"],
      /self\.query_proj\.weight \(resembles q\).*key_proj\.weight \(resembles k\)/,
    ],
    ["Meta's Llama", weightNames("wq", "wk", "wv", "wo"), /wq\.weight \(resembles q\).*wo\.weight/],
    ["diffusers", weightNames("to_q", "to_k", "to_v"), /to_q\.weight \(resembles q\)/],
    ["Conformer", ["linear_q", "linear_k"], /linear_q\.weight \(resembles q\)/],
  ])("%s", (_, names, expected) => {
    const error = told(() => fromHuggingFace(below(`${p}.`, ...names), { prefix: p }));
    expect(error).toMatch(/^TypeError: "transformer.h.0.self_attention.[qk]_proj.weight" expected a tensor/);
    expect(error).toMatch(expected);
    expect(error).toContain(`; "${p}." has `);
  });

  it.each<[string, string[], string, string]>([
    [
      "T5, block 0",
      weightNames("q", "k", "v", "o", "relative_attention_bias"),
      "relative_attention_bias.weight",
      POSITIONS,
    ],
    ["PEFT", ["q_proj.base_layer.weight", "q_proj.lora_A.default.weight"], "q_proj.base_layer.weight", ADAPTER],
    ["GPTQ", ["q_proj.qweight.weight"], "q_proj.qweight.weight", QUANTISED],
    [
      "Swin of its authors",
      ["qkv", "relative_position_bias_table.weight"],
      "relative_position_bias_table.weight",
      POSITIONS,
    ],
  ])("%s: what is known to be no part of it comes first", (_, names, other, reason) => {
    expect(() => fromHuggingFace(below(`${p}.`, ...names), { prefix: p })).toThrow(absent(`${p}.${other}`, reason));
  });

  it("names six of many, and cuts long ones", () => {
    const names = Array.from({ length: 9 }, (_, n) => `x${n}`);
    const error = told(() => fromHuggingFace(below("", ...names, `${"y".repeat(500)}.weight`)));
    expect(error).toContain('; "" has x0.weight, x0.bias, x1.weight, x1.bias, x2.weight, x2.bias, and 13 more');
    expect(told(() => fromHuggingFace(below("", `${"y".repeat(500)}.weight`))).length).toBeLessThan(400);
  });

  it("names no prefix whose name only ends alike", () => {
    const error = told(() => fromHuggingFace({ "layers.0.my_q_proj.weight": shape(8, 8) }));
    expect(error).not.toContain("prefixes");
  });
});
