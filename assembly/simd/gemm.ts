// The register tile: both matrix products of attention, S = K·Qᵗ and Oᵗ = Oᵗ + Vᵗ·P, are this one function.
//
//     C[i][LANES] (+)= Σ_t A[i][t] · B[t][LANES]
//
//                      A                     B            C             A[i][t] at
//     scores           K  [key][d]           Qᵗ [d]       S  [key]      k + key·kRowStride + d·4
//     weighted sum     Vᵗ [column][key]      P  [key]     Oᵗ [column]   v + key·vRowStride + column·4
//
//                       B[t]  ┌────┬────┬────┬────┐ ← 16 query rows, one vector a box
//             ┌───┐           └────┴────┴────┴────┘
//     A[0][t] │ • │ splat →   ┌────┬────┬────┬────┐
//             ├───┤           │    C    │         │   the accumulators of a tile stay in registers while t runs
//     A[1][t] │ • │ splat →   └────┴────┴────┴────┘
//             └───┘
//
// K and V are read one float at a time with v128.load32_splat, so they need no packing. x64 engines leave 15 vector
// registers to a loop. Measured on Zen 4, GFLOP/s of 59, Node 20 and 24 (simd: without the fused multiply-add, which
// needs a register for the product):
//
//     rows × vectors     2 × 4      3 × 3      4 × 2      5 × 2      6 × 2
//     relaxed           55  54     55  55     54  54     24  55     27  58
//     simd              43  46     22  48     40  44     25  45     28  29
//
// Two things decide. A chain of fused multiply-adds advances every four cycles, two of them start in each, so eight
// accumulators leave no slack and twelve do. And V8 before Turboshaft (Node 20, 22) hoists every load of an iteration
// above its arithmetic: accumulators, all of A and B and a product must fit at once, or they spill. So `useTile6x2`,
// which JavaScript sets where the engine is newer than that, chooses 6 × 2, one half of the query tile after the other;
// the order of every sum is the same.
//
// A base and one shared offset cost V8 one lea a row. A pointer advanced in place costs two instructions, and offsets in
// the load are not folded. Each iteration is one step of the sum: Binaryen sinks the loads of a longer body into spills.

import { LANE_BYTES, VECTORS, madd } from "./lanes";

/** How many rows of C past the last one a tile may write. */
// @ts-ignore: decorator
@inline export const ROWS_OVER: i32 = 5;

/**
 * C[i][LANES] = (C & kept) + Σ_t A[i][t] · B[t][LANES] for i < rows, t < count. The sum starts at zero and is added to
 * C as a whole, so that its rounding does not grow with what C holds.
 *
 *   c            [rows + ROWS_OVER][LANES]; the rows past `rows` are scratch
 *   a            A[i][t] at a + i·aRow + t·aStep (bytes); nothing past A[rows − 1] is read
 *   b            [count][LANES], which does not end where memory may end (at 2³²)
 *   vectors      how many vectors of each row are needed, 1 … VECTORS; others may be left as they were
 *   useTile6x2   whether the engine keeps 6 × 2 in registers
 *   kept         −1, all bits: the sum is added to C; 0: it takes the place of C. With a branch after the loop V8 before
 *                Turboshaft ends each step by a jump that costs 5 % (simd)
 */
// @ts-ignore: decorator
@inline export function multiply(
  c: usize,
  a: usize,
  b: usize,
  rows: i32,
  count: i32,
  vectors: i32,
  useTile6x2: bool,
  aRow: usize,
  aStep: usize,
  kept: i32,
): void {
  assert(vectors > 0 && vectors <= VECTORS, "vectors must be 1 to VECTORS");
  if (ASC_FEATURE_RELAXED_SIMD && useTile6x2 && vectors > 1) {
    const whole = rows - (rows % 6);
    multiply6x2(c, a, b, whole, count, vectors, aRow, aStep, kept);
    c += <usize>whole * LANE_BYTES;
    a += <usize>whole * aRow;
    rows -= whole;
  }
  if (vectors == 1) multiply6x1(c, a, b, rows, count, aRow, aStep, kept);
  else if (vectors == 2) multiply4x2(c, a, b, rows, count, aRow, aStep, kept);
  else multiply2x4(c, a, b, rows, count, aRow, aStep, kept);
}

