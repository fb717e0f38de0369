import { wrongValue } from "../check.ts";
import { widened } from "./halves.ts";
import { type ScoreOptions, shapedFloats } from "./rows.ts";
import {
  type OnnxBooleans,
  type OnnxIntegers,
  type OnnxTensor,
  type Operand,
  Operands,
  elementsOf,
  shown,
} from "./operands.ts";

/** Which keys are no padding, in one of the forms that the operators of com.microsoft take. @category Tensors */
export type OnnxPadding = OnnxIntegers | OnnxBooleans;

/** The sizes of the scores of a call. */
interface ScoreSizes {
  batch: number;
  seqLenQ: number;
  /** Keys of earlier calls. */
  past: number;
  /** All keys, those of this call included. */
  total: number;
}

/** A keepMask of the keys that are no padding. */
interface KeepMask {
  data: Uint8Array;
  /** [batch, 1, seqLenQ or 1, total] */
  shape: [number, number, number, number];
}

/** The options of padding and bias. */
interface MaskOptions {
  /** For the output of attention. */
  options: ScoreOptions;
  /** For outputs that show the scores: mask_filter_value is in the bias in any case. */
  scoreOptions: () => ScoreOptions;
}

/**
 * The options of a padding mask and of a bias [batch or 1, numHeads or 1, seqLenQ, total].
 *
 * ONNX Runtime adds mask_filter_value to the scores of padding. Where every query sees a key that is no padding,
 * padding gets the weight 0 that way, and a keepMask does the same. A query that sees only padding attends to padding:
 * then mask_filter_value becomes a bias.
 */
export function maskOptions(
  operands: Operands,
  name: string,
  sizes: ScoreSizes,
  bias: Operand | undefined,
): MaskOptions {
  const keepMask = keepMaskOf(operands, name, sizes);
  const filter = operands.number("mask_filter_value", -10000);
  const withoutMask = bias ? { bias: shapedFloats(bias) } : {};
  if (!keepMask) return { options: withoutMask, scoreOptions: () => withoutMask };
  const scoreOptions = (): ScoreOptions => {
    const data = Float32Array.from(keepMask.data, (keep) => (keep ? 0 : filter));
    const filterBias = { data, shape: keepMask.shape };
    const given = bias && { data: widened(bias.data, bias.form), shape: bias.shape };
    return { bias: given ? addBroadcast(given, filterBias) : filterBias };
  };
  const dropsPadding = filter <= -10000 && keepsFirstKeys(keepMask, sizes.total);
  return { options: dropsPadding ? { keepMask, ...withoutMask } : scoreOptions(), scoreOptions };
}

/**
 * The input for padding as a keepMask, from any of its forms:
 *
 *     [batch]                      how many keys at the front of each sequence are no padding
 *     [2·batch]                    where these keys end (exclusive), then where they start
 *     [3·batch + 2]                [batch], then where the queries and the keys of each sequence start, and end
 *     [batch, total]               0 = padding; [batch, total − past]: the past has none
 *     [batch, seqLenQ, total]      the same for each query
 *     [batch, 1] or [1, 1]         of mask_index, where there is more than one key: no mask, whatever it holds
 *
 * @returns undefined where there is no mask, and where there are no queries
 */
