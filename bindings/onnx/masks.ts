import { wrongValue } from "../check.ts";
import type { ScoreOptions } from "./rows.ts";
import { type OnnxBooleans, type OnnxIntegers, type OnnxTensor, Operands } from "./operands.ts";

/** Which keys are no padding, in one of the forms that the operators of com.microsoft know. */
export type OnnxPadding = OnnxIntegers | OnnxBooleans;

interface Sizes {
  batch: number;
  seqLenQ: number;
  /** Keys before those of this call. */
  past: number;
  /** All keys. */
  total: number;
}

/** Non-zero = no padding, [batch, 1, seqLenQ or 1, total]. */
interface Kept {
  data: Uint8Array;
  shape: [number, number, number, number];
}

/**
 * The options of a padding mask and of a bias [batch or 1, numHeads or 1, seqLenQ, total].
 *
 * ONNX Runtime adds mask_filter_value to the scores of padding. Where every query sees some key that is none, that gives padding a weight
 * of 0 and the keys can be masked instead; a query that sees nothing but padding attends to that. `added`: never masked.
 */
export function maskOptions(
  operands: Operands,
  name: string,
  sizes: Sizes,
  bias: OnnxTensor | undefined,
  { added = false } = {},
): ScoreOptions {
  const kept = keptOf(operands, name, sizes);
  if (!kept) return bias ? { bias } : {};
  const filter = operands.number("mask_filter_value", -10000);
  if (!added && filter <= -10000 && firstKeysKept(kept, sizes.total))
    return bias ? { keepMask: kept, bias } : { keepMask: kept };
  const data = Float32Array.from(kept.data, (keep) => (keep ? 0 : filter));
  return { bias: bias ? sum(bias, { data, shape: kept.shape }) : { data, shape: kept.shape } };
}

/**
 *     [batch]                      keys of each sequence that are no padding, at the front
 *     [2·batch]                    where they end (exclusive), then where they start
 *     [3·batch + 2]                [batch], then where the queries and the keys of each sequence start, and end
 *     [batch, total]               0 = padding; [batch, total − past]: so are none of the past
 *     [batch, seqLenQ, total]      the same for each query
 */
function keptOf(operands: Operands, name: string, sizes: Sizes): Kept | undefined {
  const mask = operands.tensor(name, ["Int32Array", "BigInt64Array", "Uint8Array"], [1, 2, 3]);
  if (!mask) return undefined;
  const { batch, seqLenQ, past, total } = sizes;
  const { shape } = mask;
  const values = Array.from(mask.data as ArrayLike<number | bigint>, Number);
  const kept = (rows: number, keeps: (b: number, row: number, key: number) => boolean): Kept => {
    const at = (n: number) => keeps(Math.floor(n / (rows * total)), Math.floor(n / total) % rows, n % total);
    return {
      data: Uint8Array.from({ length: batch * rows * total }, (_, n) => Number(at(n))),
      shape: [batch, 1, rows, total],
    };
  };
  if (shape.length === 1) {
    if (shape[0] === 3 * batch + 2) checkStarts(name, values, sizes);
    else if (shape[0] !== batch && shape[0] !== 2 * batch) throw wrongShape(name, shape, sizes);
    const starts = shape[0] === 2 * batch && shape[0] !== 3 * batch + 2 ? values.slice(batch) : undefined;
    return kept(1, (b, _, key) => key >= (starts?.[b] ?? 0) && key < values[b]!);
  }
  if (shape.length === 2 && shape[0] === batch && shape[1] === total) {
    return kept(1, (b, _, key) => values[b * total + key]! > 0);
  }
  if (shape.length === 2 && shape[0] === batch && shape[1] === total - past) {
    return kept(1, (b, _, key) => key < past || values[b * (total - past) + key - past]! > 0);
  }
  if (shape.length === 3 && shape[0] === batch && shape[1] === seqLenQ && shape[2] === total) {
    return kept(seqLenQ, (b, row, key) => values[(b * seqLenQ + row) * total + key]! > 0);
  }
  throw wrongShape(name, shape, sizes);
}

function wrongShape(name: string, shape: readonly number[], { batch, seqLenQ, past, total }: Sizes): RangeError {
  const forms = [[batch], [2 * batch], [3 * batch + 2], [batch, total], [batch, seqLenQ, total]];
  if (past > 0) forms.push([batch, total - past]);
  const expected = forms.map((form) => `[${form.join(", ")}]`).join(" or ");
  return wrongValue(`${name}.shape`, expected, `[${shape.join(", ")}]`);
}

/** Sequences start where those of equal length do: queries and keys come padded. */
function checkStarts(name: string, values: readonly number[], { batch, seqLenQ, total }: Sizes): void {
  for (let b = 0; b <= batch; b++) {
    for (const [at, length] of [
      [batch + b, seqLenQ],
      [2 * batch + 1 + b, total],
    ] as const) {
      if (values[at] !== b * length) throw wrongValue(`${name}[${at}]`, `${b * length} (padded sequences)`, values[at]);
    }
  }
}

function firstKeysKept({ data }: Kept, total: number): boolean {
  for (let at = 0; at < data.length; at += total) if (!data[at]) return false;
  return true;
}

/** a + b of four dimensions, broadcast to each other. */
function sum(a: OnnxTensor, b: OnnxTensor): OnnxTensor {
  const shape = a.shape.map((size, i) => Math.max(size, b.shape[i]!));
  const [, heads, rows, keys] = shape as [number, number, number, number];
  const elements = shape.reduce((product, size) => product * size, 1);
  const placeIn = ({ shape: own }: OnnxTensor, cell: readonly number[]) =>
    own.reduce((at, size, i) => at * size + (size === 1 ? 0 : cell[i]!), 0);
  const data = Float32Array.from({ length: elements }, (_, n) => {
    const row = Math.floor(n / keys);
    const cell = [Math.floor(row / rows / heads), Math.floor(row / rows) % heads, row % rows, n % keys];
    return a.data[placeIn(a, cell)]! + b.data[placeIn(b, cell)]!;
  });
  return { data, shape };
}

/** A bias [batch or 1, numHeads or 1, seqLenQ, total], checked. */
export function biasOf(
  operands: Operands,
  { batch, seqLenQ, total }: Omit<Sizes, "past">,
  numHeads: number,
): OnnxTensor | undefined {
  const bias = operands.floats("attention_bias", [4]);
  if (!bias) return undefined;
  const [b, h, rows, keys] = bias.shape;
  if ((b !== 1 && b !== batch) || (h !== 1 && h !== numHeads) || rows !== seqLenQ || keys !== total) {
    const expected = `[${batch} or 1, ${numHeads} or 1, ${seqLenQ}, ${total}]`;
    throw wrongValue("attention_bias.shape", expected, `[${bias.shape.join(", ")}]`);
  }
  return bias;
}
