// Tensors of ONNX in plain arrays, and attention between them.
import { expect } from "vitest";
import type { OnnxTensor } from "../../bindings/onnx/index.ts";
import { floorOf, maxError } from "./budget.ts";
import { naive } from "./naive.ts";
import { floats, uniform } from "./random.ts";
import { type PlainOptions, reference } from "./reference.ts";

type Floats = Float32Array<ArrayBuffer>;
export interface Plain {
  data: Floats;
  shape: number[];
}

let seed = 0;
export const tensor = (...shape: number[]): Plain => ({
  data: floats(
    shape.reduce((size, length) => size * length, 1),
    uniform(++seed),
  ),
  shape,
});
export const ints = (data: readonly number[], ...shape: number[]) => ({
  data: Int32Array.from(data),
  shape: shape.length > 0 ? shape : [data.length],
});

/** [b, m, n, dim] as [b, n, m, dim]; of three dimensions, m is split off the last one. */
export function swapped({ data, shape }: Plain, m?: number): Plain {
  const [b, rows, heads, dim] =
    m === undefined ? (shape as [number, number, number, number]) : [shape[0]!, shape[1]!, m, shape[2]! / m];
  const to = new Float32Array(data.length);
  for (let n = 0; n < b * rows * heads; n++) {
    const [batch, row, head] = [Math.floor(n / (rows * heads)), Math.floor(n / heads) % rows, n % heads];
    to.set(data.subarray(n * dim, (n + 1) * dim), ((batch * heads + head) * rows + row) * dim);
  }
  return { data: to, shape: [b, heads, rows, dim] };
}

/** a before b along dimension 2. */
export function joined(a: Plain, b: Plain): Plain {
  const [batch, heads, rows, dim] = a.shape as [number, number, number, number];
  const length = rows + b.shape[2]!;
  const data = new Float32Array(batch * heads * length * dim);
  for (let n = 0; n < batch * heads; n++) {
    data.set(a.data.subarray(n * rows * dim, (n + 1) * rows * dim), n * length * dim);
    data.set(b.data.subarray(n * (length - rows) * dim, (n + 1) * (length - rows) * dim), (n * length + rows) * dim);
  }
  return { data, shape: [batch, heads, length, dim] };
}

/** x[…, i] + bias[start + i] */
export const plus = ({ data, shape }: Plain, bias: Floats, start: number): Plain => ({
  data: data.map((x, at) => x + bias[start + (at % shape.at(-1)!)]!),
  shape,
});

/**
 * Expects an output to be attention from q to k and v, all [batch, heads, length, dim], within the budget of plain f32.
 */
export function expectAttention(got: OnnxTensor, q: Plain, k: Plain, v: Plain, given: Partial<PlainOptions>): void {
  const [batch, numHeads, length, headDim] = q.shape as [number, number, number, number];
  const sizes = { batch, numHeads, headDim, numKvHeads: k.shape[1]!, valueDim: v.shape[3]!, layout: "bhld" as const };
  const options: PlainOptions = { ...given, ...sizes };
  const exact = reference(q.data, k.data, v.data, options);
  const plain = naive(q.data, k.data, v.data, options);
  const budget = Math.max(
    2 * maxError(plain.out, exact.out),
    floorOf({ q: q.data, k: k.data, v: v.data, options }, exact).out,
  );
  const isPacked = got.shape.length === 3;
  const rows = isPacked ? swapped({ data: Float32Array.from(got.data), shape: [...got.shape] }, numHeads) : got;
  expect(rows.shape).toEqual([batch, numHeads, length, v.shape[3]]);
  expect(maxError(rows.data, exact.out)).toBeLessThanOrEqual(budget);
}
