// Norms of rows, each after a residual where there is one: s = x + residual.
//
//     RMSNorm    out = s/√(Σs²/n + eps) · (weight + offset)                  (Zhang, Sennrich, arXiv 1910.07467)
//     LayerNorm  out = (s − mean)/√(variance + eps) · weight + bias          (Ba, Kiros, Hinton, arXiv 1607.06450)
//     L2         out = s / max(√Σs², eps)
//
// Sums are f64, so that rounding does not grow with the length of a row, and no square of a float overflows. LayerNorm
// subtracts the first float of the row before it sums up, which cancels nothing where the deviation is small beside the
// mean: both sums come of one pass, and a constant row has a variance of 0.

import { madd } from "../../simd/lanes";
import { loadFloats, promoteHigh, promoteLow, storeFloats, sumPair } from "./rows";

// @ts-ignore: decorator
@inline export const NORM_RMS: i32 = 0;
// @ts-ignore: decorator
@inline export const NORM_LAYER: i32 = 1;
// @ts-ignore: decorator
@inline export const NORM_L2: i32 = 2;

/**
 * One of the norms above, of rows of `dim` floats, one behind the other.
 *
 *   out       [rows, dim], overwritten; may be x or residual
 *   sum       s, rows sumRowStride bytes apart: [rows, dim], which may be x or residual; or a row of scratch, with 0.
 *             Only written with a residual
 *   residual  [rows, dim], or 0
 *   weight    [dim], or 0 for ones
 *   bias      [dim], or 0; not read by NORM_L2
 *   offset    is added to the weight
 */
export function normRows(
  out: usize,
  sum: usize,
  x: usize,
  residual: usize,
  weight: usize,
  bias: usize,
  rows: i32,
  dim: i32,
  sumRowStride: usize,
  eps: f64,
  offset: f32,
  kind: i32,
): void {
  const rowBytes = (<usize>dim) << 2;
  const one = f32x4.splat(1);
  for (; rows > 0; rows--) {
    let s = x;
    if (residual) {
      addRow(sum, x, residual, dim);
      s = sum;
      sum += sumRowStride;
      residual += rowBytes;
    }
    // Σ(s − shift) and Σ(s − shift)².
    const shift: f32 = kind == NORM_LAYER ? load<f32>(s) : 0;
    const shift2 = f64x2.splat(<f64>shift);
    let low = f64x2.splat(0);
    let high = low;
    let lowSquares = low;
    let highSquares = low;
    let at = s;
    for (let left = dim; left > 0; left -= 4) {
      const four = loadFloats(at, left, shift);
      const a = f64x2.sub(promoteLow(four), shift2);
      const b = f64x2.sub(promoteHigh(four), shift2);
      low = f64x2.add(low, a);
      high = f64x2.add(high, b);
      lowSquares = f64x2.add(lowSquares, f64x2.mul(a, a));
      highSquares = f64x2.add(highSquares, f64x2.mul(b, b));
      at += 16;
    }
    const squares = sumPair(f64x2.add(lowSquares, highSquares));
    let mean: f64 = 0;
    let scale: f64;
    if (kind == NORM_L2) {
      scale = 1 / max<f64>(sqrt(squares), eps);
    } else {
      const deviation = kind == NORM_LAYER ? sumPair(f64x2.add(low, high)) / <f64>dim : 0;
      mean = <f64>shift + deviation;
      scale = 1 / sqrt(max<f64>(squares / <f64>dim - deviation * deviation, 0) + eps);
    }
    // The mean in two floats, since s − mean would lose what s and a rounded mean have in common.
    const meanHigh = <f32>mean;
    const mean1 = f32x4.splat(meanHigh);
    const mean2 = f32x4.splat(<f32>(mean - <f64>meanHigh));
    const scale4 = f32x4.splat(<f32>scale);
    for (let left = dim, at: usize = 0; left > 0; left -= 4) {
      let y = loadFloats(s + at, left, 0);
      if (kind == NORM_LAYER) y = f32x4.sub(f32x4.sub(y, mean1), mean2);
      y = f32x4.mul(y, scale4);
      const w = weight ? f32x4.add(v128.load(weight + at), f32x4.splat(offset)) : one;
      if (bias) y = madd(y, w, v128.load(bias + at));
      else if (weight) y = f32x4.mul(y, w);
      storeFloats(out + at, y, left);
      at += 16;
    }
    x += rowBytes;
    out += rowBytes;
  }
}

/** to = a + b on [dim] floats; `to` may be either. */
function addRow(to: usize, a: usize, b: usize, dim: i32): void {
  for (let left = dim; left > 0; left -= 4) {
    storeFloats(to, f32x4.add(v128.load(a), v128.load(b)), left);
    to += 16;
    a += 16;
    b += 16;
  }
}
