// The linear layer: out = x·Wᵀ + bias, the register tile of simd/gemm.ts over blocks that stay in the caches.
//
//     W is packed once, in panels of LANES output features, so that a tile reads it in address order:
//
//         W [outFeatures][inFeatures]               panel p    B[t][LANES]
//         ┌────────────────────────────┐              ┌────────────────┐ t = 0
//         │ feature p·LANES            │              │ W[·][0]        │
//         │  …           LANES rows    │     →        │ W[·][1]        │   zeros where features run out
//         │ feature p·LANES + LANES−1  │              │  …             │
//         └────────────────────────────┘              └────────────────┘ t = inFeatures − 1
//
//     out[row][p·LANES + lane] = bias + Σ_t x[row][t] · B[t][lane]
//
// The sum runs over t in blocks of BLOCK_IN, in order whatever the number of rows, so that a row has the same bits in
// every batch.

import { ROWS_OVER, multiply } from "../simd/gemm";
import { LANES, LANE_BYTES, VECTORS, madd, storeTransposed } from "../simd/lanes";
import { storeBlock } from "./epilogue";
import { groupBytes, multiplyIntegers, panelBytes, roundRows, xGroupBytes } from "./linear-integers";

/** Output features in one panel of a packed weight. */
// @ts-ignore: decorator
@inline export const PANEL_FEATURES: i32 = LANES;

/**
 * Rows of x that pass over a panel before the next panel comes. With BLOCK_IN they take 200 kB, of an L2 cache of 512
 * kB and more; a multiple of 6. Measured on Zen 4 at 512×768×3072 with tiles of two rows, GFLOP/s of 58 (relaxed):
 * 16×384 43, 64×384 47, 128×256 48, 128×384 49.
 */
// @ts-ignore: decorator
@inline export const BLOCK_ROWS: i32 = 132;

/** Steps of the sum that a tile takes at once: that part of a panel, 24 kB, stays in L1 while the rows pass. */
// @ts-ignore: decorator
@inline const BLOCK_IN: i32 = 384;

/** Bytes of the products of one block of rows with one panel, and with one more where those are a gate. */
// @ts-ignore: decorator
@inline function productBytes(isGated: bool): usize {
  return (<usize>(BLOCK_ROWS + ROWS_OVER) * LANE_BYTES) << (<usize>isGated);
}

/**
 * Bytes of scratch that `linear` needs: the products of one block of rows with one panel, or two, and where W is of
 * integers a group of it and the block of rows.
 */
export function linearScratchBytes(rows: f64, inFeatures: f64, group: i32, isGated: bool): f64 {
  let bytes = <f64>productBytes(isGated);
  if (group) {
    const groups = ceil(inFeatures / <f64>group);
    bytes += <f64>groupBytes(group) + groups * <f64>xGroupBytes(<i32>min<f64>(rows, BLOCK_ROWS), group);
  }
  return bytes;
}

/**
 * Packs W into panels.
 *
 *   panels    [⌈outFeatures / LANES⌉][inFeatures][LANES], overwritten
 *   weight    W[o][t] at weight + o·outStride + t·inStride
 *   outStride   bytes from one output feature to the next
 *   inStride    bytes from one input feature to the next; one of the two strides is 4
 */
export function packPanels(
  panels: usize,
  weight: usize,
  inFeatures: i32,
  outFeatures: i32,
  outStride: usize,
  inStride: usize,
): void {
  assert(inFeatures > 0 && outFeatures > 0, "a weight must not be empty");
  assert(outStride == 4 || inStride == 4, "one step must be 4 bytes");
  const panel = <usize>inFeatures * LANE_BYTES;
  if (outFeatures & (LANES - 1)) {
    const last = panels + <usize>(outFeatures / LANES) * panel;
    memory.fill(last, 0, panel);
  }
  for (let o = 0; o < outFeatures; o += 4) {
    const to = panels + <usize>(o / LANES) * panel + ((<usize>(o & (LANES - 1))) << 2);
    const from = weight + <usize>o * outStride;
    const features = min(4, outFeatures - o);
    let t = 0;
    if (features == 4) t = packFour(to, from, inFeatures, outStride, inStride);
    for (; t < inFeatures; t++) {
      for (let lane = 0; lane < features; lane++) {
        const x = load<f32>(from + <usize>lane * outStride + <usize>t * inStride);
        store<f32>(to + <usize>t * LANE_BYTES + ((<usize>lane) << 2), x);
      }
    }
  }
}

