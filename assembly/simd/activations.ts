// Activations on four lanes, for the modules of `linear` and of transformer blocks.

import { ACTIVATIONS, ONE, ZERO } from "./constants";
import { exp } from "./exp";
import { madd, maxNumber } from "./lanes";

/** In the table of simd/constants.ts: p and the coefficients of GELU, the last one first. */
// @ts-ignore: decorator
@inline const GELU: usize = ACTIVATIONS;
// @ts-ignore: decorator
@inline const GELU_TERMS: usize = 8;
/** The two factors of GELU by tanh. */
// @ts-ignore: decorator
@inline const GELU_TANH: usize = ACTIVATIONS + 36;
/** −½ */
// @ts-ignore: decorator
@inline const MINUS_HALF: usize = ACTIVATIONS + 44;
/** 88.8 */
// @ts-ignore: decorator
@inline const LARGE: usize = ACTIVATIONS + 48;

/** max(x, 0) */
// @ts-ignore: decorator
@inline export const ACT_RELU: i32 = 1;
/** x / (1 + e^−x) */
// @ts-ignore: decorator
@inline export const ACT_SILU: i32 = 2;
/** ½·x·(1 + tanh u) = x / (1 + e^−2u) with u = √(2/π)·(x + 0.044715·x³) */
// @ts-ignore: decorator
@inline export const ACT_GELU_TANH: i32 = 3;
/** x·Φ(x) */
// @ts-ignore: decorator
@inline export const ACT_GELU: i32 = 4;

/** Writes the constants of activations into the table of constants. */
export function writeActivations(table: usize): void {
  // Four at once are fewer bytes of code.
  f32.store(table, 0.2329999953508377, GELU);
  v128.store(
    table,
    f32x4(-0.06880665570497513, 0.2360612154006958, -0.18501941859722137, 0.21244502067565918),
    GELU + 4,
  );
  v128.store(
    table,
    f32x4(0.01940159872174263, 0.1017194464802742, 0.09114453196525574, 0.09305423498153687),
    GELU + 20,
  );
  // 2·√(2/π), and that times 0.044715.
  v128.store(table, f32x4(1.595769122, 0.07135481282, -0.5, 88.8), GELU_TANH);
}

/**
 * act(x) on four lanes.
 *
 * GELU is by Φ(−a) = ½·erfc(a/√2) = t·(c₁ + … + c₈·t⁷)·e^(−a²/2) with t = 1/(1 + p·a), the form of Abramowitz and Stegun,
 * Handbook of Mathematical Functions, 7.1.26; p and c are fitted anew for the relative error, 7.6e-8. Nothing cancels:
 * x·Φ(x) = max(x, 0) − |x|·Φ(−|x|). It is within 2⁻²²·|x|, and for −2 ≤ x ≤ 0 within 1e-6 of the result.
 */
export function activate(x: v128, activation: i32, table: usize): v128 {
  const one = v128.load32_splat(table, ONE);
  const large = v128.load32_splat(table, LARGE);
  const positive = maxNumber(x, v128.load32_splat(table, ZERO));
  if (activation == ACT_RELU) return positive;
  if (activation == ACT_GELU) {
    // Φ(−88.8) is 0, and Infinity·0 would be NaN.
    const a = f32x4.pmin(f32x4.abs(x), large);
    const t = f32x4.div(one, madd(a, v128.load32_splat(table, GELU), one));
    let p = v128.load32_splat(table, ZERO);
    for (const end = table + 4 * GELU_TERMS; table != end; table += 4) {
      p = f32x4.mul(f32x4.add(p, v128.load32_splat(table, GELU + 4)), t);
    }
    table -= 4 * GELU_TERMS;
    const power = exp(f32x4.mul(f32x4.mul(a, a), v128.load32_splat(table, MINUS_HALF)), table);
    return f32x4.sub(positive, f32x4.mul(f32x4.mul(p, power), a));
  }
  let z = f32x4.neg(x);
  if (activation == ACT_GELU_TANH) {
    const cubic = v128.load32_splat(table, GELU_TANH + 4);
    z = f32x4.mul(z, madd(f32x4.mul(x, x), cubic, v128.load32_splat(table, GELU_TANH)));
  }
  // From z·log₂e = 127.5 on the power is Infinity, since its exponent is; at 88.8 that has not wrapped yet.
  return f32x4.div(x, f32x4.add(exp(f32x4.pmin(z, large), table), one));
}
