// What rotaryFrequencies refuses, and that what it returns is a form.
import { describe, expect, it } from "vitest";
import { type RotaryConfig, type RotaryFrequenciesOptions, rotaryFrequencies } from "../../bindings/api.ts";
import { forEachBuild } from "../support/builds.ts";
import { type Refusal, expectRefusal } from "../support/refusal.ts";
import { llama31 } from "../support/rope.ts";

describe("refuses", () => {
  const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32768 };
  const long = { rope_type: "longrope", factor: 2, short_factor: [1, 1], long_factor: [2, 2] };
  const cases: [string, Refusal, string, RotaryConfig, RotaryFrequenciesOptions?][] = [
    [
      "a type that it does not know",
      RangeError,
      "rope_type",
      { rope_scaling: { rope_type: "ntk-by-parts", factor: 2 } },
    ],
    ["a type that is no text", TypeError, "rope_type", { rope_scaling: { type: 3 } }],
    ["rope_scaling a number", TypeError, "rope_scaling", { rope_scaling: 2 as never }],
    ["no size of a head", TypeError, "headDim", { head_dim: undefined, hidden_size: 64 }],
    [
      "heads that do not divide the row",
      RangeError,
      "headDim",
      { head_dim: null, hidden_size: 65, num_attention_heads: 2 },
    ],
    ["headDim a string", TypeError, "headDim", {}, { headDim: "4" as never }],
    ["headDim null", TypeError, "headDim", {}, { headDim: null as never }],
    ["base null", TypeError, "base", {}, { base: null as never }],
    ["head_dim a string", TypeError, "head_dim", { head_dim: "4" as never }],
    ["an odd part of the row", RangeError, "rotaryDim", { partial_rotary_factor: 0.75 }],
    ["more than the row", RangeError, "rotaryDim", { partial_rotary_factor: 1.5 }],
    ["rope_theta 0", RangeError, "rope_theta", { rope_theta: 0 }],
    ["base infinite", RangeError, "base", {}, { base: Infinity }],
    ["seqLen negative", RangeError, "seqLen", {}, { seqLen: -1 }],
    ["a factor that is missing", TypeError, "factor", { rope_scaling: { rope_type: "linear" } }],
    ["a factor of 0", RangeError, "factor", { rope_scaling: { rope_type: "linear", factor: 0 } }],
    [
      "dynamic without a context",
      TypeError,
      "max_position_embeddings",
      { rope_scaling: { rope_type: "dynamic", factor: 2 } },
    ],
    [
      "yarn without a context",
      TypeError,
      "original_max_position_embeddings",
      { rope_scaling: { rope_type: "yarn", factor: 2 } },
    ],
    ["yarn without a factor", RangeError, "factor", { rope_scaling: { ...yarn, factor: null } }],
    ["yarn with a base of 1", RangeError, "base", { rope_scaling: yarn, rope_theta: 1 }],
    ["beta_fast negative", RangeError, "beta_fast", { rope_scaling: { ...yarn, beta_fast: -32 } }],
    ["beta_slow NaN", RangeError, "beta_slow", { rope_scaling: { ...yarn, beta_slow: NaN } }],
    ["truncate a number", TypeError, "truncate", { rope_scaling: { ...yarn, truncate: 1 } }],
    ["attention_factor 0", RangeError, "attention_factor", { rope_scaling: { ...yarn, attention_factor: 0 } }],
    [
      "short_factor too short",
      RangeError,
      "short_factor",
      { rope_scaling: { ...long, short_factor: [1] }, max_position_embeddings: 9 },
    ],
    [
      "long_factor missing",
      TypeError,
      "long_factor",
      { rope_scaling: { ...long, long_factor: null }, max_position_embeddings: 9 },
    ],
    [
      "a long factor of 0",
      RangeError,
      "long_factor[1]",
      { rope_scaling: { ...long, long_factor: [1, 0] }, max_position_embeddings: 9 },
    ],
    ["a context of 1", RangeError, "max_position_embeddings", { rope_scaling: long, max_position_embeddings: 1 }],
    [
      "high_freq_factor missing",
      TypeError,
      "high_freq_factor",
      { rope_scaling: { ...yarn, rope_type: "llama3", low_freq_factor: 1 } },
    ],
    [
      "high_freq_factor not above the low one",
      RangeError,
      "high_freq_factor",
      { rope_scaling: { ...yarn, rope_type: "llama3", low_freq_factor: 1, high_freq_factor: 1 } },
    ],
    ["sections of other sizes", RangeError, "sections", { rope_scaling: { type: "mrope", mrope_section: [1, 2] } }],
    ["sections that are no array", TypeError, "sections", { rope_scaling: { type: "mrope", mrope_section: 2 } }],
    [
      "mrope_interleaved a number",
      TypeError,
      "mrope_interleaved",
      { rope_scaling: { mrope_section: [2], mrope_interleaved: 1 } },
    ],
    ["a type of layer that is missing", TypeError, "layerType", { rope_parameters: { a: {}, b: {} } }],
    [
      "a type of layer that is not there",
      RangeError,
      "layerType",
      { rope_parameters: { a: {}, b: {} } },
      { layerType: "c" },
    ],
    ["a type of layer where there are none", RangeError, "layerType", {}, { layerType: "full_attention" }],
  ];

  it.each(cases)("%s", (_, kind, named, config, options) => {
    expectRefusal(kind, named, () => rotaryFrequencies({ head_dim: 4, ...config }, options));
  });

  it("no config, and options that it does not know", () => {
    for (const config of [undefined, null, 3]) {
      expectRefusal(TypeError, "config", () => rotaryFrequencies(config as never));
    }
    expect(() => rotaryFrequencies({ head_dim: 4 }, { seq_len: 3 } as never)).toThrow(
      new TypeError('"seq_len" is no option of rotaryFrequencies; did you mean "seqLen"?'),
    );
  });
});

forEachBuild((_, open) => {
  it("what it returns is a form for rotary, caches and layers", () => {
    const heed = open();
    const form = rotaryFrequencies({
      ...llama31,
      head_dim: 16,
      rope_scaling: { ...llama31.rope_scaling, mrope_section: [4, 4] },
    });
    const x = new Float32Array(3 * 16).fill(1);
    const { out } = heed.rotary(x, { numHeads: 1, headDim: 16, ...form });
    const tables = [Math.cos, Math.sin].map((f) =>
      Float32Array.from({ length: 24 }, (_, n) => f(Math.floor(n / 8) * form.frequencies[n % 8]!)),
    );
    expect(out).toEqual(heed.rotary(x, { numHeads: 1, headDim: 16, cos: tables[0], sin: tables[1] }).out);
    using cache = heed.createKvCache({ numKvHeads: 1, headDim: 16, capacity: 4, rotary: form });
    expect(cache.rotary).toEqual(form);
    using layer = heed.createMultiHeadAttention({ numHeads: 1, embedDim: 16, rotary: form });
    expect(layer.headDim).toBe(16);
  });
});
