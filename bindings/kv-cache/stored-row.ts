import { TYPES } from "../engine/kernels.ts";

/** Reads a row as it is stored, as floats. */
export function readRow(memory: ArrayBuffer, type: number, ptr: number, scale: number, out: Float32Array): void {
  const { length } = out;
  if (type === TYPES.f32.number) {
    out.set(new Float32Array(memory, ptr, length));
  } else if (type === TYPES.f16.number) {
    new Uint16Array(memory, ptr, length).forEach((bits, n) => (out[n] = fromBinary16(bits)));
  } else {
    const factor = new Float32Array(memory, scale, 1)[0]!;
    new Int8Array(memory, ptr, length).forEach((byte, n) => (out[n] = byte * factor));
  }
}

/** The value of a binary16, which is finite. */
export function fromBinary16(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}
