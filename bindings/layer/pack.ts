// Weights of floats become panels of PANEL_FEATURES output features, as the kernels read them: some features at a time, so
// that those of 16 bits are never in memory as f32 as a whole.
import { F32, PANEL_FEATURES } from "../engine/abi.ts";
import { type Instance, WORK_OF_FLOAT } from "../engine/instance.ts";
import { callItem } from "../engine/items.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { bytesOf } from "../memory/float-types.ts";
import { stageRows } from "../memory/staged-rows.ts";
import type { CheckedWeight } from "./linear-weights.ts";

/** Floats of a weight that are taken at once. */
const WEIGHT_FLOATS = 2 ** 20;
/** The least features that are taken at once. */
const LEAST_FEATURES = 4 * PANEL_FEATURES;

/** Some output features of a weight, in linear memory. */
export interface WeightRows {
  ptr: number;
  /** Bytes from one output feature to the next, and from one input feature to the next. */
  outBytes: number;
  inBytes: number;
  inFeatures: number;
  outFeatures: number;
  /** F32, HALF or BF16. */
  type: number;
}

/** Bytes of the scratch in which `pack` makes f32 of a panel. */
export function packScratchBytes(type: number, inFeatures: number): number {
  return type === F32 ? 0 : PANEL_FEATURES * inFeatures * 4;
}

/** Packs a weight, on all threads where that pays. */
export function pack({ kernels, pool }: Instance, to: number, weight: WeightRows, scratch: number): void {
  const { ptr, outBytes, inBytes, inFeatures, outFeatures, type } = weight;
  const wanted = pool?.itemsFor(WORK_OF_FLOAT * inFeatures * outFeatures);
  if (type === F32) {
    if (!wanted) {
      kernels.packPanels(to, ptr, inFeatures, outFeatures, outBytes, inBytes);
      return;
    }
    const items = panelRuns(outFeatures, wanted, (first, features) => {
      return [to + first * inFeatures * 4, ptr + first * outBytes, inFeatures, features, outBytes, inBytes];
    });
    pool!.run("packPanels", 0, items);
    return;
  }
  const itemOf = (first: number, features: number): number[] => [
    ...widenArguments(weight, first, features, -1),
    ...[to + first * inFeatures * 4, -1, inFeatures, features],
    // As widenArguments leaves them.
    ...(inBytes === 2 ? [inFeatures * 4, 4] : [4, features * 4]),
  ];
  if (wanted) {
    const items = panelRuns(outFeatures, wanted, itemOf);
    const bytes = Math.ceil(outFeatures / PANEL_FEATURES / wanted) * packScratchBytes(type, inFeatures);
    if (pool!.run("gatherRows", bytes, items, "packPanels", WIDEN_ARGUMENTS)) return;
  }
  for (const item of panelRuns(outFeatures, Infinity, itemOf)) {
    callItem(kernels, scratch, item, "gatherRows", "packPanels", WIDEN_ARGUMENTS);
  }
}

/**
 * The arguments of `gatherRows` that make f32 at `to` of `features` output features of a weight of 16 bits from `first` on:
 * [features][inFeatures], or [inFeatures][features] where the features stand side by side.
 */
export function widenArguments(
  { ptr, outBytes, inBytes, inFeatures, type }: WeightRows,
  first: number,
  features: number,
  to: number,
): number[] {
  const from = ptr + first * outBytes;
  return inBytes === 2
    ? [to, from, 0, features, inFeatures, inFeatures * 4, outBytes, type]
    : [to, from, 0, inFeatures, features, features * 4, inBytes, type];
}

/** How many arguments `gatherRows` has. */
const WIDEN_ARGUMENTS = 8;

/** Cuts the features into at most `most` runs of whole panels. */
export function panelRuns(
  outFeatures: number,
  most: number,
  itemOf: (first: number, features: number) => number[],
): number[][] {
  const step = Math.max(1, Math.ceil(outFeatures / PANEL_FEATURES / most)) * PANEL_FEATURES;
  const items: number[][] = [];
  for (let first = 0; first < outFeatures; first += step)
    items.push(itemOf(first, Math.min(step, outFeatures - first)));
  return items;
}

/** How many output features of a weight are taken at once: whole panels. */
export function featuresOfPiece({ inFeatures, outFeatures }: CheckedWeight): number {
  const features = Math.floor(WEIGHT_FLOATS / inFeatures / PANEL_FEATURES) * PANEL_FEATURES;
  return Math.min(outFeatures, Math.max(LEAST_FEATURES, features));
}

/**
 * Brings output features of a weight to linear memory, some at a time: those of the last time are overwritten, unless the
 * weight stands there.
 */
export function stageFeatures(
  { arena }: Instance,
  scope: CallScope,
  { data, inFeatures, outFeatures, inStride }: CheckedWeight,
  maxRows: number,
): (first: number, count: number) => WeightRows {
  const { type } = data as Floats;
  const isTransposed = inStride !== 1;
  const take = stageRows(arena, scope, data as Floats, {
    layout: isTransposed ? "bhld" : "blhd",
    rows: outFeatures,
    heads: isTransposed ? inFeatures : 1,
    dim: isTransposed ? 1 : inFeatures,
    maxRows,
  });
  return (first, count) => {
    const { ptr, rowStride, headStride } = take(0, first, count);
    const inBytes = isTransposed ? headStride : bytesOf(type);
    return { ptr, outBytes: rowStride, inBytes, inFeatures, outFeatures: count, type };
  };
}

/** Packs a weight of floats at address `to`, some features at a time. */
export function packFloats(instance: Instance, scope: CallScope, to: number, weight: CheckedWeight): void {
  const { inFeatures, outFeatures, data } = weight;
  const step = featuresOfPiece(weight);
  const take = stageFeatures(instance, scope, weight, step);
  const scratch = scope.reserve(packScratchBytes((data as Floats).type, inFeatures));
  for (let first = 0; first < outFeatures; first += step) {
    const count = Math.min(step, outFeatures - first);
    pack(instance, to + first * inFeatures * 4, take(first, count), scratch);
  }
}
