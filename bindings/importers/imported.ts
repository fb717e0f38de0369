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
export function layerOf([q, k, v]: Fused, out: Projection | undefined): Layer {
  const inFeatures = ({ weight, transposed }: Projection): number => weight.shape[transposed ? 0 : 1]!;
  return {
    embedDim: inFeatures(q),
    kvDim: { k: inFeatures(k), v: inFeatures(v) },
    ...(out && { outDim: out.weight.shape[out.transposed ? 1 : 0]! }),
    weights: { q, k, v, out },
  };
}

/** The projections q, k and v. */
export type Fused = readonly [q: Projection, k: Projection, v: Projection];

/** The outFeatures of q, k and v. */
export type Sizes = readonly [q: number, k: number, v: number];

/**
 * q, k and v, whose biases stand in one.
 *
 * @param weights of q, k and v
 * @param bias [q + k + v], `groups` times, where q, k and v are the three `sizes`
 */
export function withBiases(
  weights: readonly Weight[],
  bias: NamedTensor | undefined,
  sizes: Sizes,
  groups = 1,
  transposed?: true,
): Fused {
  sized(bias, "[q + k + v]", groups * (sizes[0] + sizes[1] + sizes[2]));
  const biases = bias ? partsOf(bias, sizes, groups) : [];
  return weights.map((weight, n) => ({ weight, bias: biases[n], transposed })) as unknown as Fused;
}

/**
 * q, k and v that stand in one matrix and in one bias.
 *
 * @param matrix [q + k + v, embedDim], or transposed
 * @param sizes the outFeatures of q, k and v in a group, of which there are `groups`
 */
export function fusedOf(
  matrix: NamedTensor,
  bias: NamedTensor | undefined,
  sizes: Sizes,
  groups?: number,
  transposed?: true,
): Fused {
  const total = (groups ?? 1) * (sizes[0] + sizes[1] + sizes[2]);
  if (transposed) sized(matrix, "[embedDim, q + k + v]", undefined, total);
  else sized(matrix, "[q + k + v, embedDim]", total, undefined);
  return withBiases(partsOf(matrix, sizes, groups, transposed), bias, sizes, groups, transposed);
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