/** 12 accumulators, 2 vectors of B, 1 splat; `rows` is a multiple of 6. Two vectors of each row at a time. */
function multiply6x2(
  c: usize,
  a: usize,
  b: usize,
  rows: i32,
  count: i32,
  vectors: i32,
  aRow: usize,
  aStep: usize,
  kept: i32,
): void {
  const bEnd = b + <usize>count * LANE_BYTES;
  const bytes = (<usize>vectors) << 4;
  for (; rows > 0; rows -= 6) {
    const a1 = a + aRow;
    const a2 = a1 + aRow;
    const a3 = a2 + aRow;
    const a4 = a3 + aRow;
    const a5 = a4 + aRow;
    for (let half: usize = 0; half < bytes; half += 32) {
      tile(c + half, a, a1, a2, a3, a4, a5, aStep, b + half, bEnd + half, kept, 6, 2);
    }
    a = a5 + aRow;
    c += 6 * LANE_BYTES;
  }
}

// Each shape is a function of its own: with several in one, the V8 of Node 20 moves six accumulators about in every
// iteration (−7 %).

/** 8 accumulators, 4 vectors of B, 2 splats. */
function multiply2x4(c: usize, a: usize, b: usize, rows: i32, count: i32, aRow: usize, aStep: usize, kept: i32): void {
  tiles(c, a, b, rows, count, aRow, aStep, kept, 2, 4);
}

/** 8 accumulators, 2 vectors of B, 4 splats: for blocks of 5 to 8 rows. */
function multiply4x2(c: usize, a: usize, b: usize, rows: i32, count: i32, aRow: usize, aStep: usize, kept: i32): void {
  tiles(c, a, b, rows, count, aRow, aStep, kept, 4, 2);
}

/** 6 accumulators, 1 vector of B, 6 splats: for blocks of at most 4 rows. */
function multiply6x1(c: usize, a: usize, b: usize, rows: i32, count: i32, aRow: usize, aStep: usize, kept: i32): void {
  tiles(c, a, b, rows, count, aRow, aStep, kept, 6, 1);
}

/**
 * Tiles of R rows, one below the other. Where rows run out a tile repeats the last one; what comes of it lands in the
 * scratch rows of C.
 */
// @ts-ignore: decorator
@inline function tiles(
  c: usize,
  a: usize,
  b: usize,
  rows: i32,
  count: i32,
  aRow: usize,
  aStep: usize,
  kept: i32,
  R: i32,
  V: i32,
): void {
  const bEnd = b + <usize>count * LANE_BYTES;
  for (let left = rows; left > 0; left -= R) {
    const a1 = left > 1 ? a + aRow : a;
    const a2 = R > 2 && left > 2 ? a1 + aRow : a1;
    const a3 = R > 3 && left > 3 ? a2 + aRow : a2;
    const a4 = R > 4 && left > 4 ? a3 + aRow : a3;
    const a5 = R > 5 && left > 5 ? a4 + aRow : a4;
    tile(c, a, a1, a2, a3, a4, a5, aStep, b, bEnd, kept, R, V);
    a = a5 + aRow;
    c += <usize>R * LANE_BYTES;
  }
}

/**
 * One tile of R × V accumulators: 2 × 4, 4 × 2, 6 × 2 or 6 × 1. R and V are literals, so that the compiler drops what
 * they do not need.
 */
