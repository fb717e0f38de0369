/** Types of floats: of 32 bits, IEEE 754 binary16, bfloat16. @category Memory */
export type FloatDtype = "f32" | "f16" | "bf16";

/**
 * The numbers by which the kernels know them: F32, HALF and BF16 of engine/abi.ts, which stands above memory
 * (test/package/abi.test.ts compares them).
 */
export const FLOAT_TYPES = { f32: 0, f16: 3, bf16: 4 } as const;

const { f32: F32, f16: HALF, bf16: BF16 } = FLOAT_TYPES;
export { BF16, F32, HALF };

/** Bytes of a float of a type, by its number. */
export function bytesOf(type: number): 2 | 4 {
  return type === F32 ? 4 : 2;
}

/** The name of a type, by its number. */
export function dtypeOf(type: number): FloatDtype {
  return type === F32 ? "f32" : type === HALF ? "f16" : "bf16";
}
