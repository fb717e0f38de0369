// 16-bit floats in plain arithmetic, apart from the kernels: binary16 and bfloat16, to and from f32.
import fc from "fast-check";
import { expect } from "vitest";
import type { Weight } from "../../bindings/layer/linear-weights.ts";
import type { HalfArray } from "../../bindings/memory/data.ts";
import type { FloatDtype } from "../../bindings/memory/float-types.ts";
import type { Tensor } from "../../bindings/memory/tensor.ts";
import type { Heed } from "../../bindings/heed.ts";
import { floats } from "./random.ts";

export type HalfDtype = HalfArray["dtype"];

/** Bits of the fraction, exponent of the smallest normal number, and the bits of Infinity. */
const FORMATS = {
  f16: { fraction: 10, least: -14, infinity: 0x7c00 },
  bf16: { fraction: 7, least: -126, infinity: 0x7f80 },
} as const;

/** What 16 bits stand for. */
export function fromBits(bits: number, dtype: HalfDtype): number {
  const { fraction, least, infinity } = FORMATS[dtype];
  const magnitude = bits & 0x7fff;
  const sign = bits > 0x7fff ? -1 : 1;
  if (magnitude >= infinity) return magnitude > infinity ? NaN : sign * Infinity;
  const exponent = magnitude >> fraction;
  const rest = magnitude - (exponent << fraction);
  return exponent === 0
    ? sign * rest * 2 ** (least - fraction)
    : sign * (2 ** fraction + rest) * 2 ** (least + exponent - 1 - fraction);
}

/** The values that stand for finite numbers, from 0 up. */
const VALUES = { f16: magnitudes("f16"), bf16: magnitudes("bf16") };

function magnitudes(dtype: HalfDtype): Float64Array {
  return Float64Array.from({ length: FORMATS[dtype].infinity }, (_, bits) => fromBits(bits, dtype));
}

/**
 * The 16 bits nearest to a number, ties to even; NaN is any NaN. Numbers too large for f16 become the largest one, for
 * bf16 Infinity, as if it were the next value.
 */
export function toBits(x: number, dtype: HalfDtype): number {
  if (Number.isNaN(x)) return NaN;
  const { infinity } = FORMATS[dtype];
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(x);
  if (magnitude === Infinity) return sign | infinity;
  const values = VALUES[dtype];
  let below = 0;
  for (let above = values.length; above - below > 1;) {
    const middle = (below + above) >> 1;
    if (values[middle]! <= magnitude) below = middle;
    else above = middle;
  }
  const next = values[below + 1] ?? (dtype === "f16" ? Infinity : 2 ** 128);
  const [down, up] = [magnitude - values[below]!, next - magnitude];
  return sign | (up < down || (up === down && below % 2 === 1) ? below + 1 : below);
}

/** Floats rounded to 16 bits. */
export function halvesOf(floats: ArrayLike<number>, dtype: HalfDtype): HalfArray & { data: Uint16Array<ArrayBuffer> } {
  // Each value is looked for once.
  const known = new Map<number, number>();
  const bitsOf = (x: number): number => {
    // A Map takes −0 for 0.
    const sign = Object.is(x, -0) ? 0x8000 : 0;
    let bits = known.get(x);
    if (bits === undefined) known.set(x, (bits = bitsOr(toBits(x, dtype)) & ~sign));
    return bits | sign;
  };
  return { data: Uint16Array.from(floats, bitsOf), dtype };
}

/** The floats that 16 bits stand for. */
export function floatsOf({ data, dtype }: { data: ArrayLike<number>; dtype: HalfDtype }): Float32Array<ArrayBuffer> {
  return Float32Array.from(data, (bits) => fromBits(bits, dtype));
}

/** A Tensor with the floats of an array, or of 16 bits. */
export function tensorOf(heed: Heed, rows: Float32Array | HalfArray): Tensor<FloatDtype> {
  if (rows instanceof Float32Array) {
    const tensor = heed.tensor(rows.length);
    tensor.data.set(rows);
    return tensor;
  }
  const tensor = heed.tensor(rows.data.length, rows.dtype);
  tensor.data.set(rows.data);
  return tensor;
}

/** Where an operand lies, and in how many bits. */
export const forms = fc.record({
  dtype: fc.constantFrom("f32", "f16", "bf16"),
  place: fc.constantFrom("array", "Tensor", "shared"),
});
export type Form = typeof forms extends fc.Arbitrary<infer T> ? T : never;

