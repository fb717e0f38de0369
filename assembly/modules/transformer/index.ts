// A wasm file of its own: what a transformer block needs beside attention and linear layers, for those who import
// heed/transformer (docs/decisions/transformer-module.md).

export { writeActivations } from "../../simd/activations";
export { activateRows } from "./activations";
export { embedRows } from "./embedding";
export { meanRows } from "./pooling";
export { normRows } from "./norms";
export { capLogits, softmaxBytes, softmaxRows } from "./softmax";

/** Whether this is the relaxed build of the module. */
export function isRelaxedModule(): bool {
  return ASC_FEATURE_RELAXED_SIMD;
}
