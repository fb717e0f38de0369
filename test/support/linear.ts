import { type Round, dot, exactly } from "./rounding.ts";

/** A linear layer with every array plain. */
export interface PlainLinear {
  /** [outFeatures, inFeatures] */
  weight: ArrayLike<number>;
  bias?: ArrayLike<number> | undefined;
  inFeatures: number;
  outFeatures: number;
}

/**
 * out = x·Wᵀ + bias. `round` is applied to the result of every operation: `exactly` makes it the oracle in f64,
 * Math.fround the plain f32 implementation.
 */
export function linearReference(
  x: ArrayLike<number>,
  { weight, bias, inFeatures, outFeatures }: PlainLinear,
  round: Round = exactly,
): Float64Array {
  const rows = x.length / inFeatures;
  const out = new Float64Array(rows * outFeatures);
  for (let row = 0; row < rows; row++) {
    for (let o = 0; o < outFeatures; o++) {
      const sum = dot(x, row * inFeatures, weight, o * inFeatures, inFeatures, round);
      out[row * outFeatures + o] = bias ? round(sum + bias[o]!) : sum;
    }
  }
  return out;
}

/** [rows, columns] as [columns, rows]. */
export function transposed(from: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: from.length }, (_, at) => from[(at % rows) * columns + Math.floor(at / rows)]!);
}
