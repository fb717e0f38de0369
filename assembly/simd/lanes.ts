// Loops over addresses compare for equality, or count what is left: at the end of a memory of 4 GiB the address behind
// the last byte is 0, so `<` and `<=` would end too early, or never.
//
// Query rows stand in the lanes. A query tile holds LANES rows of q in VECTORS vectors of four. Everything that belongs
// to a row (its scores, its maximum, its column of the output) stays in that row's lane, so no step reduces across
// lanes.

/** Vectors of query rows in one query tile; simd/gemm.ts says why. */
// @ts-ignore: decorator
@inline export const VECTORS: i32 = 4;

/** Query rows in one query tile, and output features in one panel of ops/linear.ts. */
// @ts-ignore: decorator
@inline export const LANES: i32 = VECTORS * 4;

/** Bytes of one value for each lane: the row of every [n][LANES] array in scratch. */
// @ts-ignore: decorator
@inline export const LANE_BYTES: usize = LANES * 4;

/** a·b + c; fused, and rounded once, where the build has relaxed SIMD. */
// @ts-ignore: decorator
@inline export function madd(a: v128, b: v128, c: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(a, b, c) : f32x4.add(f32x4.mul(a, b), c);
}

/** max(a, b) lane by lane; a where b is NaN. One instruction, unlike f32x4.max. */
// @ts-ignore: decorator
@inline export function maxNumber(a: v128, b: v128): v128 {
  return f32x4.pmax(a, b);
}

/** Bytes of `count` floats in whole vectors. */
// @ts-ignore: decorator
@inline export function vectorBytes(count: i32): usize {
  return (<usize>((count + 3) & ~3)) << 2;
}

/**
 * The bits of max |x| over [count] floats in whole vectors. Bits of magnitudes have the order of the magnitudes; NaN is
 * above all.
 */
export function maxMagnitudeBits(x: usize, count: i32): i32 {
  let top = i32x4.splat(0);
  for (const end = x + vectorBytes(count); x != end; x += 16) top = i32x4.max_s(top, f32x4.abs(v128.load(x)));
  return maxLaneI32(top);
}

/** The largest of four integers. */
export function maxLaneI32(x: v128): i32 {
  x = i32x4.max_s(x, v128.shuffle<i32>(x, x, 2, 3, 0, 1));
  return i32x4.extract_lane(i32x4.max_s(x, v128.shuffle<i32>(x, x, 1, 0, 3, 2)), 0);
}

/** The largest of four floats; NaN is passed over where it is not in lane 0 or 2. */
// @ts-ignore: decorator
@inline export function maxLane(x: v128): f32 {
  x = maxNumber(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(maxNumber(x, v128.shuffle<f32>(x, x, 1, 0, 3, 2)), 0);
}

/** (x₀ + x₂) + (x₁ + x₃) */
// @ts-ignore: decorator
@inline export function sumLanes(x: v128): f32 {
  const pairs = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.add(pairs, v128.shuffle<f32>(pairs, pairs, 1, 0, 3, 2)), 0);
}

/** to = from·factor on [count] floats, in whole vectors. */
export function scaleRow(to: usize, from: usize, count: i32, factor: f32): void {
  for (const end = to + vectorBytes(count); to != end; to += 16) {
    v128.store(to, f32x4.mul(v128.load(from), f32x4.splat(factor)));
    from += 16;
  }
}

/** Whether `count` vectors, `step` bytes apart, are finite. */
export function isFinite(x: usize, step: usize, count: i32): bool {
  let tainted = f32x4.splat(0); // becomes NaN, and stays so, where anything is not finite
  for (; count > 0; count--) {
    tainted = f32x4.add(tainted, f32x4.mul(v128.load(x), f32x4.splat(0)));
    x += step;
  }
  return !v128.any_true(f32x4.ne(tainted, tainted));
}

/** 2ⁿ for −127 < n < 128. */
// @ts-ignore: decorator
@inline export function powerOfTwo(n: i32): f32 {
  return reinterpret<f32>((n + 127) << 23);
}

/**
 * Transposes four rows of four floats and stores the columns.
 *
 *     s0: a0 a1 a2 a3          d0: a0 b0 c0 d0
 *     s1: b0 b1 b2 b3    →     d1: a1 b1 c1 d1
 *     s2: c0 c1 c2 c3          d2: a2 b2 c2 d2
 *     s3: d0 d1 d2 d3          d3: a3 b3 c3 d3
 */
// @ts-ignore: decorator
@inline export function storeTransposed(
  d0: usize,
  d1: usize,
  d2: usize,
  d3: usize,
  s0: v128,
  s1: v128,
  s2: v128,
  s3: v128,
): void {
  const ab01 = v128.shuffle<f32>(s0, s1, 0, 4, 1, 5);
  const ab23 = v128.shuffle<f32>(s0, s1, 2, 6, 3, 7);
  const cd01 = v128.shuffle<f32>(s2, s3, 0, 4, 1, 5);
  const cd23 = v128.shuffle<f32>(s2, s3, 2, 6, 3, 7);
  v128.store(d0, v128.shuffle<f64>(ab01, cd01, 0, 2));
  v128.store(d1, v128.shuffle<f64>(ab01, cd01, 1, 3));
  v128.store(d2, v128.shuffle<f64>(ab23, cd23, 0, 2));
  v128.store(d3, v128.shuffle<f64>(ab23, cd23, 1, 3));
}

/** to[n][LANES] = r0 … r3 at n, times factor, in its first four lanes, for n < count. */
export function packRows(to: usize, r0: usize, r1: usize, r2: usize, r3: usize, count: i32, factor: f32): void {
  const scale = f32x4.splat(factor);
  for (; count >= 4; count -= 4) {
    storeTransposed(
      to,
      to + LANE_BYTES,
      to + 2 * LANE_BYTES,
      to + 3 * LANE_BYTES,
      f32x4.mul(v128.load(r0), scale),
      f32x4.mul(v128.load(r1), scale),
      f32x4.mul(v128.load(r2), scale),
      f32x4.mul(v128.load(r3), scale),
    );
    to += 4 * LANE_BYTES;
    r0 += 16;
    r1 += 16;
    r2 += 16;
    r3 += 16;
  }
  for (; count > 0; count--) {
    store<f32>(to, load<f32>(r0) * factor, 0);
    store<f32>(to, load<f32>(r1) * factor, 4);
    store<f32>(to, load<f32>(r2) * factor, 8);
    store<f32>(to, load<f32>(r3) * factor, 12);
    to += LANE_BYTES;
    r0 += 4;
    r1 += 4;
    r2 += 4;
    r3 += 4;
  }
}
