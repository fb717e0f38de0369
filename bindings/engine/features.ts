import type { Variant } from "./kernels.ts";

/** Whether the engine runs a module of these sections. */
function runs(...sections: number[]): boolean {
  return WebAssembly.validate(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, ...sections));
}

/** Whether the engine runs (module (func (result v128) …)) of a code section. */
function runsVector(...code: number[]): boolean {
  return runs(1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, ...code);
}

/**
 * Whether the engine keeps the 6 × 2 tile of assembly/simd/gemm.ts in registers. 64-bit tables tell: the V8 of Node 24
 * has them, and leaves loads where they stand; that of Node 22 has none, hoists the loads and spills the accumulators.
 * The answer changes speed and no bit of a result.
 */
export function keepsTile6x2(): boolean {
  // (module (table i64 1 funcref))
  return runs(4, 4, 1, 112, 4, 1);
}

/** The fastest build that this engine runs. Throws an Error where it has no wasm SIMD at all. */
export function bestVariant(): Variant {
  // i32.const 0 i8x16.splat i8x16.popcnt
  if (typeof WebAssembly === "undefined" || !runsVector(10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11)) {
    throw new Error("heed needs an engine with WebAssembly SIMD, and this one has none");
  }
  // i32.const 1 i8x16.splat i32.const 2 i8x16.splat i8x16.relaxed_swizzle
  const hasRelaxed = runsVector(15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11);
  return hasRelaxed ? "relaxed" : "simd";
}
