import { CONSTANT_BYTES } from "./simd/exp";

export { attend, scratchBytes } from "./attend";
export { writeConstants } from "./simd/exp";
export { linear, linearScratchBytes, packPanels, panelBytes } from "./ops/linear";
export { storeRows } from "./kv/rows";
export { rotate } from "./ops/rotary";
export { mergeBytes, mergeRows } from "./ops/merge";
export { topOfRow } from "./ops/top-k";
export { addRows, divideRow, normalizeRows, weigh, weighBytes } from "./ops/probabilities";

/** Bytes of the table that `writeConstants` writes. */
export function constantBytes(): i32 {
  return CONSTANT_BYTES;
}

/** Where TypeScript may start to use memory. */
export function heapBase(): usize {
  return __heap_base;
}

/** Whether this is the relaxed build. */
export function isRelaxed(): bool {
  return ASC_FEATURE_RELAXED_SIMD;
}
