import type { AttentionOptions } from "../attention/options.ts";
import type { Written } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";

/**
 * How far the computation goes: scale·q·k, then softcap, then ALiBi, bias and masks, then the softmax.
 *
 * @category Weights to look at
 */
export type Stage = "scores" | "softcap" | "masked" | "softmax";

/**
 * What `attentionWeights` takes besides q and k: every option of `attention` that says what is computed, and what to
 * return of it.
 *
 * @category Weights to look at
 */
export interface WeightsOptions extends Omit<AttentionOptions, "out" | "lse"> {
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
  topK?: number | undefined;
  /**
   * Where to write the entropy of each row in nats, −Σ w·ln w over its keys, [batch, heads, rows]. true for a fresh
   * array. Default none.
   */
  entropy?: boolean | Float32Array | Tensor | undefined;
  /**
   * Returns the scores as they are after a step instead of the weights; see {@link Stage}. Without lse, reduce, topK
   * and entropy. Default "softmax".
   */
  stage?: Stage | undefined;
  /** Where to write the weights. Default a fresh Float32Array. */
  weights?: Float32Array | Tensor | undefined;
  /** Where to write the indices of topK. Default a fresh Int32Array. */
  indices?: Int32Array | undefined;
}

/** What `attentionWeights` returns. @category Weights to look at */
export type WeightsResult<O extends WeightsOutputOptions = WeightsOutputOptions> = {
  /**
   * [batch, heads, rows, seqLenKv] (packed: totalKv), or as `reduce` says; with `topK` the last dimension is min(topK,
   * seqLenKv).
   */
  weights: Written<O["weights"]>;
} & (O["topK"] extends number
  ? {
      /** The keys of the weights, largest weight first; of equal ones the first key first. */
      indices: Int32Array;
    }
  : { indices?: Int32Array }) &
  (O["entropy"] extends true | Float32Array | Tensor
    ? {
        /** [batch, heads, rows] */
        entropy: Written<O["entropy"]>;
      }
    : { entropy?: Written<O["entropy"]> });

/** The options that say which outputs there are and where they go. */
export type WeightsOutputOptions = Pick<WeightsOptions, "weights" | "topK" | "indices" | "entropy">;

/** The options that do not change the attention weights, but say which of them are returned, and in what form. */
export type SelectionOptions = WeightsOutputOptions &
  Pick<WeightsOptions, "lse" | "rows" | "heads" | "reduce" | "stage">;
