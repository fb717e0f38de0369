import type { AttentionOptions } from "../attention/options.ts";
import { checkBoolean, checkInteger, checkObject, wrongKind, wrongValue } from "../check.ts";
import type { Arena } from "../memory/arena.ts";
import type { RotaryForm } from "../rotary/options.ts";
import { type CheckedWeight, type LinearWeights, checkWeight } from "./linear-weights.ts";

/** The projections of a layer. */
export interface MultiHeadWeights {
  /** [numHeads·headDim, embedDim] */
  q: LinearWeights;
  /** [numKvHeads·headDim, kvDim.k] */
  k: LinearWeights;
  /** [numKvHeads·valueDim, kvDim.v] */
  v: LinearWeights;
  /** [outDim, numHeads·valueDim]. Without it the heads come out as they are, side by side. */
  out?: LinearWeights | undefined;
}

/** How a layer turns q and k by their positions, see `Heed.rotary`. */
export type LayerRotary = RotaryForm;

/** Options of attention that belong to a model: `forward` takes them from the layer where it is given none. */
export type LayerDefaults = Pick<AttentionOptions, "scale" | "causal" | "window" | "softcap" | "alibiSlopes" | "sinks">;

/** What a layer is. Sizes that are left out follow from the shapes of the weights, where they bring them. */
export interface MultiHeadAttentionOptions extends LayerDefaults {
  /** Query heads. */
  numHeads: number;
  /** Floats in a row of x. Default inFeatures of weights.q. */
  embedDim?: number | undefined;
  /** KV heads, a divisor of numHeads. Default what weights.k gives at headDim, or numHeads. */
  numKvHeads?: number | undefined;
  /** Floats in a row of a head of q and k. Default what weights.q gives, or embedDim / numHeads. */
  headDim?: number | undefined;
  /** Floats in a row of a head of v. Default what weights.v gives, or headDim. */
  valueDim?: number | undefined;
  /** Floats in a row of the context, or of those for k and for v. Default what weights.k and weights.v take, or embedDim. */
  kvDim?: number | { k: number; v: number } | undefined;
  /** Floats in a row of out. Default what weights.out gives, or embedDim. */
  outDim?: number | undefined;
  /** Whether every projection must bring a bias, or none may. Default as they come. */
  bias?: boolean | undefined;
  /** Turns q and k by their positions; true for all of headDim, base 10000, in halves. Default false. */
  rotary?: boolean | LayerRotary | undefined;
  /** May come later, by `setWeights`. */
  weights?: MultiHeadWeights | undefined;
}

/** The sizes of a layer, settled. */
export interface LayerDims {
  embedDim: number;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  valueDim: number;
  kvDim: { k: number; v: number };
  outDim: number;
}

export function checkDims(options: MultiHeadAttentionOptions): LayerDims {
  checkObject("options", options);
  const { weights } = options;
  if (weights !== undefined) checkObject("weights", weights);
  const numHeads = checkInteger("numHeads", options.numHeads, 1);
  const [q, k, v, out] = [weights?.q, weights?.k, weights?.v, weights?.out].map(featuresOf);
  const embedDim = checkInteger("embedDim", options.embedDim ?? q?.inFeatures, 1);
  const headDim =
    options.headDim ??
    (q?.outFeatures === undefined
      ? quotient("embedDim", embedDim, numHeads, "numHeads")
      : quotient("outFeatures of weights.q", q.outFeatures, numHeads, "numHeads"));
  checkInteger("headDim", headDim, 1);
  const numKvHeads =
    options.numKvHeads ??
    (k?.outFeatures === undefined ? numHeads : quotient("outFeatures of weights.k", k.outFeatures, headDim, "headDim"));
  checkInteger("numKvHeads", numKvHeads, 1);
  if (numHeads % numKvHeads !== 0) throw wrongValue("numKvHeads", `a divisor of ${numHeads} (numHeads)`, numKvHeads);
  const valueDim =
    options.valueDim ??
    (v?.outFeatures === undefined
      ? headDim
      : quotient("outFeatures of weights.v", v.outFeatures, numKvHeads, "numKvHeads"));
  checkInteger("valueDim", valueDim, 1);
  const kvDim = checkKvDim(options.kvDim, k?.inFeatures ?? embedDim, v?.inFeatures ?? embedDim);
  const outDim = checkInteger("outDim", options.outDim ?? out?.outFeatures ?? embedDim, 1);
  return { embedDim, numHeads, numKvHeads, headDim, valueDim, kvDim, outDim };
}