/** An operand in a form, and the floats that it stands for. `end` gives its memory back. */
export function inForm(
  heed: Heed,
  floats: Float32Array,
  { dtype, place }: Form,
): { rows: Float32Array | HalfArray | Tensor<FloatDtype>; floats: Float32Array; end: () => void } {
  const rounded = dtype === "f32" ? floats : halvesOf(floats, dtype);
  const exact = rounded instanceof Float32Array ? rounded : floatsOf(rounded);
  if (place === "Tensor") {
    const tensor = tensorOf(heed, rounded);
    return { rows: tensor, floats: exact, end: () => tensor.dispose() };
  }
  if (place === "array") return { rows: rounded, floats: exact, end: () => {} };
  if (rounded instanceof Float32Array) {
    const shared = new Float32Array(new SharedArrayBuffer(rounded.byteLength));
    shared.set(rounded);
    return { rows: shared, floats: exact, end: () => {} };
  }
  const data = new Uint16Array(new SharedArrayBuffer(2 * exact.length));
  data.set(rounded.data);
  return { rows: { data, dtype: rounded.dtype }, floats: exact, end: () => {} };
}

/** The bits of floats, all NaN alike. */
export function bitsOfFloats(floats: Float32Array): number[] {
  return Array.from(new Uint32Array(floats.slice().buffer), (bits, n) => (Number.isNaN(floats[n]) ? NaN : bits));
}

/** 16 bits, all NaN alike. */
export function bitsOfHalves(data: Uint16Array, dtype: HalfDtype): number[] {
  return Array.from(data, (bits) => ((bits & 0x7fff) > FORMATS[dtype].infinity ? NaN : bits));
}

/** Expects an output, of whatever type, to have the floats `expected`, rounded to it. */
export function expectRounded(out: Float32Array | HalfArray | Tensor<FloatDtype>, expected: Float32Array): void {
  if (out instanceof Float32Array) {
    expect(bitsOfFloats(out)).toEqual(bitsOfFloats(expected));
    return;
  }
  if (out.dtype === "f32") {
    expectRounded(out.data as unknown as Float32Array, expected);
    return;
  }
  const dtype = out.dtype;
  const rounded = halvesOf(expected, dtype).data;
  expect(bitsOfHalves(out.data as Uint16Array, dtype)).toEqual(bitsOfHalves(rounded, dtype));
}

/** Some 16 bits of NaN where `toBits` says that it is one. */
export const bitsOr = (bits: number): number => (Number.isNaN(bits) ? 0x7fff : bits);

/** An operand with a shape, as the options bias and weight take it. */
export function shaped(rows: Float32Array | HalfArray | Tensor<FloatDtype>, shape: readonly number[]): Weight {
  return "dtype" in rows && !("dispose" in rows) ? { ...rows, shape } : { data: rows, shape };
}

/** Every value of a format, what lies half-way between neighbours, and the floats beside those; both signs. */
export function boundaries(dtype: HalfDtype): number[] {
  const infinity = { f16: 0x7c00, bf16: 0x7f80 }[dtype];
  const largest = fromBits(infinity - 1, dtype);
  const values: number[] = [NaN, Infinity, -Infinity, 3.4028234663852886e38, 2 ** -149, 2 ** -126, largest];
  for (let bits = 0; bits < infinity; bits++) {
    const [low, high] = [fromBits(bits, dtype), fromBits(bits + 1, dtype)];
    values.push(low);
    const middle = Math.fround((low + (high === Infinity ? 2 * low - fromBits(bits - 1, dtype) : high)) / 2);
    const word = new Uint32Array(Float32Array.of(middle).buffer)[0]!;
    for (const near of [word - 1, word, word + 1]) values.push(new Float32Array(Uint32Array.of(near).buffer)[0]!);
  }
  return values.flatMap((x) => [x, -x]);
}

/** Random floats; long arrays repeat, since to round a value by plain arithmetic takes long. */
export function repeated(length: number, next: () => number): Float32Array {
  const some = floats(Math.min(length, 4093), next);
  const all = new Float32Array(length);
  for (let n = 0; n < length; n += some.length) all.set(some.subarray(0, length - n), n);
  return all;
}
