// rotaryFrequencies against formulas in f64 and against values that are known.
import { afterEach, describe, expect, it, vi } from "vitest";
import { type RotaryConfig, rotaryFrequencies } from "../../bindings/api.ts";
import { integer, uniform } from "../support/random.ts";
import {
  dynamicFrequencies,
  expectClose,
  llama31,
  llama3Frequencies,
  plainFrequencies,
  yarnFrequencies,
} from "../support/rope.ts";

describe("default", () => {
  it("is that of the base", () => {
    const { frequencies, ...rest } = rotaryFrequencies({ head_dim: 128, rope_theta: 1e6 });
    expectClose(frequencies, plainFrequencies(1e6, 128));
    expect(rest).toEqual({ attentionScale: 1, rotaryDim: 128 });
    const parameters = { rope_type: "default", rope_theta: 1e6 };
    expect(rotaryFrequencies({ head_dim: 128, rope_parameters: parameters }).frequencies).toEqual(frequencies);
    expect(rotaryFrequencies(parameters, { headDim: 128 }).frequencies).toEqual(frequencies);
    expect(rotaryFrequencies({}, { headDim: 128, base: 1e6 }).frequencies).toEqual(frequencies);
    expect(rotaryFrequencies({ head_dim: 128, rope_theta: 5 }, { base: 1e6 }).frequencies).toEqual(frequencies);
    expectClose(rotaryFrequencies({ head_dim: 8 }).frequencies, [1, 0.1, 0.01, 0.001]);
  });

  it("is an array of the caller's own", () => {
    const config = { head_dim: 32 };
    rotaryFrequencies(config).frequencies.fill(7);
    expectClose(rotaryFrequencies(config).frequencies, plainFrequencies(10000, 32));
  });

  it.each<[string, RotaryConfig, number, number]>([
    ["hidden_size / num_attention_heads", { hidden_size: 960, num_attention_heads: 15, head_dim: null }, 64, 10000],
    ["a part of the row", { head_dim: 80, partial_rotary_factor: 0.4, rope_scaling: null }, 32, 10000],
    [
      "a part, beside the parameters",
      { head_dim: 256, partial_rotary_factor: 1, rope_parameters: { partial_rotary_factor: 0.25 } },
      64,
      10000,
    ],
    ["GPT-NeoX", { hidden_size: 512, num_attention_heads: 8, rotary_pct: 0.25, rotary_emb_base: 20000 }, 16, 20000],
    ["MiniMax", { head_dim: 128, rotary_dim: 64, rope_theta: 5e6 }, 64, 5e6],
    ["DeepSeek", { hidden_size: 7168, num_attention_heads: 128, qk_rope_head_dim: 64 }, 64, 10000],
  ])("has the sizes and the base of the config: %s", (_, config, dim, base) => {
    const { frequencies, rotaryDim } = rotaryFrequencies(config);
    expect(rotaryDim).toBe(dim);
    expectClose(frequencies, plainFrequencies(base, dim));
  });

  it("has the sections of Qwen2-VL and Qwen3-VL", () => {
    const qwen2 = { type: "mrope", mrope_section: [16, 24, 24] };
    expect(rotaryFrequencies({ head_dim: 128, rope_scaling: qwen2 })).toMatchObject({
      sections: [16, 24, 24],
      sectionsInterleaved: false,
    });
    const qwen3 = { rope_type: "default", mrope_interleaved: true, mrope_section: [24, 20, 20], rope_theta: 5e6 };
    const got = rotaryFrequencies({ head_dim: 128, rope_parameters: qwen3 });
    expect(got).toMatchObject({ sections: [24, 20, 20], sectionsInterleaved: true });
    expect(got.sections).not.toBe(qwen3.mrope_section);
  });

  it("is that of one type of layer", () => {
    const rope_parameters = {
      full_attention: { rope_type: "linear", factor: 8, rope_theta: 1e6 },
      sliding_attention: { rope_type: "default", rope_theta: 10000 },
    };
    const of = (layerType: string) => rotaryFrequencies({ head_dim: 64, rope_parameters }, { layerType }).frequencies;
    expectClose(
      of("full_attention"),
      plainFrequencies(1e6, 64).map((frequency) => frequency / 8),
    );
    expectClose(of("sliding_attention"), plainFrequencies(10000, 64));
  });
});

describe("linear", () => {
  it("divides by the factor", () => {
    const { frequencies, attentionScale } = rotaryFrequencies({
      head_dim: 64,
      rope_scaling: { type: "linear", factor: 2.5 },
    });
    expectClose(
      frequencies,
      plainFrequencies(10000, 64).map((frequency) => frequency / 2.5),
    );
    expect(attentionScale).toBe(1);
  });
});

describe("dynamic", () => {
  const config = { head_dim: 128, max_position_embeddings: 2048, rope_scaling: { rope_type: "dynamic", factor: 4 } };

  it.each([undefined, 1, 2048, 2049, 4096, 8192, 100000])("stretches for a context of %s", (seqLen) => {
    const { frequencies, attentionScale } = rotaryFrequencies(config, { seqLen });
    expectClose(frequencies, dynamicFrequencies(10000, 128, 4, seqLen ?? 0, 2048));
    expect(attentionScale).toBe(1);
  });

  it("divides the slowest pair by the ratio of contexts, and leaves the first one", () => {
    const at = (seqLen: number) => rotaryFrequencies({ ...config, head_dim: 8 }, { seqLen }).frequencies;
    expectClose(at(4096), [1, 0.1 / 5 ** (1 / 3), 0.01 / 5 ** (2 / 3), 0.001 / 5]);
    expectClose(rotaryFrequencies({ ...config, head_dim: 2 }, { seqLen: 4096 }).frequencies, [1]);
    expectClose(rotaryFrequencies({ ...config, head_dim: 4 }, { seqLen: 4096 }).frequencies, [1, 0.01 / 5]);
  });

  it("has the ratio of HunYuan", () => {
    const rope_scaling = { type: "dynamic", alpha: 1000, factor: 1 };
    const { frequencies } = rotaryFrequencies({ head_dim: 128, rope_scaling });
    expectClose(frequencies, plainFrequencies(10000 * 1000 ** (128 / 126), 128));
  });
});

