// Frequencies of models by formulas in f64, from the papers, with the powers and logarithms of JavaScript.
import { expect } from "vitest";

/** Numbers of a config, by the names of Hugging Face. */
export type Numbers = Readonly<Record<string, number>>;

/** 1 / base^(2j / dim): RoFormer, equation 15. */
export function plainFrequencies(base: number, dim: number): number[] {
  return Array.from({ length: dim / 2 }, (_, j) => 1 / base ** ((2 * j) / dim));
}

/** NTK-aware, by the ratio of contexts: the base of YaRN, appendix B.2. */
export function dynamicFrequencies(base: number, dim: number, factor: number, seqLen: number, most: number): number[] {
  const ratio = (factor * Math.max(seqLen, most)) / most - factor + 1;
  return plainFrequencies(base * ratio ** (dim / (dim - 2)), dim);
}

/**
 * YaRN: the pair that turns `turns` times in the context has the wavelength context / turns = 2π·base^(2d / dim), which
 * gives d. Below the pair of beta_fast nothing is divided, above that of beta_slow all is.
 */
export function yarnFrequencies(
  base: number,
  dim: number,
  { factor, context, betaFast = 32, betaSlow = 1 }: Numbers,
  isRounded: boolean,
): number[] {
  const pairThatTurns = (turns: number) => (dim / 2) * (Math.log(context! / turns / 2 / Math.PI) / Math.log(base));
  const ends = [pairThatTurns(betaFast), pairThatTurns(betaSlow)] as const;
  const from = Math.max(0, isRounded ? Math.floor(ends[0]) : ends[0]);
  let to = Math.min(dim - 1, isRounded ? Math.ceil(ends[1]) : ends[1]);
  if (to <= from) to = from + 1e-3;
  return plainFrequencies(base, dim).map((frequency, j) => {
    if (j <= from) return frequency;
    if (j >= to) return frequency / factor!;
    const divided = (j - from) / (to - from);
    return divided * (frequency / factor!) + (1 - divided) * frequency;
  });
}

/** What YaRN multiplies queries and keys by: equation 22, √(1 / t) = 0.1·ln s + 1. */
export const yarnScale = (factor: number, slope = 1): number => (factor <= 1 ? 1 : 1 + slope * Math.log(factor) * 0.1);

/** Llama 3.1, by wavelengths. */
export function llama3Frequencies(
  base: number,
  dim: number,
  { factor, low, high, context }: { factor: number; low: number; high: number; context: number },
): number[] {
  return plainFrequencies(base, dim).map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < context / high) return frequency;
    if (wavelength > context / low) return frequency / factor;
    const smooth = (context / wavelength - low) / (high - low);
    return frequency * (smooth + (1 - smooth) / factor);
  });
}

/**
 * Expects the largest relative error to be that of f64: a power of Math is off by some units, and a logarithm that the
 * ramp divides by a difference of 1 at least is too.
 */
export function expectClose(got: ArrayLike<number>, expected: readonly number[]): void {
  expect(got).toHaveLength(expected.length);
  expected.forEach((value, j) => {
    expect(Math.abs(got[j]! - value), `${j}`).toBeLessThanOrEqual(2 ** -46 * Math.abs(value));
  });
}

/** What `config.json` of Llama 3.1 8B says. */
export const llama31 = {
  hidden_size: 4096,
  num_attention_heads: 32,
  max_position_embeddings: 131072,
  rope_theta: 500000,
  rope_scaling: {
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
    rope_type: "llama3",
  },
};