/** Packs four output features as far as whole vectors go, and returns how many input features that are. */
// @ts-ignore: decorator
@inline function packFour(to: usize, from: usize, inFeatures: i32, outStride: usize, inStride: usize): i32 {
  if (outStride == 4) {
    for (let t = 0; t < inFeatures; t++) {
      v128.store(to, v128.load(from));
      to += LANE_BYTES;
      from += inStride;
    }
    return inFeatures;
  }
  const whole = inFeatures & ~3;
  for (let t = 0; t < whole; t += 4) {
    storeTransposed(
      to,
      to + LANE_BYTES,
      to + 2 * LANE_BYTES,
      to + 3 * LANE_BYTES,
      v128.load(from),
      v128.load(from + outStride),
      v128.load(from + 2 * outStride),
      v128.load(from + 3 * outStride),
    );
    to += 4 * LANE_BYTES;
    from += 16;
  }
  return whole;
}

/**
 * out = act(x·Wᵀ + bias) + residual; gated, with upPanels, out = act(x·Wᵀ + bias)·(x·Upᵀ + upBias) + residual.
 *
 *   out      [rows] rows of outFeatures floats, outRowStride bytes apart, overwritten; apart from everything else but
 *            residual
 *   x        [rows] rows of inFeatures floats, xRowStride bytes apart
 *   panels   W as packed by packPanels, or in groups of integers (linear-integers.ts)
 *   bias     [outFeatures], or 0
 *   scratch  linearScratchBytes(rows, inFeatures, group, isGated) bytes, overwritten
 *   useTile6x2  see simd/gemm.ts
 *   table    the table of simd/exp.ts; only read with an activation
 *   residual [rows] rows like those of out, or 0; may be out
 *   activation  see epilogue.ts
 *   upPanels the panel that has the first row of Up, or 0, and upLane its place there: the others stand behind it
 *   group    input features of a group of integers; 0: the panels are f32
 *   isInt4   whether these are int4, and no int8
 */
export function linear(
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
        if (group) multiplyIntegers(c, xIntegers, from, integers, count, inFeatures, group, isInt4);
        else {
          let part = from;
          for (let t = 0; t < inFeatures; t += BLOCK_IN) {
            const steps = min(BLOCK_IN, inFeatures - t);
            const xPart = x + ((<usize>t) << 2);
            const kept = -i32(t > 0);
            const vectors = min((lane + end - at + 3) >> 2, VECTORS);
            if (count == 1) multiplyOneRow(c, xPart, part, steps, kept);
            else multiply(c, xPart, part, count, steps, vectors, useTile6x2, xRowStride, 4, kept);
            part += <usize>steps * LANE_BYTES;
          }
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

/**
 * C[LANES] = (C & kept) + Σ_t a[t]·B[t][LANES]: one row of `multiply`, whose tiles would compute it twice. As a function
 * of its own V8 does not unroll the loop (12 % slower).
 */
// @ts-ignore: decorator
@inline function multiplyOneRow(c: usize, a: usize, b: usize, count: i32, kept: i32): void {
  const mask = i32x4.splat(kept);
  let c0 = f32x4.splat(0);
  let c1 = f32x4.splat(0);
  let c2 = f32x4.splat(0);
  let c3 = f32x4.splat(0);
  for (const end = b + <usize>count * LANE_BYTES; b < end; b += LANE_BYTES, a += 4) {
    const x = v128.load32_splat(a);
    c0 = madd(x, v128.load(b, 0), c0);
    c1 = madd(x, v128.load(b, 16), c1);
    c2 = madd(x, v128.load(b, 32), c2);
    c3 = madd(x, v128.load(b, 48), c3);
  }
  v128.store(c, f32x4.add(v128.and(v128.load(c, 0), mask), c0), 0);
  v128.store(c, f32x4.add(v128.and(v128.load(c, 16), mask), c1), 16);
  v128.store(c, f32x4.add(v128.and(v128.load(c, 32), mask), c2), 32);
  v128.store(c, f32x4.add(v128.and(v128.load(c, 48), mask), c3), 48);
}
