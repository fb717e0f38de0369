import { CONSTANT_BYTES } from "./exp";

export { attend, scratchBytes } from "./flash";
export { writeConstants } from "./exp";
export { linear, linearScratchBytes, packPanels, panelBytes } from "./linear";
export { storeRows } from "./rows";
export { rotate } from "./rotary";
export { mergeBytes, mergeRows } from "./merge";
export { topOfRow } from "./top";
export { addRows, divideRow, normalizeRows, weigh, weighBytes } from "./weights";

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