function checkKvDim(kvDim: unknown, k: number, v: number): { k: number; v: number } {
  if (kvDim === undefined) return { k, v };
  if (typeof kvDim === "number") {
    const both = checkInteger("kvDim", kvDim, 1);
    return { k: both, v: both };
  }
  if (typeof kvDim !== "object" || kvDim === null) throw wrongKind("kvDim", "an integer or { k, v }", kvDim);
  const { k: ofK, v: ofV } = kvDim as Partial<Record<string, unknown>>;
  return { k: checkInteger("kvDim.k", ofK, 1), v: checkInteger("kvDim.v", ofV, 1) };
}

/** What the shape of a projection's weight says of its sizes; whether it is right is checked when it is packed. */
function featuresOf(linear: unknown): { inFeatures?: number | undefined; outFeatures?: number | undefined } {
  const { weight, transposed } = (linear ?? {}) as { weight?: { shape?: unknown }; transposed?: unknown };
  const shape: unknown = weight?.shape;
  if (!Array.isArray(shape)) return {};
  const [outFeatures, inFeatures] = (transposed === true ? [shape[1], shape[0]] : shape) as (number | undefined)[];
  return { inFeatures, outFeatures };
}

function quotient(title: string, size: number, by: number, what: string): number {
  if (size % by !== 0) throw wrongValue(title, `a multiple of ${by} (${what})`, size);
  return size / by;
}

const NAMES = ["q", "k", "v", "out"] as const;

/** The weights of every projection, checked; `out` is undefined where there is none. */
export function checkWeights(
  arena: Arena,
  weights: MultiHeadWeights,
  dims: LayerDims,
  bias: boolean | undefined,
): (CheckedWeight | undefined)[] {
  checkObject("weights", weights);
  const { embedDim, numHeads, numKvHeads, headDim, valueDim, kvDim, outDim } = dims;
  const features = {
    q: { inFeatures: embedDim, outFeatures: numHeads * headDim },
    k: { inFeatures: kvDim.k, outFeatures: numKvHeads * headDim },
    v: { inFeatures: kvDim.v, outFeatures: numKvHeads * valueDim },
    out: { inFeatures: numHeads * valueDim, outFeatures: outDim },
  };
  return NAMES.map((name) => {
    const linear = weights[name];
    if (name === "out" && linear === undefined) return undefined;
    const title = `weights.${name}`;
    checkObject(title, linear);
    const titles = { weight: `${title}.weight`, bias: `${title}.bias`, transposed: `${title}.transposed` };
    if (bias === true && linear.bias === undefined) throw wrongKind(titles.bias, "a bias (bias is true)", undefined);
    if (bias === false && linear.bias !== undefined) {
      throw wrongKind(titles.bias, "nothing (bias is false)", linear.bias);
    }
    return checkWeight(arena, linear, features[name], titles);
  });
}

/** How a layer turns q and k, or undefined. */
export function checkLayerRotary(rotary: unknown): LayerRotary | undefined {
  if (rotary === undefined || typeof rotary === "boolean") return rotary === true ? {} : undefined;
  if (typeof rotary !== "object" || rotary === null) throw wrongKind("rotary", "a boolean or an object", rotary);
  return rotary;
}

export function checkBias(bias: unknown): boolean | undefined {
  return bias === undefined ? undefined : checkBoolean("bias", bias);
}
