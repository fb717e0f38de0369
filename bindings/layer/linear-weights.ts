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
import { PANEL_FEATURES } from "../engine/abi.ts";
import {
  type Bytes,
  type FloatRows,
  type Floats,
  type HalfArray,
  checkAnyFloats,
  checkBytes,
  isRows,
  shapedHalves,
} from "../memory/data.ts";
import { F32 } from "../memory/float-types.ts";
import { isTensor } from "../memory/tensor.ts";
import { nested } from "../options.ts";

/**
 * A weight as checkpoints store it: the floats of an array of `shape`, in C order. A Uint16Array comes with its `dtype`:
 * "f16" or "bf16".
 *
 * @category Layer and linear
 */
export type Weight = ({ data: Exclude<FloatRows, HalfArray> } | HalfArray) & { shape: readonly number[] };

/**
 * A weight in blocks of 32 input features, as GGUF stores it, row by row in C order: `q8_0` is a binary16 scale d and 32
 * bytes, w = d·q; `q4_0` a binary16 scale and 16 bytes, w = d·(q − 8), of which the low nibbles are the first 16 values.
 * They are packed without loss (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
 *
 * @category Layer and linear
 */
export interface BlockWeight {
  data: Uint8Array;
  dtype: BlockDtype;
  /** [outFeatures, inFeatures] */
  shape?: readonly number[] | undefined;
}

/** Quantised blocks of GGUF. @category Layer and linear */
export type BlockDtype = "q8_0" | "q4_0";

/** How a packed weight is stored. @category Layer and linear */
export type WeightDtype = "f32" | "int8" | "q4";

/** The names of WeightDtype. */
export const WEIGHT_DTYPES: readonly WeightDtype[] = ["f32", "int8", "q4"];

/** Input features in a block of GGUF. */
export const BLOCK_FEATURES = 32;

/** Bytes of a block of GGUF. */
export function blockBytes(dtype: BlockDtype): number {
  return dtype === "q8_0" ? 34 : 18;
}

/** How a weight stands in panels. */
export interface PackedForm {
  /** Input features that share a scale; 0 for f32. */
  group: number;
  isInt4: boolean;
  /** Bytes of a panel of PANEL_FEATURES output features. */
  panelBytes: number;
}

/** The form of a packed weight. */
export function formOf(
  dtype: WeightDtype,
  { inFeatures, blocks }: Pick<CheckedWeight, "inFeatures" | "blocks">,
): PackedForm {
  if (dtype === "f32") return { group: 0, isInt4: false, panelBytes: PANEL_FEATURES * inFeatures * 4 };
  const isInt4 = dtype === "q4";
  const group = isInt4 || blocks ? BLOCK_FEATURES : 2 * BLOCK_FEATURES;
  const integers = Math.ceil(inFeatures / 4) * (isInt4 ? 2 : 4);
  return { group, isInt4, panelBytes: PANEL_FEATURES * (Math.ceil(inFeatures / group) * 4 + integers) };
}

/** The matrix and the bias of a linear layer. @category Layer and linear */
export interface LinearWeights {
  /**
   * [outFeatures, inFeatures]. Floats without a shape get one from `bias`, or from the sizes that are given beside
   * them.
   */
  weight: FloatRows | Weight | BlockWeight;
  /** [outFeatures]. Default none. */
  bias?: FloatRows | Weight | undefined;
  /** Whether `weight` is [inFeatures, outFeatures], as Keras and ONNX have it. Default false. */
  transposed?: boolean | undefined;
}

const readWeights = /* @__PURE__ */ nested<LinearWeights>({
  weight: shapedHalves,
  bias: shapedHalves,
  transposed: 0,
});

/** Whether a weight that has been read is one of blocks. */
export function isBlocks(weight: unknown): weight is { data: unknown; shape: unknown; dtype: BlockDtype } {
  if (!isObject(weight) || isRows(weight)) return false;
  const { dtype } = weight as { dtype?: unknown };
  return dtype === "q8_0" || dtype === "q4_0";
}

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
  data: Floats | Bytes;
  /** What `data` is where it is no floats. */
  blocks: BlockDtype | undefined;
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

/** Checks floats, or { data, shape } with a shape that fits its data; 16 bits with a dtype need none. */
export function checkShaped(title: string, value: unknown, arena: Arena): Shaped {
  if (isRows(value)) return { data: checkAnyFloats(title, value, arena), shape: undefined };
  if (!isObject(value)) throw wrongKind(title, "a Float32Array, a Tensor or { data, shape }", value);
  const { data: floats, shape, dtype } = value as Partial<Record<string, unknown>>;
  const data = checkAnyFloats(`${title}.data`, floats, arena, dtype);
  if (shape === undefined && dtype !== undefined && data.type !== F32) return { data, shape };
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
  const isTransposed = checkBoolean(`${prefix}transposed`, transposed);
  for (const name of ["inFeatures", "outFeatures"] as const) {
    if (known[name] !== undefined) checkInteger(name, known[name], 1);
  }
  const { data, shape, length, blocks } = checkData(title, weight, isTransposed, arena);
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
  const outFeatures = outKnown ?? otherSize(title, length, inKnown!, "inFeatures");
  const inFeatures = inKnown ?? otherSize(title, length, outFeatures, "outFeatures");
  if (shape) checkSizes(title, shape, dimensions, inOrder([outFeatures, inFeatures]));
  if (length !== outFeatures * inFeatures || length === 0) {
    const expected = `a length of ${outFeatures * inFeatures} (outFeatures × inFeatures), and not 0`;
    throw wrongValue(title, expected, length);
  }
  if (blocks && inFeatures % BLOCK_FEATURES !== 0) {
    throw wrongValue("inFeatures", `a multiple of ${BLOCK_FEATURES} (a block of ${blocks})`, inFeatures);
  }
  if (bias) checkLength(`${prefix}bias`, bias.length, outFeatures, "outFeatures");
  const [outStride, inStride] = transposed ? [1, outFeatures] : [inFeatures, 1];
  return { data, blocks, bias, inFeatures, outFeatures, outStride, inStride };
}

/** Checks the values of a weight, floats or blocks; `length` counts values. */
function checkData(
  title: string,
  weight: unknown,
  transposed: boolean,
  arena: Arena,
): { data: Floats | Bytes; shape: readonly number[] | undefined; length: number; blocks: BlockDtype | undefined } {
  if (!isBlocks(weight)) {
    const { data, shape } = checkShaped(title, weight, arena);
    return { data, shape, length: data.length, blocks: undefined };
  }
  const { dtype: blocks, shape } = weight;
  if (transposed) throw wrongValue(`transposed`, `false beside blocks of ${blocks}`, transposed);
  const data = checkBytes(`${title}.data`, weight.data, arena);
  const size = blockBytes(blocks);
  const length = checkRows(`${title}.data`, data.length, size, `bytes of a block of ${blocks}`) * BLOCK_FEATURES;
  if (shape !== undefined) checkShapeHolds(title, shape, length);
  return { data, shape, length, blocks };
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
