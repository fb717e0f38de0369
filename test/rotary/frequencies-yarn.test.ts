// rotaryFrequencies by the rules of YaRN and LongRoPE.
import { describe, expect, it } from "vitest";
import { type RotaryConfig, rotaryFrequencies } from "../../bindings/api.ts";
import { expectClose, plainFrequencies, yarnFrequencies, yarnScale } from "../support/rope.ts";

describe("yarn", () => {
  it.each<[string, RotaryConfig, Parameters<typeof yarnFrequencies>, number]>([
    [
      "Qwen",
      {
        head_dim: 128,
        max_position_embeddings: 40960,
        rope_theta: 1e6,
        rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32768 },
      },
      [1e6, 128, { factor: 4, context: 32768 }, true],
      yarnScale(4),
    ],
    [
      "gpt-oss",
      {
        head_dim: 64,
        rope_theta: 150000,
        rope_scaling: {
          rope_type: "yarn",
          beta_fast: 32,
          beta_slow: 1,
          factor: 32,
          truncate: false,
          original_max_position_embeddings: 4096,
        },
      },
      [150000, 64, { factor: 32, context: 4096 }, false],
      1.3465735902799727,
    ],
    [
      "DeepSeek-V2, whose scales cancel but for a part",
      {
        qk_rope_head_dim: 64,
        rope_scaling: {
          type: "yarn",
          factor: 40,
          mscale: 0.707,
          mscale_all_dim: 1,
          beta_fast: 32,
          beta_slow: 1,
          original_max_position_embeddings: 4096,
        },
      },
      [10000, 64, { factor: 40, context: 4096 }, true],
      yarnScale(40, 0.707) / yarnScale(40),
    ],
    [
      "the factor of the contexts, and a scale of its own",
      {
        head_dim: 96,
        max_position_embeddings: 65536,
        rope_scaling: {
          rope_type: "yarn",
          factor: null,
          attention_factor: 1.25,
          beta_fast: 20,
          beta_slow: 2,
          original_max_position_embeddings: 4096,
        },
      },
      [10000, 96, { factor: 16, context: 4096, betaFast: 20, betaSlow: 2 }, true],
      1.25,
    ],
    [
      "mscale alone does nothing",
      { head_dim: 96, max_position_embeddings: 4096, rope_scaling: { rope_type: "yarn", factor: 0.5, mscale: 2 } },
      [10000, 96, { factor: 0.5, context: 4096 }, true],
      1,
    ],
    [
      "a context in which every pair is divided but the first",
      { head_dim: 16, rope_scaling: { rope_type: "yarn", factor: 2, original_max_position_embeddings: 4 } },
      [10000, 16, { factor: 2, context: 4 }, true],
      yarnScale(2),
    ],
    [
      "a ramp that goes on behind the last pair",
      {
        head_dim: 16,
        rope_theta: 10,
        rope_scaling: { rope_type: "yarn", factor: 2, original_max_position_embeddings: 850 },
      },
      [10, 16, { factor: 2, context: 850 }, true],
      yarnScale(2),
    ],
    [
      "a context in which none is",
      {
        head_dim: 16,
        rope_theta: 2,
        rope_scaling: { rope_type: "yarn", factor: 2, original_max_position_embeddings: 1e9 },
      },
      [2, 16, { factor: 2, context: 1e9 }, true],
      yarnScale(2),
    ],
  ])("is that of the paper: %s", (_, config, formula, scale) => {
    const { frequencies, attentionScale } = rotaryFrequencies(config);
    expectClose(frequencies, yarnFrequencies(...formula));
    expectClose([attentionScale], [scale]);
  });

  it("leaves the pairs of gpt-oss up to 8, and divides those from 18 on by 32", () => {
    const rope_scaling = { rope_type: "yarn", factor: 32, truncate: false, original_max_position_embeddings: 4096 };
    const { frequencies } = rotaryFrequencies({ head_dim: 64, rope_theta: 150000, rope_scaling });
    const plain = plainFrequencies(150000, 64);
    // (64 / 2)·ln(4096 / (32·2π)) / ln 150000 = 8.09…, and 17.39… for one turn.
    const isLeft = plain.map((frequency, j) => Math.abs(frequencies[j]! / frequency - 1) < 1e-12);
    const isDivided = plain.map((frequency, j) => Math.abs((32 * frequencies[j]!) / frequency - 1) < 1e-12);
    expect([isLeft.lastIndexOf(true), isDivided.indexOf(true)]).toEqual([8, 18]);
  });
});

describe("longrope", () => {
  const short_factor = [1, 1.25, 1.5, 2];
  const long_factor = [1.5, 4, 16, 64];
  const config = { head_dim: 8, max_position_embeddings: 131072, original_max_position_embeddings: 4096 };
  const divided = (factors: readonly number[]) =>
    plainFrequencies(10000, 8).map((frequency, j) => frequency / factors[j]!);

  it.each([
    [undefined, short_factor],
    [4096, short_factor],
    [4097, long_factor],
    [131072, long_factor],
  ])("follows the context: %s", (seqLen, factors) => {
    for (const type of ["longrope", "su"]) {
      const got = rotaryFrequencies({ ...config, rope_scaling: { type, short_factor, long_factor } }, { seqLen });
      expectClose(got.frequencies, divided(factors));
      // √(1 + ln 32 / ln 4096) = √(1 + 5 / 12).
      expectClose([got.attentionScale], [1.1902380714238083]);
    }
  });

  it.each<[string, object, number | undefined, number]>([
    ["a scale of its own", { attention_factor: 1.5 }, 9000, 1.5],
    ["Phi-3.5-MoE, short", { short_mscale: 1.2, long_mscale: 1.3 }, 4096, 1.2],
    ["Phi-3.5-MoE, long", { short_mscale: 1.2, long_mscale: 1.3 }, 4097, 1.3],
    ["a factor", { factor: 16 }, 9, 1.1547005383792515],
    ["a factor of 1", { factor: 1 }, 9, 1],
  ])("has the scale of the config: %s", (_, more, seqLen, scale) => {
    const rope_scaling = { rope_type: "longrope", short_factor, long_factor, ...more };
    expectClose([rotaryFrequencies({ ...config, rope_scaling }, { seqLen }).attentionScale], [scale]);
  });
});
