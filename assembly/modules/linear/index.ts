// A wasm file of its own: who uses neither an epilogue of `linear` nor weights in int8 or int4 does not compile it
// (docs/decisions/modules.md).

export { writeActivations } from "../../simd/activations";
export { fusedScratchBytes, linearFused } from "./linear";

/** Whether this is the relaxed build of the module. */
export function isRelaxedModule(): bool {
  return ASC_FEATURE_RELAXED_SIMD;
}
