// `linear` over weights in int8 and int4 and with an epilogue, where ops/linear.ts has x·Wᵀ + bias of floats: an activation
// or a gate, and a residual, are applied to a block of products before it leaves the first-level cache.

import { BLOCK_ROWS, multiplyPanel } from "../../ops/linear";
import { ROWS_OVER } from "../../simd/gemm";
import { LANES, LANE_BYTES } from "../../simd/lanes";
import { storeBlock } from "./epilogue";
import { groupBytes, multiplyIntegers, panelBytes, roundRows, xGroupBytes } from "./integers";

/** Bytes of the products of one block of rows with one panel, and with one more where those are a gate. */
// @ts-ignore: decorator
@inline function productBytes(isGated: bool): usize {
  return (<usize>(BLOCK_ROWS + ROWS_OVER) * LANE_BYTES) << (<usize>isGated);
}

/**
 * Bytes of scratch that `linearFused` needs: the products of one block of rows with one panel, or two, and where W is of
 * integers a group of it and the block of rows.
 */
export function fusedScratchBytes(rows: f64, inFeatures: f64, group: i32, isGated: bool): f64 {
  let bytes = <f64>productBytes(isGated);
  if (group) {
    const groups = ceil(inFeatures / <f64>group);
    bytes += <f64>groupBytes(group) + groups * <f64>xGroupBytes(<i32>min<f64>(rows, BLOCK_ROWS), group);
  }
  return bytes;
}

/**
 * out = act(x·Wᵀ + bias) + residual; gated, with upPanels, out = act(x·Wᵀ + bias)·(x·Upᵀ + upBias) + residual.
 *
 *   out      [rows] rows of outFeatures floats, outRowStride bytes apart, overwritten; apart from everything else but
 *            residual
 *   x        [rows] rows of inFeatures floats, xRowStride bytes apart
 *   panels   W as packed by packPanels, or in groups of integers (integers.ts)
 *   bias     [outFeatures], or 0
 *   scratch  fusedScratchBytes(rows, inFeatures, group, isGated) bytes, overwritten
 *   useTile6x2  see simd/gemm.ts
 *   table    the table of simd/constants.ts, with what writeActivations adds; only read with an activation
 *   residual [rows] rows like those of out, or 0; may be out
 *   activation  see simd/activations.ts
 *   upPanels the panel that has the first row of Up, or 0, and upLane its place there: the others stand behind it
 *   group    input features of a group of integers; 0: the panels are f32
 *   isInt4   whether these are int4, and no int8
 */
export function linearFused(
  out: usize,
  x: usize,
  panels: usize,
  bias: usize,
  scratch: usize,
  rows: i32,
  inFeatures: i32,
  outFeatures: i32,
  outRowStride: usize,
  xRowStride: usize,
  useTile6x2: bool,
  table: usize,
  residual: usize,
  activation: i32,
  upPanels: usize,
  upBias: usize,
  upLane: i32,
  group: i32,
  isInt4: bool,
): void {
  assert(inFeatures > 0 && outFeatures > 0, "a weight must not be empty");
  assert(
    ((out | x | panels | bias | residual | upPanels | upBias | outRowStride | xRowStride) & 3) == 0,
    "pointers and strides must be aligned to 4 bytes",
  );
  const panelStep = group ? panelBytes(inFeatures, group, isInt4) : <usize>inFeatures * LANE_BYTES;
  const upProducts = scratch + productBytes(false);
  const integers = scratch + productBytes(upPanels != 0);
  const xIntegers = integers + groupBytes(group);
  for (; rows > 0; rows -= BLOCK_ROWS) {
    const count = min(BLOCK_ROWS, rows);
    if (group) roundRows(xIntegers, x, integers, count, inFeatures, group, xRowStride);
    let panel: usize = 0;
    for (let feature = 0; feature < outFeatures; feature += LANES) {
      const end = min(feature + LANES, outFeatures);
      let c = scratch;
      let from = panels + panel;
      let lane = 0;
      let gate: usize = 0;
      let partBias = bias;
      let act = activation;
      // The gate first; what goes through it may stand in two panels.
      for (let at = feature; at < end;) {
        if (group) {
          multiplyIntegers(c, xIntegers, from, integers, count, inFeatures, group, isInt4);
        } else {
          const width = min(LANES, lane + end - at);
          multiplyPanel(c, x, from, count, inFeatures, width, useTile6x2, xRowStride);
        }
        const column = (<usize>at) << 2;
        if (upPanels && !gate) {
          storeBlock(c - column, c, 0, bias, 0, count, column, (<usize>end) << 2, LANE_BYTES, act, table);
          gate = c;
          c = upProducts;
          from = upPanels + panel;
          lane = upLane;
          partBias = upBias;
          act = 0;
        } else {
          const first = c + ((<usize>lane) << 2);
          at = min(at + LANES - lane, end);
          const stop = (<usize>at) << 2;
          storeBlock(out, first, gate, partBias, residual, count, column, stop, outRowStride, act, table);
          gate += gate ? stop - column : 0;
          from += panelStep;
          lane = 0;
        }
      }
      panel += panelStep;
    }
    out += <usize>BLOCK_ROWS * outRowStride;
    x += <usize>BLOCK_ROWS * xRowStride;
    if (residual) residual += <usize>BLOCK_ROWS * outRowStride;
  }
}
