// Floats of 16 bits in plain arrays: for what the operators compute beside the kernels of heed, and the form of outputs.
import type { Float16ArrayLike, HalfArray } from "../memory/data.ts";

/** How floats come and go: as f32, as the bits of f16 or bf16, or as a Float16Array. */
export type FloatForm = "f32" | "f16" | "bf16" | "Float16Array";

/** Floats inside an operator; those of 16 bits as their bits. */
export type Floats = Float32Array | Uint16Array;

/** The type of floats that come in a form. */
export function dtypeOf(form: FloatForm): "f32" | "f16" | "bf16" {
  return form === "Float16Array" ? "f16" : form;
}

/** Floats as heed takes them. */
export function given(data: Floats, form: FloatForm): Float32Array | HalfArray {
  return data instanceof Float32Array ? data : { data, dtype: dtypeOf(form) as "f16" | "bf16" };
}

/** Zeros of a form. */
export function zeros(length: number, form: FloatForm): Floats {
  return form === "f32" ? new Float32Array(length) : new Uint16Array(length);
}

/** Floats as a caller gets them. */
export function returned(data: Floats, form: FloatForm): Float32Array | Uint16Array | Float16ArrayLike {
  const { Float16Array } = globalThis as { Float16Array?: new (...view: unknown[]) => Float16ArrayLike };
  if (form !== "Float16Array" || !Float16Array) return data;
  return new Float16Array(data.buffer, data.byteOffset, data.length);
}

/** The floats themselves, or in f32 those that 16 bits stand for. */
export function widened(data: Floats, form: FloatForm): Float32Array {
  if (data instanceof Float32Array) return data;
  const floats = new Float32Array(data.length);
  const words = new Uint32Array(floats.buffer);
  data.forEach((bits, i) => {
    if (form === "bf16") {
      words[i] = bits << 16;
      return;
    }
    // Exponent and fraction at their places in f32; 2¹¹² makes up for the bias of the exponent.
    words[i] = ((bits & 0x8000) << 16) | ((bits & 0x7fff) << 13);
    floats[i]! *= 2 ** 112;
    if ((bits & 0x7c00) === 0x7c00) words[i] |= 0x7f800000;
  });
  return floats;
}

/**
 * f32 in a form: to nearest, ties to even, as the kernels of heed round. In f16 finite values beyond ±65504 become
 * ±65504.
 */
export function rounded(floats: Float32Array, form: FloatForm): Floats {
  if (form === "f32") return floats;
  const words = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  return Uint16Array.from(words, (word, i) => {
    const [sign, magnitude] = [(word >>> 16) & 0x8000, word & 0x7fffffff];
    if (magnitude > 0x7f800000) return sign | 0x7fff; // NaN
    if (form === "bf16") return sign | ((magnitude + 0x7fff + ((magnitude >>> 16) & 1)) >>> 16);
    if (magnitude === 0x7f800000) return sign | 0x7c00;
    // Subnormal values: a unit of f32 beside 0.5 is 2⁻²⁴.
    const isSmall = magnitude < 0x38800000;
    const half = isSmall
      ? (Math.fround(Math.abs(floats[i]!) + 0.5) - 0.5) * 2 ** 24
      : (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
    return sign | Math.min(half, 0x7bff);
  });
}
