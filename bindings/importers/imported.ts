// What every importer returns, and the two things that several of them need: the number of heads, and q, k and v out of
// one matrix.

import { checkInteger } from "../check.ts";
import type { LinearWeights } from "../layer/linear-weights.ts";
import type { LayerDefaults, MultiHeadAttentionOptions, MultiHeadWeights } from "../layer/options.ts";
import { type NamedTensor, checkSizes, columnsOf, rowsOf } from "./state-dict.ts";

/**
 * What the importers return: spread it into the options of `createMultiHeadAttention`, and add what no weights say.
 *
 * @category Importers
 */
export type ImportedLayer = Pick<
  MultiHeadAttentionOptions,
  "embedDim" | "headDim" | "numKvHeads" | "valueDim" | "outDim"
> &
  LayerDefaults & { numHeads?: number; kvDim: { k: number; v: number }; weights: MultiHeadWeights };

/** Where the layer stands in a state dict. @category Importers */
export interface ImportOptions<N extends number | undefined = number | undefined> {
  /**
   * The part of every name before the layer's own, such as "encoder.layers.0.self_attn". The last separator may be left
   * out. Default "".
   */
  prefix?: string | undefined;
  /** Query heads. Weights alone do not say it: give it here, or beside the imported options. */
  numHeads?: N;
}

/** An {@link ImportedLayer} whose type says whether it has `numHeads`. */
export type Imported<N> = Omit<ImportedLayer, "numHeads"> & Heads<N>;

/** The number of query heads, where the caller gave it. */
type Heads<N> = N extends number ? { numHeads: number } : { numHeads?: never };

/** Checks `numHeads`, where it was given. */
export function headsOf<N extends number | undefined>(numHeads: N | undefined): Heads<N> {
  const heads = numHeads === undefined ? {} : { numHeads: checkInteger("numHeads", numHeads, 1) };
  return heads as Heads<N>;
}

/**
 * The layer whose q, k and v stand side by side in one matrix and one bias.
 *
 * @param matrix [embedDim, q + k + v], where q, k and v are the three `sizes`
 * @param bias [q + k + v]
 * @param out the projection back, which such formats store apart
 */
export function sideBySide(
  matrix: NamedTensor,
  bias: NamedTensor | undefined,
  sizes: readonly [number, number, number],
  out: LinearWeights | undefined,
): Omit<ImportedLayer, "numHeads"> {
  const embedDim = matrix.shape[0]!;
  const total = sizes[0] + sizes[1] + sizes[2];
  checkSizes(matrix, "[embedDim, q + k + v]", embedDim, total);
  if (bias) checkSizes(bias, "[q + k + v]", total);
  let end = 0;
  const [q, k, v] = sizes.map((size) => {
    const start = end;
    end += size;
    return { weight: columnsOf(matrix, start, end), bias: bias && rowsOf(bias, start, end), transposed: true };
  }) as [LinearWeights, LinearWeights, LinearWeights];
  return { embedDim, kvDim: { k: embedDim, v: embedDim }, weights: { q, k, v, out } };
}
