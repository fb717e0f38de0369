// The past of a call: the keys and values of earlier calls, as inputs and as outputs.

import { wrongValue } from "../check.ts";
import type { Floats } from "./halves.ts";
import { type OnnxTensor, type Operands, checkShape } from "./operands.ts";
import { Rows, columns, emptyLike, rowsOf, tensorOf } from "./rows.ts";

/** The rows of past_key and past_value: both or none. */
export interface Past {
  key: Rows | undefined;
  value: Rows | undefined;
}

/**
 * The inputs past_key and past_value, [batch, heads, past_length, head_size] as k and v have these sizes.
 *
 * @param missing the error where one is given without the other; `name` is the one that is not there
 * @throws TypeError or RangeError for a tensor of the wrong kind or shape
 */
export function pastOf(operands: Operands, k: Rows, v: Rows, missing?: (name: string) => Error): Past {
  const past = operands.pair(["past_key", "past_value"], [4], missing);
  if (!past) return { key: undefined, value: undefined };
  const [key, value] = past;
  checkShape("past_key", key.shape, [k.batch, k.heads, "past_length", k.dim]);
  checkShape("past_value", value.shape, [v.batch, v.heads, key.shape[2]!, v.dim]);
  return { key: rowsOf("past_key", key, k.heads), value: rowsOf("past_value", value, v.heads) };
}

/**
 * The input `past` of com.microsoft.Attention, keys and values in one tensor [2, batch, heads, past_length, head_size].
 */
export function stackedPastOf(operands: Operands, { batch, heads, dim }: Rows, v: Rows): Past {
  const past = operands.floats("past", [5]);
  if (!past) return { key: undefined, value: undefined };
  checkShape("past", past.shape, [2, batch, heads, "past_length", dim]);
  if (v.dim !== dim) throw wrongValue("past", "q, k and v of one size", `v of ${v.dim}`);
  const sizes = { batch, heads, length: past.shape[3]!, dim };
  const half = past.data.length / 2;
  return {
    key: new Rows(sizes, "bhld", past.data.subarray(0, half), past.form),
    value: new Rows(sizes, "bhld", past.data.subarray(half), past.form),
  };
}

/** Keys and values of the same shape as one tensor [2, batch, heads, length, head_size]. */
export function stack(key: Rows, value: Rows): OnnxTensor<unknown> {
  checkShape("present", value.shape, key.shape);
  const [keys, values] = [key.dataIn("bhld"), value.dataIn("bhld")];
  const data = emptyLike(keys, 2 * keys.length);
  data.set(keys);
  data.set(values, keys.length);
  return tensorOf(data, [2, ...key.shape], key.form);
}

/** The first `length` rows of every head. */
export function firstRows(rows: Rows | undefined, length: number): Rows | undefined {
  if (!rows || rows.length === length) return rows;
  const data = columns(rows.dataIn("bhld"), rows.length * rows.dim, 0, length * rows.dim);
  return new Rows({ batch: rows.batch, heads: rows.heads, length, dim: rows.dim }, "bhld", data, rows.form);
}

/** The rows of `past` with those of `next` behind them. */
export function appendRows(past: Rows | undefined, next: Rows): Rows {
  if (!past) return next;
  return writeRows(past, next, () => past.length, past.length + next.length);
}

/**
 * `length` rows for every head: startOf(batch entry) rows of `past`, the rows of `next`, then zeros. There are no more
 * than `past` and `next` have together.
 */
export function writeRows(past: Rows | undefined, next: Rows, startOf: (b: number) => number, length: number): Rows {
  const { batch, heads, dim } = next;
  const data = emptyLike(next.data, batch * heads * length * dim);
  if (data.length === 0) return new Rows({ batch, heads, length, dim }, "bhld", data, next.form);
  const rowsOfHead = (all: Floats, rows: number, n: number): Floats =>
    all.subarray(n * rows * dim, (n + 1) * rows * dim);
  for (let n = 0; n < batch * heads; n++) {
    const target = rowsOfHead(data, length, n);
    const start = startOf(Math.floor(n / heads)) * dim;
    if (past) target.set(rowsOfHead(past.dataIn("bhld"), past.length, n).subarray(0, start));
    target.set(rowsOfHead(next.dataIn("bhld"), next.length, n), start);
  }
  return new Rows({ batch, heads, length, dim }, "bhld", data, next.form);
}

/** `length` rows for every head: those from [first, end) of the batch entry, then zeros. */
export function takeRows(all: Rows, rangeOf: (b: number) => readonly [number, number], length: number): Rows {
  const { batch, heads, dim } = all;
  const data = emptyLike(all.data, batch * heads * length * dim);
  if (data.length === 0) return new Rows({ batch, heads, length, dim }, "bhld", data, all.form);
  const from = all.dataIn("bhld");
  for (let n = 0; n < batch * heads; n++) {
    const [first, end] = rangeOf(Math.floor(n / heads));
    data.set(from.subarray((n * all.length + first) * dim, (n * all.length + end) * dim), n * length * dim);
  }
  return new Rows({ batch, heads, length, dim }, "bhld", data, all.form);
}