describe("llama3", () => {
  it("is that of Llama 3.1 and of Llama 3.2", () => {
    const { frequencies, ...rest } = rotaryFrequencies(llama31);
    expectClose(frequencies, llama3Frequencies(500000, 128, { factor: 8, low: 1, high: 4, context: 8192 }));
    expect(rest).toEqual({ attentionScale: 1, rotaryDim: 128 });
    const small = { ...llama31, head_dim: 64, rope_scaling: { ...llama31.rope_scaling, factor: 32 } };
    const expected = llama3Frequencies(500000, 64, { factor: 32, low: 1, high: 4, context: 8192 });
    expectClose(rotaryFrequencies(small).frequencies, expected);
    expect(rotaryFrequencies(llama31.rope_scaling, { headDim: 128, base: 500000 }).frequencies).toEqual(frequencies);
  });

  it("leaves wavelengths below 2048, and divides those beyond 8192 by 8", () => {
    const { frequencies } = rotaryFrequencies(llama31);
    const plain = plainFrequencies(500000, 128);
    const lengths = plain.map((frequency) => (2 * Math.PI) / frequency);
    // 2π·500000^(j / 64) passes 2048 behind pair 28, and 8192 behind pair 34.
    expect([lengths.findIndex((length) => length > 2048), lengths.findIndex((length) => length > 8192)]).toEqual([
      29, 35,
    ]);
    expectClose(frequencies.subarray(0, 29), plain.slice(0, 29));
    expectClose(
      frequencies.subarray(35),
      plain.slice(35).map((frequency) => frequency / 8),
    );
    for (let j = 29; j < 35; j++) {
      expect(frequencies[j]).toBeLessThan(plain[j]!);
      expect(frequencies[j]).toBeGreaterThan(plain[j]! / 8);
    }
  });
});

describe("proportional", () => {
  it("turns the first pairs by the exponents of the whole row", () => {
    const rope_parameters = { rope_type: "proportional", partial_rotary_factor: 0.25, rope_theta: 1e6 };
    const { frequencies, rotaryDim } = rotaryFrequencies({ head_dim: 512, rope_parameters });
    expect(rotaryDim).toBe(512);
    const expected = plainFrequencies(1e6, 512).map((frequency, j) => (j < 64 ? frequency : 0));
    expectClose(frequencies, expected);
    const halved = rotaryFrequencies({ head_dim: 512, rope_parameters: { ...rope_parameters, factor: 2 } });
    expectClose(
      halved.frequencies,
      expected.map((frequency) => frequency / 2),
    );
  });
});

describe("any numbers", () => {
  it("agree with the formulas", () => {
    const next = uniform(1);
    for (let n = 0; n < 300; n++) {
      const headDim = 2 * integer(2, 80, next);
      const base = 2 ** (1 + 22 * next());
      const factor = 1 + 40 * next();
      const context = integer(64, 131072, next);
      const [low, high] = [0.5 + next(), 2 + 6 * next()];
      const options = { headDim, base };
      const common = { factor, original_max_position_embeddings: context };
      const yarn = rotaryFrequencies({ rope_type: "yarn", truncate: false, ...common }, options);
      expectClose(yarn.frequencies, yarnFrequencies(base, headDim, { factor, context }, false));
      const rounded = rotaryFrequencies({ rope_type: "yarn", ...common }, options);
      expectClose(rounded.frequencies, yarnFrequencies(base, headDim, { factor, context }, true));
      const llama3 = { rope_type: "llama3", low_freq_factor: low, high_freq_factor: high, ...common };
      const expected = llama3Frequencies(base, headDim, { factor, low, high, context });
      expectClose(rotaryFrequencies(llama3, options).frequencies, expected);
      const seqLen = integer(1, 300000, next);
      const dynamic = { rope_type: "dynamic", factor, max_position_embeddings: context };
      const stretched = dynamicFrequencies(base, headDim, factor, seqLen, context);
      expectClose(rotaryFrequencies(dynamic, { ...options, seqLen }).frequencies, stretched);
    }
  });
});

describe("no result depends on", () => {
  afterEach(() => vi.restoreAllMocks());

  it("the functions of Math that engines compute differently", () => {
    for (const name of ["log", "log2", "log10", "log1p", "exp", "exp2", "pow", "sin", "cos", "tan", "hypot", "cbrt"]) {
      if (!(name in Math)) continue;
      vi.spyOn(Math, name as "log").mockImplementation(() => {
        throw new Error(name);
      });
    }
    const factors = { short_factor: [1, 2], long_factor: [3, 4] };
    for (const rope_type of ["default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional"]) {
      const rope_scaling = { ...llama31.rope_scaling, ...factors, rope_type };
      rotaryFrequencies({ ...llama31, head_dim: 4, rope_scaling }, { seqLen: 200000 });
    }
  });
});
