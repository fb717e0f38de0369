// What every importer returns, and what several of them need: the number of heads, and the layer of given projections.

import { checkInteger } from "../check.ts";
import type { Weight } from "../layer/linear-weights.ts";
import type { LayerDefaults, MultiHeadAttentionOptions, MultiHeadWeights } from "../layer/options.ts";
import { type NamedTensor, type NamedTensors, partsOf, sized } from "./state-dict.ts";

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

/** An {@link ImportedLayer} before the number of heads. */
export type Layer = Omit<ImportedLayer, "numHeads">;

/** A projection whose weight has a shape: [outFeatures, inFeatures], or transposed. */
export interface Projection {
  weight: Weight;
  bias: Weight | undefined;
  transposed?: true | undefined;
}

/** The layer of the projections q, k and v, and the one back. */
export function layerOf([q, k, v]: readonly [Projection, Projection, Projection], out: Projection | undefined): Layer {
  const inFeatures = ({ weight, transposed }: Projection): number => weight.shape[transposed ? 0 : 1]!;
  return { embedDim: inFeatures(q), kvDim: { k: inFeatures(k), v: inFeatures(v) }, weights: { q, k, v, out } };
}

/**
 * q, k and v, whose biases stand one behind the other in one.
 *
 * @param weights of q, k and v
 * @param bias [q + k + v], where q, k and v are the three `sizes`
 */
export function withBiases(
  weights: readonly Weight[],
  bias: NamedTensor | undefined,
  sizes: Sizes,
  transposed?: true,
): [Projection, Projection, Projection] {
  sized(bias, "[q + k + v]", sizes[0] + sizes[1] + sizes[2]);
  const biases = bias ? partsOf(bias, sizes) : [];
  return weights.map((weight, n) => ({ weight, bias: biases[n], transposed })) as [Projection, Projection, Projection];
}

/** The outFeatures of q, k and v. */
export type Sizes = readonly [q: number, k: number, v: number];

/** q, k and v that stand side by side in one matrix, [embedDim, q + k + v], and in one bias. */
export function sideBySide(
  matrix: NamedTensor,
  bias: NamedTensor | undefined,
  sizes: Sizes,
): [Projection, Projection, Projection] {
  sized(matrix, "[embedDim, q + k + v]", undefined, sizes[0] + sizes[1] + sizes[2]);
  return withBiases(partsOf(matrix, sizes, true), bias, sizes, true);
}

/**
 * A projection that stands alone.
 *
 * @param names how tensors may be called: their weight `NAME.weight` and, where there is one, their bias `NAME.bias`
 * @param what the shape of the weight in words, for errors
 * @param sizes those of the weight that are known
 */
export function projectionOf(
  tensors: NamedTensors,
  names: readonly string[],
  what: string,
  sizes: readonly [number | undefined, number | undefined],
  transposed?: true,
): Projection {
  const weight = sized(tensors.get(...names.map((name) => `${name}.weight`)), what, ...sizes);
  const bias = tensors.find(...names.map((name) => `${name}.bias`));
  return { weight, bias: sized(bias, "[outFeatures]", weight.shape[transposed ? 1 : 0]), transposed };
}
