// Weights in int8 and int4 in plain lines of f64: what they are rounded to, and blocks of GGUF and what they say.

/** A weight as it is stored: its values, and the largest error of x in it, for bounds. */
export type Dtype = "int8" | "q4";

/** The nearest f32 that is no smaller, where that is subnormal; else the nearest one. */
function scaleOf(value: number): number {
  const size = Math.abs(value);
  return size < 2 ** -126 ? Math.sign(value) * Math.ceil(size * 2 ** 149) * 2 ** -149 : Math.fround(value);
}

/** W [outFeatures, inFeatures] as the values that it is stored as. */
export function storedWeight(weight: ArrayLike<number>, inFeatures: number, dtype: Dtype): Float64Array {
  const group = dtype === "int8" ? 64 : 32;
  return Float64Array.from({ length: weight.length }, (_, at) => {
    const t = at % inFeatures;
    const first = at - (t % group);
    const end = Math.min(first + group, at - t + inFeatures);
    let extreme = 0;
    for (let i = first; i < end; i++) if (Math.abs(weight[i]!) > Math.abs(extreme)) extreme = weight[i]!;
    if (extreme === 0) return 0;
    const unit = dtype === "int8" ? scaleOf(Math.abs(extreme) / 127) : 16 * scaleOf(-extreme / 128);
    return Math.min(dtype === "int8" ? 127 : 7, evenly(weight[at]! * (1 / unit))) * unit;
  });
}

/** Rounds to the nearest integer, ties to even. */
function evenly(x: number): number {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + (low & 1) : Math.round(x);
}

/**
 * How far x·Wᵀ may be from f64 over the values that W is stored as, at each place: x is off by 1/65534 of the largest
 * value of its group, and each of f32's roundings by 2⁻²⁴ of the sum of magnitudes: a scale of x, its product with that
 * of W, the product with the sum, one sum a group, and the conversion of a sum beyond 2²⁴. Two scales whose product is
 * subnormal lose 2⁻¹⁵⁰ there, times a sum of integers below 64·127·32767 < 2²⁸.
 */
export function boundOf(x: ArrayLike<number>, stored: Float64Array, inFeatures: number, group: number): Float64Array {
  const [rows, outFeatures] = [x.length / inFeatures, stored.length / inFeatures];
  const bound = new Float64Array(rows * outFeatures);
  for (let row = 0; row < rows; row++) {
    for (let o = 0; o < outFeatures; o++) {
      let sum = 0;
      let off = 0;
      for (let first = 0; first < inFeatures; first += group) {
        let largest = 0;
        let weights = 0;
        for (let t = first; t < Math.min(first + group, inFeatures); t++) {
          const value = Math.abs(x[row * inFeatures + t]!);
          largest = Math.max(largest, value);
          weights += Math.abs(stored[o * inFeatures + t]!);
          sum += value * Math.abs(stored[o * inFeatures + t]!);
        }
        // The scale is 2⁻¹¹² at least, and rounding x·(1/scale) in f32 costs less than an eighth of a unit.
        off += weights * 0.63 * Math.max(largest / 32767, 2 ** -112);
      }
      const groups = Math.ceil(inFeatures / group);
      bound[row * outFeatures + o] = off + (6 + groups) * 2 ** -24 * (sum + off) + groups * 2 ** -122;
    }
  }
  return bound;
}

/** Blocks of GGUF out of random bytes, with scales of usual size, and the values that they say. */
export function randomBlocks(
  dtype: "q8_0" | "q4_0",
  count: number,
  next: () => number,
): { data: Uint8Array<ArrayBuffer>; values: Float64Array } {
  const size = dtype === "q8_0" ? 34 : 18;
  const data = Uint8Array.from({ length: count * size }, () => Math.floor(256 * next()));
  const values = new Float64Array(32 * count);
  for (let block = 0; block < count; block++) {
    const at = block * size;
    // Exponents from subnormal to 15, either sign.
    const bits = ((block % 16) << 10) | (data[at]! << 2) | (block & 1 ? 0x8000 : 0);
    data[at] = bits & 255;
    data[at + 1] = bits >> 8;
    const exponent = (bits >> 10) & 31;
    const size16 = exponent ? (1024 + (bits & 1023)) * 2 ** (exponent - 25) : (bits & 1023) * 2 ** -24;
    const d = bits & 0x8000 ? -size16 : size16;
    for (let i = 0; i < 32; i++) {
      const q =
        dtype === "q8_0"
          ? (data[at + 2 + i]! << 24) >> 24
          : (i < 16 ? data[at + 2 + i]! & 15 : data[at + 2 + i - 16]! >> 4) - 8;
      values[32 * block + i] = d * q;
    }
  }
  return { data, values };
}
