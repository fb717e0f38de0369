import { type FloatRows, type HalfArray, halves, shaped, shapedHalves } from "../memory/data.ts";
import { ARRANGEMENT_NAMES, type Layout } from "../memory/layout.ts";
import type { Rows } from "../memory/output.ts";
import { type Names, nested } from "../options.ts";

/**
 * What `attention` takes besides q, k and v. Every option combines with every other. The types of `out` and `lse` decide
 * what the call returns.
 *
 * @category Attention
 */
export interface AttentionOptions<
  Out extends FloatRows | undefined = FloatRows | undefined,
  Lse extends boolean | Rows | undefined = boolean | Rows | undefined,
> {
  /** Query heads. */
  numHeads: number;
  /** Floats in a row of q and of k. */
  headDim: number;
  /**
   * KV heads; divides numHeads. Query head h reads KV head floor(h / (numHeads / numKvHeads)) (grouped-query attention,
   * https://arxiv.org/abs/2305.13245). Default numHeads.
   */
  numKvHeads?: number | undefined;
  /** Floats in a row of v and of out. Default headDim. */
  valueDim?: number | undefined;
  /** Default 1; with packed sequences (cuSeqlensQ) it stays 1. */
  batch?: number | undefined;
  /** The layout of q, k, v and out. Default "blhd". Packed sequences: [total, heads, dim] or [heads, total, dim]. */
  layout?: Layout | undefined;
  /** Factor of q·k. Default 1/√headDim. */
  scale?: number | undefined;
  /** Query i sees key j only if j ≤ i + queryOffset. Default false. */
  causal?: boolean | undefined;
  /**
   * The position of query 0 among the keys: one number, or one for each sequence, from −2³⁰ to 2³⁰. Default (valid
   * keys) − seqLenQ, so that the last query stands at the last key. 0 aligns the first query with the first key.
   */
  queryOffset?: number | Int32Array | undefined;
  /**
   * Query i sees key j only if i + queryOffset − left ≤ j ≤ i + queryOffset + right (sliding window,
   * https://arxiv.org/abs/2004.05150). Default unlimited.
   */
  window?: { left?: number | undefined; right?: number | undefined } | undefined;
  /** The number of valid keys of each sequence. They come first; the keys behind them are never read. Default all. */
  kvLengths?: Int32Array | undefined;
  /**
   * A byte for each score, 0 for a key that is masked. Broadcasts, right-aligned, to [batch, numHeads, seqLenQ,
   * seqLenKv] ([1, numHeads, totalQ, totalKv] if packed).
   */
  keepMask?: { data: Uint8Array; shape: readonly number[] } | undefined;
  /**
   * Added to the scores, broadcast like keepMask; −Infinity masks a key. A Uint16Array comes with its `dtype`: "f16" or
   * "bf16".
   */
  bias?:
    | { data: Exclude<FloatRows, HalfArray>; shape: readonly number[] }
    | (HalfArray & { shape: readonly number[] })
    | undefined;
  /** [numHeads] or [batch·numHeads]: score −= slope·|i + queryOffset − j| (ALiBi, https://arxiv.org/abs/2108.12409). */
  alibiSlopes?: FloatRows | undefined;
  /** c > 0: score = c·tanh(score/c) (Gemma 2, https://arxiv.org/abs/2408.00118). Default off. */
  softcap?: number | undefined;
  /**
   * Shape [numHeads]: one more logit for each query head, which counts in the denominator only; it is not scaled,
   * capped or masked (gpt-oss, https://arxiv.org/abs/2508.10925).
   */
  sinks?: FloatRows | undefined;
  /**
   * True: a call with at most four query rows a KV head adds up in the order of a call with more, so that a token has
   * the bits that it has as part of a prompt, at the price of speed. Nothing to `attentionWeights`. Default false.
   */
  reproducible?: boolean | undefined;
  /**
   * "half": the products q·k and P·v in integers of 13 bits, about twice as fast with plain SIMD. The error is that of
   * rounding q, k and v to binary16; scores, softmax and sums stay f32. Rows that integers cannot hold (values that are
   * not finite, or all of them below 2⁻⁴⁰ or one of 2⁴⁰ or more), calls with at most four query rows a KV head, and dims that are no multiples
   * of eight are computed in full. Nothing to `attentionWeights`. Default "full".
   */
  precision?: "full" | "half" | undefined;
  /**
   * Shape [sequences + 1]: packed sequences. Sequence s has the rows of q from cuSeqlensQ[s] to cuSeqlensQ[s + 1] − 1,
   * and attends to no key of another sequence.
   */
  cuSeqlensQ?: Int32Array | undefined;
  /** The same for the rows of k and v. Default cuSeqlensQ. */
  cuSeqlensKv?: Int32Array | undefined;
  /**
   * Where to write the result, [batch, seqLenQ, numHeads, valueDim] in `layout`. Floats of 16
   * bits are rounded to nearest even; f16 saturates finite values at ±65 504. Default a fresh Float32Array.
   */
  out?: Out | undefined;
  /**
   * Where to write the natural logarithm of each softmax denominator, [batch, numHeads, seqLenQ] ([numHeads, totalQ] if
   * packed). true for a fresh array. Default none.
   */
  lse?: Lse | undefined;
}

/** The two sides of `window`. */
export const WINDOW_NAMES: Names<NonNullable<AttentionOptions["window"]>> = { left: 0, right: 0 };

/** The options that say what is computed, but for the sizes. */
export const SCORE_NAMES = {
  scale: 0,
  causal: 0,
  queryOffset: 0,
  window: nested(WINDOW_NAMES),
  keepMask: shaped,
  bias: shapedHalves,
  alibiSlopes: halves,
  softcap: 0,
  sinks: halves,
  reproducible: 0,
  precision: 0,
} as const;

/** The options of a call over arrays, but for its outputs. */
export const PROBLEM_NAMES = {
  ...SCORE_NAMES,
  ...ARRANGEMENT_NAMES,
  headDim: 0,
  numKvHeads: 0,
  valueDim: 0,
  kvLengths: 0,
  cuSeqlensQ: 0,
  cuSeqlensKv: 0,
} as const;

/** The options of `attention`. */
export const ATTENTION_NAMES: Names<AttentionOptions> = { ...PROBLEM_NAMES, out: halves, lse: 0 };
