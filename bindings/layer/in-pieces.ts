// Calls of `linear` with floats of 16 bits: rows of x become f32, and features of a weight are packed, some at a time. So
// the kernels compute with f32, and none of the operands is ever in memory as f32 as a whole.
import { BLOCK_ROWS, F32, PANEL_FEATURES } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { NARROW_SLACK, asF32, narrow } from "../engine/widen.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import { widenedBytes } from "../memory/staged-rows.ts";
import type { CheckedWeight } from "./linear-weights.ts";
import { featuresOfPiece, pack, packScratchBytes, stageFeatures } from "./pack.ts";
import { type LinearCall, runLinear, scratchBytesOf } from "./run-linear.ts";

/** Floats of a piece of rows. */
const ROW_FLOATS = 2 ** 19;
/** The least rows of a piece. */
const LEAST_ROWS = 12;

/** How many rows of `width` floats are taken at once: whole blocks of the kernel, or rows of its tiles. */
export function rowsOfPiece(width: number): number {
  const rows = ROW_FLOATS / width;
  const unit = rows < BLOCK_ROWS ? LEAST_ROWS : BLOCK_ROWS;
  return Math.max(1, Math.floor(rows / unit)) * unit;
}

/** The types of the floats of a call, by their numbers. */
export interface FloatTypes {
  x: number;
  residual: number;
  out: number;
}

/**
 * Runs a call whose x, residual, out and raw weight have any types.
 *
 * @param call its addresses are those of the floats as they are
 * @param weight what is not packed: then `call` has no panels
 */
export function runInPieces(
  instance: Instance,
  scope: CallScope,
  call: LinearCall,
  types: FloatTypes,
  weight: CheckedWeight | undefined,
): void {
  const { rows, inFeatures, outFeatures, outStride, panelBytes, epilogue } = call;
  const width = Math.max(types.x && inFeatures, (types.residual || types.out) && outFeatures);
  const rowStep = width ? Math.min(rows, rowsOfPiece(width)) : rows;
  const xStage = types.x && scope.reserve(widenedBytes(rowStep * inFeatures));
  const residualStage = types.residual && scope.reserve(widenedBytes(rowStep * outFeatures));
  const outStage = types.out && scope.reserve(rowStep * outStride + NARROW_SLACK);
  const isGated = weight !== undefined && weight.outFeatures > outFeatures;

  let { panels, epilogue: own } = call;
  let featureStep = outFeatures;
  let packPiece: (first: number, count: number) => void = () => {};
  if (weight) {
    featureStep = Math.min(outFeatures, featuresOfPiece(weight));
    const take = stageFeatures(instance, scope, weight, featureStep);
    const scratch = scope.reserve(packScratchBytes((weight.data as Floats).type, inFeatures));
    const bytes = Math.ceil(featureStep / PANEL_FEATURES) * panelBytes;
    const first = scope.reserve(isGated ? 2 * bytes : bytes);
    panels = first;
    if (isGated) own = { ...epilogue!, upPanels: first + bytes, upLane: 0 };
    packPiece = (feature, count) => {
      pack(instance, first, take(feature, count), scratch);
      if (isGated) pack(instance, first + bytes, take(outFeatures + feature, count), scratch);
    };
  }
  const scratch = scope.reserve(scratchBytesOf(instance, { ...call, epilogue: own }, rowStep));

  for (let feature = 0; feature < outFeatures; feature += featureStep) {
    const features = Math.min(featureStep, outFeatures - feature);
    const column = feature * 4;
    packPiece(feature, features);
    for (let row = 0; row < rows; row += rowStep) {
      const count = Math.min(rowStep, rows - row);
      const rowsAt = (ptr: number, dim: number, type: number, stage: number): number =>
        asF32(instance, ptr, row * dim, count * dim, type, stage);
      const out = types.out ? outStage : call.out + row * outStride;
      const piece = {
        ...call,
        out: out + column,
        x: rowsAt(call.x, inFeatures, types.x, xStage),
        panels,
        bias: call.bias && call.bias + column,
        rows: count,
        outFeatures: features,
        epilogue: own && {
          ...own,
          residual: own.residual && rowsAt(own.residual, outFeatures, types.residual, residualStage) + column,
          upBias: own.upBias && own.upBias + column,
        },
      };
      runLinear(instance, piece, scratch);
      if (types.out !== F32) {
        const to = call.out + (row * outFeatures + feature) * 2;
        narrow(instance, to, outStage + column, count, features, outFeatures, types.out);
      }
    }
  }
}
