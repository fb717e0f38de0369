import {
  checkBoolean,
  checkElements,
  checkInteger,
  checkIsShape,
  checkLength,
  checkRows,
  isObject,
  nameOf,
  wrongKind,
  wrongValue,
} from "../check.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, checkFloats, isRows, shaped } from "../memory/data.ts";
import { type Tensor, isTensor } from "../memory/tensor.ts";
import { nested } from "../options.ts";

/** A weight as checkpoints store it: the floats of an array of `shape`, in C order. @category Layer and linear */
export interface Weight {
  data: Float32Array | Tensor;
  shape: readonly number[];
}

/** The matrix and the bias of a linear layer. @category Layer and linear */
export interface LinearWeights {
  /**
   * [outFeatures, inFeatures]. Floats without a shape get one from `bias`, or from the sizes that are given beside
   * them.
   */
  weight: Float32Array | Tensor | Weight;
  /** [outFeatures]. Default none. */
  bias?: Float32Array | Tensor | Weight | undefined;
  /** Whether `weight` is [inFeatures, outFeatures], as Keras and ONNX have it. Default false. */
  transposed?: boolean | undefined;
}

const readWeights = /* @__PURE__ */ nested<LinearWeights>({ weight: shaped, bias: shaped, transposed: 0 });

/** How { weight, bias, transposed } is read. */
export function readLinearWeights(given: unknown, name: string): unknown {
  const kind = isTensor(given) ? "Tensor" : ArrayBuffer.isView(given) && nameOf(given);
  if (!kind) return readWeights(given, name);
  throw new TypeError(`"weights.${name}" expected { weight, bias? }, got a ${kind}: write { weight: … }`);
}

/** The sizes of a weight. A size that is left out follows from its shape, from its bias, or from the other size. */
export interface Features {
  /** Floats in a row of x. */
  inFeatures?: number | undefined;
  /** Floats in a row of out. */
  outFeatures?: number | undefined;
}

/** A checked weight. W[o][i] is the float o·outStride + i·inStride of `data`. */
export interface CheckedWeight {
  data: Floats;
  bias: Floats | undefined;
  inFeatures: number;
  outFeatures: number;
  /** Floats from one output feature to the next, and from one input feature to the next. One of the two is 1. */
  outStride: number;
  inStride: number;
}

/** Floats, and their shape where it was given. */
interface Shaped {
  data: Floats;
  shape: readonly number[] | undefined;
}

/** Checks floats, or { data, shape } with a shape that fits its data. */
export function checkShaped(title: string, value: unknown, arena: Arena): Shaped {
  if (isRows(value)) return { data: checkFloats(title, value, arena), shape: undefined };
  if (!isObject(value)) throw wrongKind(title, "a Float32Array, a Tensor or { data, shape }", value);
  const { data: floats, shape } = value as Partial<Record<string, unknown>>;
  const data = checkFloats(`${title}.data`, floats, arena);
  checkShapeHolds(title, shape, data.length);
  return { data, shape };
}

/** Checks an array of sizes whose product is `length`. */
export function checkShapeHolds(title: string, shape: unknown, length: number): asserts shape is readonly number[] {
  checkIsShape(title, shape);
  const product = shape.reduce((all, size, i) => all * checkInteger(`${title}.shape[${i}]`, size, 0), 1);
  checkElements(title, length, product, shape);
}

/**
 * Checks how many dimensions a shape has, and their sizes.
 *
 * @param what the shape in words, for errors
 * @param sizes undefined stands for any size
 */
export function checkSizes(
  title: string,
  shape: readonly number[],
  what: string,
  sizes: readonly (number | undefined)[],
): void {
  if (shape.length !== sizes.length) {
    throw wrongValue(`${title}.shape`, `${sizes.length} dimensions (${what})`, shape.length);
  }
  sizes.forEach((size, i) => {
    if (size !== undefined && size !== shape[i])
      throw wrongValue(`${title}.shape[${i}]`, `${size} (${what})`, shape[i]);
  });
}

/**
 * Checks a weight and its bias. Their sizes come from `known`, from the shape of the weight and from the length of the
 * bias; these must agree, and together settle both sizes.
 *
 * @param prefix comes before the names of the three in errors
 * @throws TypeError for the wrong kind, RangeError for a wrong size
 */
export function checkWeight(
  arena: Arena,
  { weight, bias: biasIn, transposed = false }: { weight: unknown; bias?: unknown; transposed?: unknown },
  known: Features,
  prefix = "",
): CheckedWeight {
  const title = `${prefix}weight`;
  checkBoolean(`${prefix}transposed`, transposed);
  for (const name of ["inFeatures", "outFeatures"] as const) {
    if (known[name] !== undefined) checkInteger(name, known[name], 1);
  }
  const { data, shape } = checkShaped(title, weight, arena);
  const bias = biasIn === undefined ? undefined : checkShaped(`${prefix}bias`, biasIn, arena).data;
  const dimensions = transposed ? "[inFeatures, outFeatures]" : "[outFeatures, inFeatures]";
  if (shape) checkSizes(title, shape, dimensions, [undefined, undefined]);

  const inOrder = <Size>(sizes: readonly [Size, Size]): readonly [Size, Size] =>
    transposed ? [sizes[1], sizes[0]] : sizes;
  const [outShape, inShape] = inOrder([shape?.[0], shape?.[1]]);
  const outKnown = known.outFeatures ?? outShape ?? bias?.length;
  const inKnown = known.inFeatures ?? inShape;
  if (outKnown === undefined && inKnown === undefined) {
    throw wrongKind(title, "a shape, a bias beside it, or inFeatures or outFeatures", weight);
  }
  const outFeatures = outKnown ?? otherSize(title, data.length, inKnown!, "inFeatures");
  const inFeatures = inKnown ?? otherSize(title, data.length, outFeatures, "outFeatures");
  if (shape) checkSizes(title, shape, dimensions, inOrder([outFeatures, inFeatures]));
  if (data.length !== outFeatures * inFeatures || data.length === 0) {
    const expected = `a length of ${outFeatures * inFeatures} (outFeatures × inFeatures), and not 0`;
    throw wrongValue(title, expected, data.length);
  }
  if (bias) checkLength(`${prefix}bias`, bias.length, outFeatures, "outFeatures");
  const [outStride, inStride] = transposed ? [1, outFeatures] : [inFeatures, 1];
  return { data, bias, inFeatures, outFeatures, outStride, inStride };
}

/** The size of a weight of `length` floats whose other size is `size`. */
function otherSize(title: string, length: number, size: number, what: string): number {
  if (size < 1 || length === 0) throw wrongValue(title, "at least one float", length);
  return checkRows(title, length, size, what);
}

/** Checks a bias of `outFeatures` floats. */
export function checkBias(title: string, bias: unknown, arena: Arena, outFeatures: number): Floats {
  const { data } = checkShaped(title, bias, arena);
  checkLength(title, data.length, outFeatures, "outFeatures");
  return data;
}
