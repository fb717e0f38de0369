import { madd } from "../../assembly/simd/lanes";

/** a·b + c with the product rounded, as mul and add do it. */
function unfused(a: f32, b: f32, c: f32): f32 {
  return a * b + c;
}

/** a·b + c rounded once: the product of two floats is exact in f64. */
function fused(a: f32, b: f32, c: f32): f32 {
  return <f32>(<f64>a * <f64>b + <f64>c);
}

/** Whether this engine fuses relaxed_madd; the build without it never does. */
function fuses(): bool {
  if (!ASC_FEATURE_RELAXED_SIMD) return false;
  const x: f32 = 1 + f32.EPSILON;
  return f32x4.extract_lane(madd(f32x4.splat(x), f32x4.splat(x), f32x4.splat(-1)), 0) == fused(x, x, -1);
}

/** a·b + c of one lane, with the bits that `madd` has in this engine. */
export const plainMadd = fuses() ? fused : unfused;
