import { type AttentionOptions, WINDOW_NAMES } from "../attention/options.ts";
import { checkBoolean, checkInteger, checkObject, wrongKind, wrongValue } from "../check.ts";
import { MAX_DIM, MAX_HEADS } from "../limits.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, floatsOf } from "../memory/data.ts";
import { Tensor } from "../memory/tensor.ts";
import { type Names, nested, record } from "../options.ts";
import { FORM_NAMES, type RotaryForm, checkForm } from "../rotary/options.ts";
import {
  type CheckedWeight,
  type Features,
  type LinearWeights,
  checkWeight,
  readLinearWeights,
} from "./linear-weights.ts";

/** The projections of a layer. @category Layer and linear */
export interface MultiHeadWeights {
  /** [numHeads·headDim, embedDim] */
  q: LinearWeights;
  /** [numKvHeads·headDim, kvDim.k] */
  k: LinearWeights;
  /** [numKvHeads·valueDim, kvDim.v] */
  v: LinearWeights;
  /** [outDim, numHeads·valueDim]. Without it `forward` returns the output of attention, head beside head. */
  out?: LinearWeights | undefined;
}

/** The rotary embedding that a layer applies to q and k, see `Heed.rotary`. @category Layer and linear */
export type LayerRotary = RotaryForm;

/**
 * The options of attention that belong to a model. `forward` takes them from the layer where the call does not give
 * them.
 */
export type LayerDefaults = Pick<AttentionOptions, "scale" | "causal" | "window" | "softcap" | "alibiSlopes" | "sinks">;

/**
 * The sizes, weights and defaults of a layer. Sizes that are left out follow from the shapes of the weights.
 *
 * @category Layer and linear
 */
export interface MultiHeadAttentionOptions extends LayerDefaults {
  /** Query heads. */
  numHeads: number;
  /** Floats in a row of x. Default inFeatures of weights.q. */
  embedDim?: number | undefined;
  /** KV heads, a divisor of numHeads. Default outFeatures of weights.k / headDim, or numHeads. */
  numKvHeads?: number | undefined;
  /** Floats of a head in a row of q and of k. Default outFeatures of weights.q / numHeads, or embedDim / numHeads. */
  headDim?: number | undefined;
  /** Floats of a head in a row of v. Default outFeatures of weights.v / numKvHeads, or headDim. */
  valueDim?: number | undefined;
  /**
   * Floats in a row of the context, or of the contexts of k and of v. Default inFeatures of weights.k and v, or
   * embedDim.
   */
  kvDim?: number | { k: number; v: number } | undefined;
  /** Floats in a row of out. Default outFeatures of weights.out, or embedDim. */
  outDim?: number | undefined;
  /** True: every projection must have a bias. False: none may have one. Default either. */
  bias?: boolean | undefined;
  /** Rotary embedding of q and k. True is the default form of `Heed.rotary`. Default false. */
  rotary?: boolean | LayerRotary | undefined;
  /** May be given later, by `setWeights`. */
  weights?: MultiHeadWeights | undefined;
}

/** How q, k, v and out are read. */
export const WEIGHTS_NAMES: Names<MultiHeadWeights> = {
  q: readLinearWeights,
  k: readLinearWeights,
  v: readLinearWeights,
  out: readLinearWeights,
};

/** The options of `createMultiHeadAttention`. */
export const LAYER_NAMES: Names<MultiHeadAttentionOptions> = {
  numHeads: 0,
  embedDim: 0,
  numKvHeads: 0,
  headDim: 0,
  valueDim: 0,
  kvDim: nested({ k: 0, v: 0 }),
  outDim: 0,
  bias: 0,
  rotary: nested(FORM_NAMES),
  weights: nested(WEIGHTS_NAMES),
  scale: 0,
  causal: 0,
  window: nested(WINDOW_NAMES),
  softcap: 0,
  alibiSlopes: 0,
  sinks: 0,
};

/** The sizes of a layer, each of them settled. */
export interface LayerDims {
  /** Floats in a row of x. */
  embedDim: number;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
  valueDim: number;
  /** Floats in a row from which k is projected, and in one from which v is. */
  kvDim: { k: number; v: number };
  /** Floats in a row of out. */
  outDim: number;
}

/**
 * Settles the sizes of a layer: each from its option, else from the shape of a weight, else from its default.
 *
 * @throws TypeError for the wrong kind, RangeError for sizes that do not fit each other
 */
export function checkDims(options: MultiHeadAttentionOptions): LayerDims {
  const { weights } = options;
  if (weights !== undefined) checkObject("weights", weights);
  const numHeads = checkInteger("numHeads", options.numHeads, 1, MAX_HEADS);
  const [q, k, v, out] = [weights?.q, weights?.k, weights?.v, weights?.out].map(featuresOf);
  const { embedDim: embedDimIn = q?.inFeatures } = options;
  const embedDim = checkInteger("embedDim", embedDimIn, 1);
  const {
    headDim = q?.outFeatures === undefined
      ? quotient("embedDim", embedDim, numHeads, "numHeads")
      : quotient("outFeatures of weights.q", q.outFeatures, numHeads, "numHeads"),
    numKvHeads = k?.outFeatures === undefined
      ? numHeads
      : quotient("outFeatures of weights.k", k.outFeatures, checkInteger("headDim", headDim, 1, MAX_DIM), "headDim"),
    valueDim = v?.outFeatures === undefined
      ? headDim
      : quotient("outFeatures of weights.v", v.outFeatures, checkInteger("numKvHeads", numKvHeads, 1), "numKvHeads"),
    outDim = out?.outFeatures ?? embedDim,
  } = options;
  checkInteger("headDim", headDim, 1, MAX_DIM);
  checkInteger("numKvHeads", numKvHeads, 1);
  if (numHeads % numKvHeads !== 0) throw wrongValue("numKvHeads", `a divisor of ${numHeads} (numHeads)`, numKvHeads);
  checkInteger("valueDim", valueDim, 1, MAX_DIM);
  checkInteger("outDim", outDim, 1);
  const kvDim = checkKvDim(options.kvDim, k?.inFeatures ?? embedDim, v?.inFeatures ?? embedDim);
  return { embedDim, numHeads, numKvHeads, headDim, valueDim, kvDim, outDim };
}

