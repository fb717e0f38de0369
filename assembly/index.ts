import { CONSTANT_BYTES } from "./simd/constants";

export { attend, pieceTileBytes, scratchBytes, workItems } from "./attend";
export { writeConstants } from "./simd/constants";
export { linear, linearScratchBytes, packPanels } from "./ops/linear";
export { gatherRows } from "./kv/gather";
export { storeRows } from "./kv/store";
export { rotate } from "./ops/rotary";
export { mergeBytes, mergeRows } from "./ops/merge";
export { topOfRow } from "./ops/top-k";
export { divideRow, normalizeRows, sumRows } from "./ops/probabilities";
export { scoreRows, scoreRowsBytes } from "./ops/score-rows";

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
