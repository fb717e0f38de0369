import { checkBoolean, checkInteger, checkRows, wrongKind, wrongValue } from "../check.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, checkFloats } from "../memory/data.ts";
import { Tensor } from "../memory/tensor.ts";

/** A weight as checkpoints have it: the floats of an array of `shape`, in C order. */
export interface Weight {
  data: Float32Array | Tensor;
  shape: readonly number[];
}

/** The matrix and the bias of a linear layer. */
export interface LinearWeights {
  /** [outFeatures, inFeatures]; of bare floats, whose shape follows from `bias` or from what is said beside them. */
  weight: Float32Array | Tensor | Weight;
  /** [outFeatures]. Default none. */
  bias?: Float32Array | Tensor | Weight | undefined;
  /** Whether `weight` is [inFeatures, outFeatures], as Keras and ONNX have it. Default false. */
  transposed?: boolean | undefined;
}

/** The sizes of a weight; what is left out follows from its shape, from the length of its bias or from the other size. */
export interface Features {
  /** Floats in a row of x. */
  inFeatures?: number | undefined;
  /** Floats in a row of out. */
  outFeatures?: number | undefined;
}

/** A checked weight: W[o][t] at data + o·outStep + t·inStep. */
export interface CheckedWeight {
  data: Floats;
  bias: Floats | undefined;
  inFeatures: number;
  outFeatures: number;
  /** Floats from one output feature, and from one input feature, to the next; one of them is 1. */
  outStep: number;
  inStep: number;
}

/** Floats, with their shape where they bring one. */
interface Shaped {
  data: Floats;
  shape: readonly number[] | undefined;
}

/** Bare floats, or floats with a shape that fits them. */
export function checkShaped(title: string, value: unknown, arena: Arena): Shaped {
  if (value instanceof Tensor || ArrayBuffer.isView(value)) {
    return { data: checkFloats(title, value, arena), shape: undefined };
  }
  if (typeof value !== "object" || value === null) {
    throw wrongKind(title, "a Float32Array, a Tensor or { data, shape }", value);
  }
  const { data: floats, shape } = value as Partial<Record<string, unknown>>;
  const data = checkFloats(`${title}.data`, floats, arena);
  checkShapeHolds(title, shape, data.length);
  return { data, shape };
}

/** Checks an array of sizes whose product is `length`. */
export function checkShapeHolds(title: string, shape: unknown, length: number): asserts shape is readonly number[] {
  if (!Array.isArray(shape)) throw wrongKind(`${title}.shape`, "an array of integers", shape);
  const product = shape.reduce<number>((all, size, i) => all * checkInteger(`${title}.shape[${i}]`, size, 0), 1);
  if (product !== length) {
    throw wrongValue(`${title}.data`, `a length of ${product} (the product of shape [${shape.join(", ")}])`, length);
  }
}

/**
 * Checks a weight and its bias. What its shape, its bias and `known` say of its sizes must agree, and be enough.
 *
 * `titles`: how errors name the two.
 */
export function checkWeight(
  arena: Arena,
  { weight, bias, transposed = false }: { weight: unknown; bias?: unknown; transposed?: unknown },
  known: Features,
  titles = { weight: "weight", bias: "bias", transposed: "transposed" },
): CheckedWeight {
  checkBoolean(titles.transposed, transposed);
  for (const name of ["inFeatures", "outFeatures"] as const) {
    if (known[name] !== undefined) checkInteger(name, known[name], 1);
  }
  const { data, shape } = checkShaped(titles.weight, weight, arena);
  const added = bias === undefined ? undefined : checkShaped(titles.bias, bias, arena).data;
  const named = transposed ? "[inFeatures, outFeatures]" : "[outFeatures, inFeatures]";
  if (shape && shape.length !== 2) throw wrongValue(`${titles.weight}.shape`, `2 dimensions (${named})`, shape.length);

  const [outShape, inShape] = transposed ? [shape?.[1], shape?.[0]] : [shape?.[0], shape?.[1]];
  const outKnown = known.outFeatures ?? outShape ?? added?.length;
  const inKnown = known.inFeatures ?? inShape;
  if (outKnown === undefined && inKnown === undefined) {
    throw wrongKind(titles.weight, "a shape, a bias beside it, or inFeatures or outFeatures", weight);
  }
  const outFeatures = outKnown ?? checkOther(titles.weight, data.length, inKnown!, "inFeatures");
  const inFeatures = inKnown ?? checkOther(titles.weight, data.length, outFeatures, "outFeatures");
  for (const [size, is, i, name] of [
    [outFeatures, outShape, transposed ? 1 : 0, "outFeatures"],
    [inFeatures, inShape, transposed ? 0 : 1, "inFeatures"],
  ] as const) {
    if (is !== undefined && is !== size) throw wrongValue(`${titles.weight}.shape[${i}]`, `${size} (${name})`, is);
  }
  if (data.length !== outFeatures * inFeatures || data.length === 0) {
    const expected = `a length of ${outFeatures * inFeatures} (outFeatures × inFeatures), and not 0`;
    throw wrongValue(titles.weight, expected, data.length);
  }
  const checkedBias = added && checkLength(titles.bias, added, outFeatures);
  const [outStep, inStep] = transposed ? [1, outFeatures] : [inFeatures, 1];
  return { data, bias: checkedBias, inFeatures, outFeatures, outStep, inStep };
}

/** The other size of a weight of `length` floats. */
function checkOther(title: string, length: number, size: number, what: string): number {
  if (size < 1 || length === 0) throw wrongValue(title, "at least one float", length);
  return checkRows(title, length, size, what);
}

/** A bias of `outFeatures` floats. */
export function checkBias(title: string, bias: unknown, arena: Arena, outFeatures: number): Floats {
  return checkLength(title, checkShaped(title, bias, arena).data, outFeatures);
}

function checkLength(title: string, bias: Floats, outFeatures: number): Floats {
  if (bias.length !== outFeatures) throw wrongValue(title, `a length of ${outFeatures} (outFeatures)`, bias.length);
  return bias;
}
