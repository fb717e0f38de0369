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

import { LANES, LANE_BYTES, madd, packRows } from "../simd/lanes";
import { ROWS_OVER, multiply } from "../simd/gemm";

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

/** Bytes of scratch that `linear` needs: the products of one block of rows with one panel. */
export function linearScratchBytes(): f64 {
  return (BLOCK_ROWS + ROWS_OVER) * <f64>LANE_BYTES;
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
    if (features == 4 && outStride != 4) {
      const two = from + 2 * outStride;
      packRows(to, from, from + outStride, two, two + outStride, inFeatures, 1);
      continue;
    }
    for (let t: usize = 0; t < <usize>inFeatures; t++) {
      const row = to + t * LANE_BYTES;
      const x = from + t * inStride;
      if (features == 4) v128.store(row, v128.load(x));
      else for (let lane = 0; lane < features; lane++) copyFloat(row, x, lane, outStride);
    }
  }
}

/** Output feature `lane` of four. */
// @ts-ignore: decorator
@inline function copyFloat(to: usize, from: usize, lane: i32, outStride: usize): void {
  store<f32>(to + ((<usize>lane) << 2), load<f32>(from + <usize>lane * outStride));
}

/**
 * out = x·Wᵀ + bias
 *
 *   out      [rows] rows of outFeatures floats, outRowStride bytes apart, overwritten; apart from everything else
 *   x        [rows] rows of inFeatures floats, xRowStride bytes apart
 *   panels   W as packed by packPanels
 *   bias     [outFeatures], or 0
 *   scratch  linearScratchBytes() bytes, overwritten
 *   useTile6x2  see simd/gemm.ts
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
): void {
  assert(inFeatures > 0 && outFeatures > 0, "a weight must not be empty");
  assert(
    ((out | x | panels | bias | outRowStride | xRowStride) & 3) == 0,
    "pointers and strides must be aligned to 4 bytes",
  );
  for (; rows > 0; rows -= BLOCK_ROWS) {
    const count = min(BLOCK_ROWS, rows);
    let panel = panels;
    for (let feature = 0; feature < outFeatures; feature += LANES) {
      const width = min(LANES, outFeatures - feature);
      multiplyPanel(scratch, x, panel, count, inFeatures, width, useTile6x2, xRowStride);
      panel += <usize>inFeatures * LANE_BYTES;
      const column = (<usize>feature) << 2;
      storeBlock(out + column, scratch, bias ? bias + column : 0, count, width, outRowStride);
    }
    out += <usize>BLOCK_ROWS * outRowStride;
    x += <usize>BLOCK_ROWS * xRowStride;
  }
}

/** C[rows][LANES] = the products of `rows` rows of x with a panel, of which `width` features are wanted. */
// @ts-ignore: decorator
@inline export function multiplyPanel(
  c: usize,
  x: usize,
  panel: usize,
  rows: i32,
  inFeatures: i32,
  width: i32,
  useTile6x2: bool,
  xRowStride: usize,
): void {
  for (let t = 0; t < inFeatures; t += BLOCK_IN) {
    const steps = min(BLOCK_IN, inFeatures - t);
    const xPart = x + ((<usize>t) << 2);
    const kept = -i32(t > 0);
    if (rows == 1) multiplyOneRow(c, xPart, panel, steps, kept);
    else multiply(c, xPart, panel, rows, steps, (width + 3) >> 2, useTile6x2, xRowStride, 4, kept);
    panel += <usize>steps * LANE_BYTES;
  }
}

/**
 * C[LANES] = (C & kept) + Σ_t a[t]·B[t][LANES]: one row of `multiply`, whose tiles would compute it twice. As a function
 * of its own V8 does not unroll the loop (12 % slower).
 */
// @ts-ignore: decorator
@inline function multiplyOneRow(c: usize, a: usize, b: usize, count: i32, kept: i32): void {
  const mask = i32x4.splat(kept);
  let c0 = v128.andnot(mask, mask); // 0, which as a literal takes 18 bytes
  let c1 = c0;
  let c2 = c0;
  let c3 = c0;
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

/** out[row][width] = C[row][LANES] + bias */
function storeBlock(out: usize, c: usize, bias: usize, rows: i32, width: i32, outRowStride: usize): void {
  for (; rows > 0; rows--) {
    let n: usize = 0;
    for (const end = (<usize>(width & ~3)) << 2; n < end; n += 16) {
      const sum = v128.load(c + n);
      v128.store(out + n, bias ? f32x4.add(sum, v128.load(bias + n)) : sum);
    }
    for (const end = (<usize>width) << 2; n < end; n += 4) {
      const sum = load<f32>(c + n);
      store<f32>(out + n, bias ? sum + load<f32>(bias + n) : sum);
    }
    c += LANE_BYTES;
    out += outRowStride;
  }
}
