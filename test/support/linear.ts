/** A linear layer with every array plain. */
export interface PlainLinear {
  /** [outFeatures, inFeatures] */
  weight: ArrayLike<number>;
  bias?: ArrayLike<number> | undefined;
  inFeatures: number;
  outFeatures: number;
}

/**
 * out = x·Wᵀ + bias. `round` is applied to the result of every operation: the identity makes it the oracle in f64, Math.fround the plain
 * f32 implementation.
 */
export function linearReference(
  x: ArrayLike<number>,
  { weight, bias, inFeatures, outFeatures }: PlainLinear,
  round: (x: number) => number = (x) => x,
): Float64Array {
  const rows = x.length / inFeatures;
  const out = new Float64Array(rows * outFeatures);
  for (let row = 0; row < rows; row++) {
    for (let o = 0; o < outFeatures; o++) {
      let sum = 0;
      for (let t = 0; t < inFeatures; t++) {
        sum = round(sum + round(x[row * inFeatures + t]! * weight[o * inFeatures + t]!));
      }
      out[row * outFeatures + o] = bias ? round(sum + bias[o]!) : sum;
    }
  }
  return out;
}

/** [rows, columns] as [columns, rows]. */
export function transposed(from: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: from.length }, (_, at) => from[(at % rows) * columns + Math.floor(at / rows)]!);
}
