import { type AttentionOptions, WINDOW_NAMES } from "../attention/options.ts";
import { checkInteger, checkObject, isObject, wrongKind, wrongValue } from "../check.ts";
import { oneOrEach } from "../kv-cache/options.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, elementsOf, halves } from "../memory/data.ts";
import { type FloatDtype, dtypeOf } from "../memory/float-types.ts";
import { Tensor } from "../memory/tensor.ts";
import { type Names, nested, record } from "../options.ts";
import { FORM_NAMES, type RotaryForm, checkForm } from "../rotary/options.ts";
import {
  type CheckedWeight,
  type Features,
  type LinearWeights,
  type WeightDtype,
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
export type LayerDefaults = Pick<
  AttentionOptions,
  "scale" | "causal" | "window" | "softcap" | "alibiSlopes" | "sinks" | "reproducible" | "precision"
>;

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
  /**
   * How the weights are stored, see `packLinear`. Weights that come in blocks of GGUF stay what they are. Default
   * `"f32"`.
   */
  weightDtype?: WeightDtype | undefined;
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

/** How the options of attention that belong to a model are read. */
export const DEFAULT_NAMES: Names<LayerDefaults> = {
  scale: 0,
  causal: 0,
  window: nested(WINDOW_NAMES),
  softcap: 0,
  alibiSlopes: halves,
  sinks: halves,
  reproducible: 0,
  precision: 0,
};

/** The options of `createMultiHeadAttention`. */
export const LAYER_NAMES: Names<MultiHeadAttentionOptions> = {
  ...DEFAULT_NAMES,
  numHeads: 0,
  embedDim: 0,
  numKvHeads: 0,
  headDim: 0,
  valueDim: 0,
  kvDim: nested({ k: 0, v: 0 }),
  outDim: 0,
  bias: 0,
  rotary: nested(FORM_NAMES),
  weightDtype: 0,
  weights: nested(WEIGHTS_NAMES),
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

/** The projections of a layer, in the order in which they are packed. */
export const PROJECTIONS = ["q", "k", "v", "out"] as const;

/**
 * Settles the sizes of a layer: each from its option, else from the shape of a weight, else from its default. Whether
 * the heads fit each other is for `checkQueries` to check.
 *
 * @throws TypeError for the wrong kind, RangeError for sizes that do not fit each other
 */
export function checkDims(options: MultiHeadAttentionOptions): LayerDims {
  const { weights } = options;
  if (weights !== undefined) checkObject("weights", weights);
  const [q, k, v, out] = PROJECTIONS.map((name) => featuresOf(weights?.[name])) as [
    Features,
    Features,
    Features,
    Features,
  ];
  const numHeads = checkInteger("numHeads", options.numHeads, 1);
  const { embedDim: embedDimIn = q.inFeatures } = options;
  const embedDim = checkInteger("embedDim", embedDimIn, 1);
  const { headDim = shareOf("q", q, numHeads, "numHeads") ?? quotient("embedDim", embedDim, numHeads, "numHeads") } =
    options;
  checkInteger("headDim", headDim, 1);
  const { numKvHeads = shareOf("k", k, headDim, "headDim") ?? numHeads } = options;
  checkInteger("numKvHeads", numKvHeads, 1);
  const {
    valueDim = shareOf("v", v, numKvHeads, "numKvHeads") ?? headDim,
    outDim = out.outFeatures ?? embedDim,
    kvDim: kvDimIn,
  } = options;
  checkInteger("outDim", outDim, 1);
  const kvDim =
    kvDimIn === undefined
      ? { k: k.inFeatures ?? embedDim, v: v.inFeatures ?? embedDim }
      : oneOrEach("kvDim", kvDimIn, (title, value) => checkInteger(title, value, 1));
  return { embedDim, numHeads, numKvHeads, headDim, valueDim, kvDim, outDim };
}

/** The sizes that the shape of a projection's weight gives. Whether the shape is right is checked by `checkWeights`. */
function featuresOf(linear: unknown): Features {
  const { weight, transposed } = (linear ?? {}) as { weight?: { shape?: unknown }; transposed?: unknown };
  const shape: unknown = weight?.shape;
  if (!Array.isArray(shape)) return {};
  const [outFeatures, inFeatures] = (transposed === true ? [shape[1], shape[0]] : shape) as (number | undefined)[];
  return { inFeatures, outFeatures };
}

/** outFeatures of a projection divided by `divisor`; undefined where they are not known. */
function shareOf(name: string, { outFeatures }: Features, divisor: number, what: string): number | undefined {
  return outFeatures === undefined ? undefined : quotient(`outFeatures of weights.${name}`, outFeatures, divisor, what);
}

/** size / divisor, which must be an integer. `what` names the divisor in errors. */
function quotient(title: string, size: number, divisor: number, what: string): number {
  if (size % divisor !== 0) throw wrongValue(title, `a multiple of ${divisor} (${what})`, size);
  return size / divisor;
}

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
  const { embedDim, numHeads, numKvHeads, headDim, valueDim, kvDim, outDim } = dims;
  const sizes = {
    q: [embedDim, numHeads * headDim],
    k: [kvDim.k, numKvHeads * headDim],
    v: [kvDim.v, numKvHeads * valueDim],
    out: [numHeads * valueDim, outDim],
  } as const;
  return PROJECTIONS.map((name) => {
    const linear = weights[name];
    if (name === "out" && linear === undefined) return undefined;
    const title = `weights.${name}`;
    checkObject(title, linear);
    if (biasRule !== undefined && biasRule !== (linear.bias !== undefined)) {
      throw wrongKind(`${title}.bias`, `${biasRule ? "a bias" : "nothing"} (bias is ${biasRule})`, linear.bias);
    }
    const [inFeatures, outFeatures] = sizes[name];
    return checkWeight(arena, linear, { inFeatures, outFeatures }, `${title}.`);
  });
}

/** An option that is a boolean or an object of options: {} where it is true, undefined where it is off. */
export function checkSwitch<Options extends object>(
  title: string,
  value: boolean | Options | undefined,
): Options | undefined {
  if (value === undefined || value === false) return undefined;
  if (value === true) return {} as Options;
  if (!isObject(value)) throw wrongKind(title, "a boolean or an object", value);
  return value;
}

/**
 * The form with its frequencies copied, and its tables copied to linear memory, so that no call copies them.
 *
 * @param own the copies are added to it, for the layer to dispose of
 * @throws TypeError or RangeError for a wrong form, or where memory cannot grow
 */
export function withOwnTables(
  arena: Arena,
  given: LayerRotary,
  headDim: number,
  own: Tensor<FloatDtype>[],
): LayerRotary {
  const { tables, frequencies } = checkForm(arena, given, headDim);
  if (!tables) return frequencies ? record(given, { frequencies }) : given;
  const copyOf = (table: Floats): Tensor<FloatDtype> => {
    const tensor = Tensor.allocate(arena, table.length, dtypeOf(table.type));
    own.push(tensor);
    tensor.data.set(elementsOf(arena, table));
    return tensor;
  };
  return record(given, { cos: copyOf(tables.cos), sin: copyOf(tables.sin) });
}
