import { type AttentionOptions, PROBLEM_NAMES } from "../attention/options.ts";
import type { Rows, Written } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";
import { type Names, elements } from "../options.ts";

/**
 * How far the computation goes: scale·q·k, then softcap, then ALiBi, bias and masks, then the softmax.
 *
 * @category Weights to look at
 */
export type Stage = "scores" | "softcap" | "masked" | "softmax";

/**
 * What `attentionWeights` takes besides q and k: every option of `attention` that says what is computed, and what to
 * return of it. The types of `weights`, `topK` and `entropy` decide what the call returns.
 *
 * @category Weights to look at
 */
export interface WeightsOptions<
  Weights extends Rows | undefined = Rows | undefined,
  TopK extends number | undefined = number | undefined,
  Entropy extends boolean | Rows | undefined = boolean | Rows | undefined,
> extends Omit<AttentionOptions, "out" | "lse"> {
  /**
   * The lse of all query rows and heads, [batch, numHeads, seqLenQ], as `attention` returned it: it gives the
   * denominators. By default they are computed for the chosen rows.
   */
  lse?: Float32Array | Tensor | undefined;
  /** Query rows, from 0 to seqLenQ − 1 (totalQ − 1 if packed), in the order in which they are returned. Default all. */
  rows?: Int32Array | readonly number[] | undefined;
  /** Query heads, from 0 to numHeads − 1, in the order in which they are returned. Default all. */
  heads?: Int32Array | readonly number[] | undefined;
  /** "mean" averages the heads, [batch, rows, seqLenKv]; "keySum" adds up the rows, [batch, heads, seqLenKv]. */
  reduce?: "mean" | "keySum" | undefined;
  /**
   * Returns only the topK largest of the weights of each row, and their keys; at most seqLenKv of them. Default all
   * weights.
   */
  topK?: TopK | undefined;
  /**
   * Where to write the entropy of each row in nats, −Σ w·ln w over its keys, [batch, heads, rows]. true for a fresh
   * array. Default none.
   */
  entropy?: Entropy | undefined;
  /**
   * Returns the scores as they are after a step instead of the weights; see {@link Stage}. Without lse, reduce, topK
   * and entropy. Default "softmax".
   */
  stage?: Stage | undefined;
  /** Where to write the weights. Default a fresh Float32Array. */
  weights?: Weights | undefined;
  /** Where to write the indices of topK. Default a fresh Int32Array. */
  indices?: Int32Array | undefined;
}

/**
 * What `attentionWeights` returns; `Weights`, `TopK` and `Entropy` are the types of these three options.
 *
 * @category Weights to look at
 */
export type WeightsResult<
  Weights = Rows | undefined,
  TopK = number | undefined,
  Entropy = boolean | Rows | undefined,
> = {
  /**
   * [batch, heads, rows, seqLenKv] (packed: totalKv), or as `reduce` says; with `topK` the last dimension is min(topK,
   * seqLenKv).
   */
  weights: Written<Weights>;
} & ([TopK] extends [number]
  ? {
      /** The keys of the weights, largest weight first; of equal ones the first key first. */
      indices: Int32Array;
    }
  : { indices?: Int32Array }) &
  ([Entropy] extends [true | Rows]
    ? {
        /** [batch, heads, rows] */
        entropy: Written<Entropy>;
      }
    : { entropy?: Written<Entropy> });

/** The options that say which outputs there are and where they go. */
export type WeightsOutputOptions = Pick<WeightsOptions, "weights" | "topK" | "indices" | "entropy">;

/** The options that do not change the attention weights, but say which of them are returned, and in what form. */
export type SelectionOptions = WeightsOutputOptions &
  Pick<WeightsOptions, "lse" | "rows" | "heads" | "reduce" | "stage">;

/** How the options are read that say which weights are returned, and in what form. */
export const CHOICE_NAMES = {
  rows: elements,
  heads: elements,
  reduce: 0,
  topK: 0,
  entropy: 0,
  stage: 0,
  weights: 0,
  indices: 0,
} as const;

/** The options of `attentionWeights`. */
export const WEIGHTS_NAMES: Names<WeightsOptions> = { ...PROBLEM_NAMES, ...CHOICE_NAMES, lse: 0 };