/** Checks `kvDim`: one size for both, or one for each. `k` and `v` are the defaults. */
function checkKvDim(kvDim: unknown, k: number, v: number): { k: number; v: number } {
  if (kvDim === undefined) return { k, v };
  if (typeof kvDim === "number") {
    const both = checkInteger("kvDim", kvDim, 1);
    return { k: both, v: both };
  }
  if (typeof kvDim !== "object" || kvDim === null) throw wrongKind("kvDim", "an integer or { k, v }", kvDim);
  const sizes = kvDim as Partial<Record<string, unknown>>;
  return { k: checkInteger("kvDim.k", sizes.k, 1), v: checkInteger("kvDim.v", sizes.v, 1) };
}

/** The sizes that the shape of a projection's weight gives. Whether the shape is right is checked by `checkWeights`. */
function featuresOf(linear: unknown): Features {
  const { weight, transposed } = (linear ?? {}) as { weight?: { shape?: unknown }; transposed?: unknown };
  const shape: unknown = weight?.shape;
  if (!Array.isArray(shape)) return {};
  const [outFeatures, inFeatures] = (transposed === true ? [shape[1], shape[0]] : shape) as (number | undefined)[];
  return { inFeatures, outFeatures };
}

/** size / divisor, which must be an integer. `what` names the divisor in errors. */
function quotient(title: string, size: number, divisor: number, what: string): number {
  if (size % divisor !== 0) throw wrongValue(title, `a multiple of ${divisor} (${what})`, size);
  return size / divisor;
}

const PROJECTIONS = ["q", "k", "v", "out"] as const;

/**
 * Checks the weights of every projection.
 *
 * @param biasRule whether every projection must have a bias, or none may
 * @returns q, k, v and out; undefined for an `out` that is not there
 * @throws TypeError for the wrong kind, RangeError for a wrong size
 */
export function checkWeights(
  arena: Arena,
  weights: MultiHeadWeights,
  dims: LayerDims,
  biasRule: boolean | undefined,
): (CheckedWeight | undefined)[] {
  checkObject("weights", weights);
  const { embedDim, numHeads, numKvHeads, headDim, valueDim, kvDim, outDim } = dims;
  const features = {
    q: { inFeatures: embedDim, outFeatures: numHeads * headDim },
    k: { inFeatures: kvDim.k, outFeatures: numKvHeads * headDim },
    v: { inFeatures: kvDim.v, outFeatures: numKvHeads * valueDim },
    out: { inFeatures: numHeads * valueDim, outFeatures: outDim },
  };
  return PROJECTIONS.map((name) => {
    const linear = weights[name];
    if (name === "out" && linear === undefined) return undefined;
    const title = `weights.${name}`;
    checkObject(title, linear);
    const titles = { weight: `${title}.weight`, bias: `${title}.bias`, transposed: `${title}.transposed` };
    if (biasRule === true && linear.bias === undefined)
      throw wrongKind(titles.bias, "a bias (bias is true)", undefined);
    if (biasRule === false && linear.bias !== undefined) {
      throw wrongKind(titles.bias, "nothing (bias is false)", linear.bias);
    }
    return checkWeight(arena, linear, features[name], titles);
  });
}

/** The rotary embedding of a layer, or undefined. The values of its form are for `checkForm` to check. */
export function checkLayerRotary(rotary: unknown): LayerRotary | undefined {
  if (rotary === undefined || typeof rotary === "boolean") return rotary === true ? {} : undefined;
  if (typeof rotary !== "object" || rotary === null) throw wrongKind("rotary", "a boolean or an object", rotary);
  return rotary;
}

/**
 * The form with its tables copied to linear memory, so that no call copies them.
 *
 * @param own the copies are added to it, for the layer to dispose of
 * @throws TypeError or RangeError for a wrong form, or where memory cannot grow
 */
export function withOwnTables(arena: Arena, given: LayerRotary, headDim: number, own: Tensor[]): LayerRotary {
  const { tables } = checkForm(arena, given, headDim);
  if (!tables) return given;
  const copyOf = (table: Floats): Tensor => {
    const tensor = Tensor.allocate(arena, table.length);
    own.push(tensor);
    tensor.data.set(floatsOf(arena, table));
    return tensor;
  };
  return record(given, { cos: copyOf(tables.cos), sin: copyOf(tables.sin) });
}

/** Checks the option `bias`: whether every projection must have a bias, or none may. */
export function checkBiasRule(bias: unknown): boolean | undefined {
  return bias === undefined ? undefined : checkBoolean("bias", bias);
}
