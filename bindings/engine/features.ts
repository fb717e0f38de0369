import type { Variant } from "./kernels.ts";

// (module (func (result v128) i32.const 0 i8x16.splat i8x16.popcnt))
const SIMD_PROBE = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];
// (module (func (result v128) i32.const 1 i8x16.splat i32.const 2 i8x16.splat i8x16.relaxed_swizzle))
const RELAXED_PROBE = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
  253, 128, 2, 11,
];

// (module (table i64 1 funcref))
const TABLE64_PROBE = [0, 97, 115, 109, 1, 0, 0, 0, 4, 4, 1, 112, 4, 1];

/**
 * Whether the engine keeps the 6 × 2 tile of assembly/simd/gemm.ts in registers. 64-bit tables tell: the V8 of Node 24
 * has them, and leaves loads where they stand; that of Node 22 has none, hoists the loads and spills the accumulators.
 * The answer changes speed and no bit of a result.
 */
export function keepsTile6x2(): boolean {
  return WebAssembly.validate(new Uint8Array(TABLE64_PROBE));
}

/** The fastest build that this engine runs. Throws an Error where it has no wasm SIMD at all. */
export function bestVariant(): Variant {
  if (typeof WebAssembly === "undefined" || !WebAssembly.validate(new Uint8Array(SIMD_PROBE))) {
    throw new Error("heed needs an engine with WebAssembly SIMD, and this one has none");
  }
  return WebAssembly.validate(new Uint8Array(RELAXED_PROBE)) ? "relaxed" : "simd";
}
