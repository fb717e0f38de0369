import type { Heed } from "../../bindings/heed.ts";
import type { MultiHeadAttention } from "../../bindings/layer/multi-head-attention.ts";
import type { LinearWeights } from "../../bindings/layer/linear-weights.ts";
import { ULP, floorOf, largest } from "./budget.ts";
import { linearReference } from "./linear.ts";
import type { Problem } from "./problems.ts";
import { floats, uniform } from "./random.ts";
import { type Answer, type PlainOptions, reference } from "./reference.ts";
import { type PlainRotaryOptions, rotaryReference } from "./rotary.ts";
import { type Round, dot, exactly } from "./rounding.ts";

/** The sizes of a layer, all of them. */
export interface Dims {
  embedDim: number;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  valueDim: number;
  kvDim: { k: number; v: number };
  outDim: number;
}

type Floats = Float32Array<ArrayBuffer>;

/** A projection with its shape. */
export interface Projection extends LinearWeights {
  weight: { data: Floats; shape: [number, number] };
  bias?: Floats;
}

export interface Projections {
  q: Projection;
  k: Projection;
  v: Projection;
  out?: Projection;
}

/** What a call of the layer computes, with every default filled in by the caller. */
export interface PlainForward {
  batch: number;
  /** Rows for k and v; x where there is none. */
  context?: { k: Floats; v: Floats };
  rotary?: Omit<PlainRotaryOptions, "numHeads" | "headDim" | "batch" | "positions">;
  positions?: PlainRotaryOptions["positions"];
  kPositions?: PlainRotaryOptions["positions"];
  attention: Omit<PlainOptions, "numHeads" | "numKvHeads" | "headDim" | "valueDim" | "batch">;
}

/** Some sizes, and small ones for the rest. */
export function dimsOf(sizes: Partial<Dims> = {}): Dims {
  const { numHeads = 4, embedDim = 24, numKvHeads = numHeads, headDim = 8, valueDim = headDim } = sizes;
  return {
    numHeads,
    embedDim,
    numKvHeads,
    headDim,
    valueDim,
    kvDim: sizes.kvDim ?? { k: embedDim, v: embedDim },
    outDim: sizes.outDim ?? embedDim,
  };
}

/** Random weights whose products have a variance of about 1. */
export function projectionsOf(dims: Dims, next: () => number, biased = true, projected = true): Projections {
  const of = (outFeatures: number, inFeatures: number): Projection => ({
    weight: {
      data: floats(outFeatures * inFeatures, next).map((x) => x / Math.sqrt(inFeatures)),
      shape: [outFeatures, inFeatures],
    },
    ...(biased && { bias: floats(outFeatures, next) }),
  });
  const { embedDim, numHeads, numKvHeads, headDim, valueDim, kvDim, outDim } = dims;
  return {
    q: of(numHeads * headDim, embedDim),
    k: of(numKvHeads * headDim, kvDim.k),
    v: of(numKvHeads * valueDim, kvDim.v),
    ...(projected && { out: of(outDim, numHeads * valueDim) }),
  };
}

/** A layer with random weights, and those. */
export function makeLayer(
  heed: Heed,
  sizes: Partial<Dims> = {},
  more: object = {},
  seed = 5,
): { layer: MultiHeadAttention; dims: Dims; weights: Projections } {
  const dims = dimsOf(sizes);
  const weights = projectionsOf(dims, uniform(seed));
  return { layer: heed.createMultiHeadAttention({ ...dims, ...more, weights }), dims, weights };
}

/**
 * The layer step by step over the references of its parts. `round` as there: `exactly` makes it the oracle in f64,
 * Math.fround the plain f32 implementation.
 */
export function layerReference(
  x: Floats,
  projections: Projections,
  dims: Dims,
  plain: PlainForward,
  round: Round = exactly,
): Answer {
  const { q, k, v, options } = projected(x, projections, dims, plain, round);
  const answer = reference(q, k, v, options, round);
  const { out } = projections;
  return out ? { ...answer, out: project(answer.out, out, round) } : answer;
}

// The references compute with whatever numbers they are given, so that the oracle's stay in f64 all the way.
function project(rows: ArrayLike<number>, { weight, bias }: Projection, round: Round): Float64Array {
  const [outFeatures, inFeatures] = weight.shape;
  return linearReference(rows, { weight: weight.data, bias, inFeatures, outFeatures }, round);
}

/** The problem of attention between the projections. */
function projected(
  x: Floats,
  projections: Projections,
  { numHeads, numKvHeads, headDim, valueDim }: Dims,
  { batch, context, rotary, positions = 0, kPositions = 0, attention }: PlainForward,
  round: Round,
): Problem {
  const turn = (rows: Float64Array, heads: number, at: PlainRotaryOptions["positions"]): unknown => {
    const options = { ...rotary, numHeads: heads, headDim, batch, positions: at };
    return rotary ? rotaryReference(rows as unknown as Floats, options, round) : rows;
  };
  return {
    q: turn(project(x, projections.q, round), numHeads, positions) as Floats,
    k: turn(project(context?.k ?? x, projections.k, round), numKvHeads, kPositions) as Floats,
    v: project(context?.v ?? x, projections.v, round) as unknown as Floats,
    options: { ...attention, numHeads, numKvHeads, headDim, valueDim, batch },
  };
}

/**
 * The floor for layers of so few elements that the plain implementation may be exact by luck, see `floorOf` of
 * attention. Between the two stand three more roundings of any implementation: of q and of k, by half an ulp each,
 * which moves a score by 1 ulp of the largest Σ|q·k|·scale; of v, by half an ulp. What attention is off by, the
 * projection back multiplies by at most the largest Σ|w| of its rows, and adds half an ulp of the sum and of its bias.
 */
export function layerFloor(x: Floats, projections: Projections, dims: Dims, plain: PlainForward, exact: Answer) {
  const problem = projected(x, projections, dims, plain, exactly);
  const { q, k, v, options } = problem;
  const floor = floorOf(problem, exact);
  const score = ULP * largestScore(q, k, options.headDim) * Math.abs(options.scale ?? options.headDim ** -0.5);
  floor.lse += score;
  floor.out += (score + 0.5 * ULP) * largest(v);
  const { out } = projections;
  if (out) {
    const [rows, columns] = out.weight.shape;
    const sums = Array.from({ length: rows }, (_, row) =>
      out.weight.data.subarray(row * columns, (row + 1) * columns).reduce((sum, w) => sum + Math.abs(w), 0),
    );
    floor.out = floor.out * largest(sums) + ULP * largest(exact.out);
  }
  return floor;
}

/** The largest Σ|q·k| of any two rows of any heads. */
function largestScore(q: Floats, k: Floats, headDim: number): number {
  const [absQ, absK] = [q.map(Math.abs), k.map(Math.abs)];
  let most = 0;
  for (let i = 0; i < q.length; i += headDim) {
    for (let j = 0; j < k.length; j += headDim) most = Math.max(most, dot(absQ, i, absK, j, headDim, exactly));
  }
  return most;
}