function keepMaskOf(operands: Operands, name: string, sizes: ScoreSizes): KeepMask | undefined {
  const mask = operands.tensor(name, [1, 2, 3]);
  if (!mask) return undefined;
  const { batch, seqLenQ, past, total } = sizes;
  const { shape } = mask;
  const isOf = (...expected: number[]) => shape.length === expected.length && expected.every((n, i) => n === shape[i]);
  if (name === "mask_index" && !isOf(batch, total) && (isOf(batch, 1) || isOf(1, 1))) return undefined;
  const values = Array.from(mask.data as ArrayLike<number | bigint>, Number);
  const maskOf = (rows: number, keeps: (b: number, row: number, key: number) => boolean): KeepMask | undefined => {
    if (batch * seqLenQ === 0) return undefined;
    const keepsElement = (n: number) => keeps(Math.floor(n / (rows * total)), Math.floor(n / total) % rows, n % total);
    const data = Uint8Array.from({ length: batch * rows * total }, (_, n) => Number(keepsElement(n)));
    return { data, shape: [batch, 1, rows, total] };
  };
  if (shape.length === 1) {
    if (isOf(3 * batch + 2)) checkPackedStarts(name, values, sizes);
    else if (!isOf(batch) && !isOf(2 * batch)) throw wrongShape(name, shape, sizes);
    const starts = isOf(2 * batch) ? values.slice(batch) : undefined;
    return maskOf(1, (b, _, key) => key >= (starts?.[b] ?? 0) && key < values[b]!);
  }
  if (isOf(batch, total)) {
    return maskOf(1, (b, _, key) => values[b * total + key]! > 0);
  }
  if (isOf(batch, total - past)) {
    return maskOf(1, (b, _, key) => key < past || values[b * (total - past) + key - past]! > 0);
  }
  if (isOf(batch, seqLenQ, total)) {
    return maskOf(seqLenQ, (b, row, key) => values[(b * seqLenQ + row) * total + key]! > 0);
  }
  throw wrongShape(name, shape, sizes);
}

/** The error for a shape that is none of the forms. */
function wrongShape(name: string, shape: readonly number[], { batch, seqLenQ, past, total }: ScoreSizes): RangeError {
  const forms = [[batch], [2 * batch], [3 * batch + 2], [batch, total], [batch, seqLenQ, total]];
  if (past > 0) forms.push([batch, total - past]);
  const expected = forms.map((form) => shown(form)).join(" or ");
  return wrongValue(`${name}.shape`, expected, shown(shape));
}

/**
 * The form [3·batch + 2] says where sequences start. They are padded here, so each start is a multiple of the length.
 */
function checkPackedStarts(name: string, values: readonly number[], { batch, seqLenQ, total }: ScoreSizes): void {
  for (let b = 0; b <= batch; b++) {
    for (const [i, length] of [
      [batch + b, seqLenQ],
      [2 * batch + 1 + b, total],
    ] as const) {
      if (values[i] !== b * length) throw wrongValue(`${name}[${i}]`, `${b * length} (padded sequences)`, values[i]);
    }
  }
}

/** Whether every row keeps its first key, which every query sees, causal or not. */
function keepsFirstKeys({ data }: KeepMask, total: number): boolean {
  for (let row = 0; row < data.length; row += total) if (!data[row]) return false;
  return true;
}

/** a + b, both of four dimensions and broadcast to each other. */
function addBroadcast(a: OnnxTensor, b: OnnxTensor): OnnxTensor {
  const shape = a.shape.map((size, i) => Math.max(size, b.shape[i]!));
  const [, heads, rows, keys] = shape as [number, number, number, number];
  const elements = elementsOf(shape);
  const elementOf = ({ data, shape: sizes }: OnnxTensor, index: readonly number[]) =>
    data[sizes.reduce((offset, size, i) => offset * size + (size === 1 ? 0 : index[i]!), 0)]!;
  const data = Float32Array.from({ length: elements }, (_, n) => {
    const row = Math.floor(n / keys);
    const index = [Math.floor(row / rows / heads), Math.floor(row / rows) % heads, row % rows, n % keys];
    return elementOf(a, index) + elementOf(b, index);
  });
  return { data, shape };
}

/** The input attention_bias, [batch or 1, numHeads or 1, seqLenQ, total], or undefined. */
export function biasOf(
  operands: Operands,
  { batch, seqLenQ, total }: Omit<ScoreSizes, "past">,
  numHeads: number,
): Operand | undefined {
  const bias = operands.floats("attention_bias", [4]);
  if (!bias) return undefined;
  const [b, h, rows, keys] = bias.shape;
  if ((b !== 1 && b !== batch) || (h !== 1 && h !== numHeads) || rows !== seqLenQ || keys !== total) {
    const expected = `[${batch} or 1, ${numHeads} or 1, ${seqLenQ}, ${total}]`;
    throw wrongValue("attention_bias.shape", expected, shown(bias.shape));
  }
  return bias;
}