// @ts-ignore: decorator
@inline function tile(
  c: usize,
  a0: usize,
  a1: usize,
  a2: usize,
  a3: usize,
  a4: usize,
  a5: usize,
  aStep: usize,
  b: usize,
  bEnd: usize,
  kept: i32,
  R: i32,
  V: i32,
): void {
  const mask = i32x4.splat(kept);
  // As a literal it takes 18 bytes wherever it is used.
  const zero = v128.andnot(mask, mask);
  let c00 = zero;
  let c01 = zero;
  let c02 = zero;
  let c03 = zero;
  let c10 = zero;
  let c11 = zero;
  let c12 = zero;
  let c13 = zero;
  let c20 = zero;
  let c21 = zero;
  let c30 = zero;
  let c31 = zero;
  let c40 = zero;
  let c41 = zero;
  let c50 = zero;
  let c51 = zero;
  for (let at: usize = 0; b < bEnd; b += LANE_BYTES, at += aStep) {
    const b0 = v128.load(b, 0);
    const b1 = V > 1 ? v128.load(b, 16) : b0;
    const b2 = V > 2 ? v128.load(b, 32) : b0;
    const b3 = V > 2 ? v128.load(b, 48) : b0;
    let x = v128.load32_splat(a0 + at);
    c00 = madd(x, b0, c00);
    if (V > 1) c01 = madd(x, b1, c01);
    if (V > 2) {
      c02 = madd(x, b2, c02);
      c03 = madd(x, b3, c03);
    }
    x = v128.load32_splat(a1 + at);
    c10 = madd(x, b0, c10);
    if (V > 1) c11 = madd(x, b1, c11);
    if (V > 2) {
      c12 = madd(x, b2, c12);
      c13 = madd(x, b3, c13);
    }
    if (R > 2) {
      x = v128.load32_splat(a2 + at);
      c20 = madd(x, b0, c20);
      if (V > 1) c21 = madd(x, b1, c21);
      x = v128.load32_splat(a3 + at);
      c30 = madd(x, b0, c30);
      if (V > 1) c31 = madd(x, b1, c31);
    }
    if (R > 4) {
      x = v128.load32_splat(a4 + at);
      c40 = madd(x, b0, c40);
      if (V > 1) c41 = madd(x, b1, c41);
      x = v128.load32_splat(a5 + at);
      c50 = madd(x, b0, c50);
      if (V > 1) c51 = madd(x, b1, c51);
    }
  }
  c00 = f32x4.add(v128.and(v128.load(c, 0 * LANE_BYTES + 0), mask), c00);
  if (V > 1) c01 = f32x4.add(v128.and(v128.load(c, 0 * LANE_BYTES + 16), mask), c01);
  if (V > 2) {
    c02 = f32x4.add(v128.and(v128.load(c, 0 * LANE_BYTES + 32), mask), c02);
    c03 = f32x4.add(v128.and(v128.load(c, 0 * LANE_BYTES + 48), mask), c03);
  }
  c10 = f32x4.add(v128.and(v128.load(c, 1 * LANE_BYTES + 0), mask), c10);
  if (V > 1) c11 = f32x4.add(v128.and(v128.load(c, 1 * LANE_BYTES + 16), mask), c11);
  if (V > 2) {
    c12 = f32x4.add(v128.and(v128.load(c, 1 * LANE_BYTES + 32), mask), c12);
    c13 = f32x4.add(v128.and(v128.load(c, 1 * LANE_BYTES + 48), mask), c13);
  }
  if (R > 2) {
    c20 = f32x4.add(v128.and(v128.load(c, 2 * LANE_BYTES + 0), mask), c20);
    if (V > 1) c21 = f32x4.add(v128.and(v128.load(c, 2 * LANE_BYTES + 16), mask), c21);
    c30 = f32x4.add(v128.and(v128.load(c, 3 * LANE_BYTES + 0), mask), c30);
    if (V > 1) c31 = f32x4.add(v128.and(v128.load(c, 3 * LANE_BYTES + 16), mask), c31);
  }
  if (R > 4) {
    c40 = f32x4.add(v128.and(v128.load(c, 4 * LANE_BYTES + 0), mask), c40);
    if (V > 1) c41 = f32x4.add(v128.and(v128.load(c, 4 * LANE_BYTES + 16), mask), c41);
    c50 = f32x4.add(v128.and(v128.load(c, 5 * LANE_BYTES + 0), mask), c50);
    if (V > 1) c51 = f32x4.add(v128.and(v128.load(c, 5 * LANE_BYTES + 16), mask), c51);
  }
  v128.store(c, c00, 0 * LANE_BYTES + 0);
  if (V > 1) v128.store(c, c01, 0 * LANE_BYTES + 16);
  if (V > 2) {
    v128.store(c, c02, 0 * LANE_BYTES + 32);
    v128.store(c, c03, 0 * LANE_BYTES + 48);
  }
  v128.store(c, c10, 1 * LANE_BYTES + 0);
  if (V > 1) v128.store(c, c11, 1 * LANE_BYTES + 16);
  if (V > 2) {
    v128.store(c, c12, 1 * LANE_BYTES + 32);
    v128.store(c, c13, 1 * LANE_BYTES + 48);
  }
  if (R > 2) {
    v128.store(c, c20, 2 * LANE_BYTES + 0);
    if (V > 1) v128.store(c, c21, 2 * LANE_BYTES + 16);
    v128.store(c, c30, 3 * LANE_BYTES + 0);
    if (V > 1) v128.store(c, c31, 3 * LANE_BYTES + 16);
  }
  if (R > 4) {
    v128.store(c, c40, 4 * LANE_BYTES + 0);
    if (V > 1) v128.store(c, c41, 4 * LANE_BYTES + 16);
    v128.store(c, c50, 5 * LANE_BYTES + 0);
    if (V > 1) v128.store(c, c51, 5 * LANE_BYTES + 16);
  }
}
