// Elementary functions on four lanes, of constants that simd/constants.ts has in memory.

import { EXP2, FLOOR, INTEGER, ONE, ROUND, SHORT, TANH, ZERO } from "./constants";
import { P_BITS, sidePairs } from "./dot";
import { LANE_BYTES, madd, maxNumber } from "./lanes";

/** log₂ e, for callers that fold it into a factor of their own. */
// @ts-ignore: decorator
@inline export const LOG2_E: f32 = 1.44269504088896340736;

/** ln 2. */
// @ts-ignore: decorator
@inline export const LN_2: f32 = 0.693147180559945;

/**
 * 2ᶻ for z ≤ 126: exactly 1 at 0, exactly 0 from −126.5 down (−Infinity included), NaN for NaN, else within 1.5 ulp.
 *
 *     n = round(z)    f = z − n    2ᶻ = 2ⁿ · (1 + f·(c1 + … + f·c6))
 */
// @ts-ignore: decorator
@inline function exp2(
  z: v128,
  floor: v128,
  round: v128,
  one: v128,
  c1: v128,
  c2: v128,
  c3: v128,
  c4: v128,
  c5: v128,
  c6: v128,
): v128 {
  z = maxNumber(z, floor);
  const biased = f32x4.add(z, round);
  const f = f32x4.sub(z, f32x4.sub(biased, round));
  let p = madd(c6, f, c5);
  p = madd(p, f, c4);
  p = madd(p, f, c3);
  p = madd(p, f, c2);
  p = madd(p, f, c1);
  p = madd(p, f, one);
  // A multiplication, not an addition to the exponent bits: NaN stays NaN, and the biased exponent 0 gives 0.
  return f32x4.mul(p, i32x4.shl(biased, 23));
}

/** eˣ on four lanes, for x ≤ 87, like {@link exp2}; x·log₂e is rounded, so within 1.5 + 1.25·|x| ulp. */
export function exp(x: v128, table: usize): v128 {
  return exp2(
    f32x4.mul(x, f32x4.splat(LOG2_E)),
    v128.load32_splat(table, FLOOR),
    v128.load32_splat(table, ROUND),
    v128.load32_splat(table, ONE),
    v128.load32_splat(table, EXP2),
    v128.load32_splat(table, EXP2 + 4),
    v128.load32_splat(table, EXP2 + 8),
    v128.load32_splat(table, EXP2 + 12),
    v128.load32_splat(table, EXP2 + 16),
    v128.load32_splat(table, EXP2 + 20),
  );
}

/**
 * x ← 2^((x − m)·factor) down one column of vectors, and their sum; as exact as {@link exp2}.
 *
 *   x       [count] vectors, `step` bytes apart, overwritten
 *   powers  [count] vectors of scratch, one after the other
 *   head    how many vectors are in the first block: each block has a sum of its own, from zero
 *   m       one vector; (x − m)·factor ≤ 126
 *
 * In two passes, f and 2ⁿ first, then the polynomial by pairs of terms: in one, each vector is a chain of some 60
 * cycles, and the processor does not look far enough ahead to overlap enough of them (simd 11.8 cycles a vector, in two
 * passes 9.2).
 */
export function expColumn(
  x: usize,
  powers: usize,
  step: usize,
  count: i32,
  head: i32,
  m: v128,
  factor: f32,
  table: usize,
): v128 {
  reduceColumn(x, powers, step, count, m, factor, table);
  const c1 = v128.load32_splat(table, EXP2);
  const c2 = v128.load32_splat(table, EXP2 + 4);
  const c3 = v128.load32_splat(table, EXP2 + 8);
  const c4 = v128.load32_splat(table, EXP2 + 12);
  const c5 = v128.load32_splat(table, EXP2 + 16);
  const c6 = v128.load32_splat(table, EXP2 + 20);
  const zero = v128.load32_splat(table, ZERO);
  let total = zero;
  for (; count > 0; head = count) {
    let sum = zero;
    for (const end = x + <usize>head * step; x != end; x += step) {
      const f = v128.load(x);
      const power = v128.load(powers);
      const square = f32x4.mul(f, f);
      let p = madd(c6, square, madd(c5, f, c4));
      p = madd(p, square, madd(c3, f, c2));
      p = madd(p, square, f32x4.mul(c1, f));
      // 2ⁿ + 2ⁿ·p, so that NaN stays NaN and the biased exponent 0 gives 0.
      p = madd(p, power, power);
      v128.store(x, p);
      sum = f32x4.add(sum, p);
      powers += 16;
    }
    total = f32x4.add(total, sum);
    count -= head;
  }
  return total;
}

/**
 * P of one column of vectors and the keys of one block, for prefill/half.ts:
 *
 *     w → P = 2^(w − n), n so that the largest P is 2¹³ → integers
 *
 *   w        [count] vectors, LANE_BYTES apart; pairs of the integers take the place of the first half. The vector behind
 *            the last one is overwritten where count is odd
 *   m        one vector
 *   weights  [count] floats
 *   unit     the largest w in, 2^(n − m) out: what one unit of P is worth
 *
 * Returns Σ 2^(w − m)·weight. The relative error of a power is at most 1e-4: what the integers lose is more.
 */
export function expPairs(w: usize, count: i32, m: v128, table: usize, weights: usize, unit: usize): v128 {
  if (count & 1) v128.store(w + <usize>count * LANE_BYTES, f32x4.splat(-Infinity));
  const n = f32x4.sub(v128.load(unit), f32x4.splat(P_BITS));
  const floor = v128.load32_splat(table, FLOOR);
  const round = v128.load32_splat(table, ROUND);
  const integer = v128.load32_splat(table, INTEGER);
  const c1 = v128.load32_splat(table, SHORT);
  const c2 = v128.load32_splat(table, SHORT + 4);
  const c3 = v128.load32_splat(table, SHORT + 8);
  let sum = v128.load32_splat(table, ZERO);
  for (let from = w; count > 0; count -= 2) {
    const a = shortExp2(f32x4.sub(v128.load(from), n), floor, round, c1, c2, c3);
    const b = shortExp2(f32x4.sub(v128.load(from, LANE_BYTES), n), floor, round, c1, c2, c3);
    sum = madd(a, v128.load32_splat(weights), sum);
    sum = madd(b, v128.load32_splat(weights, 4), sum);
    v128.store(w, sidePairs(f32x4.add(a, integer), f32x4.add(b, integer)));
    w += LANE_BYTES;
    from += 2 * LANE_BYTES;
    weights += 8;
  }
  const power = exp(f32x4.mul(f32x4.sub(n, m), f32x4.splat(LN_2)), table);
  v128.store(unit, power);
  return f32x4.mul(sum, power);
}

/** 2ᶻ like {@link exp2}, in three terms. */
// @ts-ignore: decorator
@inline function shortExp2(z: v128, floor: v128, round: v128, c1: v128, c2: v128, c3: v128): v128 {
  z = maxNumber(z, floor);
  const biased = f32x4.add(z, round);
  const f = f32x4.sub(z, f32x4.sub(biased, round));
  const power = i32x4.shl(biased, 23);
  const p = madd(madd(c3, f, c2), f, c1);
  return madd(f32x4.mul(p, f), power, power);
}

/** x ← f and powers ← 2ⁿ, where (x − m)·factor = n + f, as in {@link exp2}. */
function reduceColumn(x: usize, powers: usize, step: usize, count: i32, m: v128, factor: f32, table: usize): void {
  const floor = v128.load32_splat(table, FLOOR);
  const round = v128.load32_splat(table, ROUND);
  const scale = f32x4.splat(factor);
  for (const end = x + <usize>count * step; x != end; x += step) {
    const z = maxNumber(f32x4.mul(f32x4.sub(v128.load(x), m), scale), floor);
    const biased = f32x4.add(z, round);
    v128.store(x, f32x4.sub(z, f32x4.sub(biased, round)));
    v128.store(powers, i32x4.shl(biased, 23));
    powers += 16;
  }
}

/**
 * x ← cap·tanh(x·scale/cap) on [count] consecutive vectors; tanh within 2 ulp.
 *
 *     |t| < 0.625:  tanh t = t + t³·(c1 + … + c5·t⁸)      else:  tanh |t| = 1 − 2/(e^2|t| + 1)
 */
export function softcap(x: usize, count: i32, scale: f32, cap: f32, table: usize): void {
  const one = v128.load32_splat(table, ONE);
  const two = f32x4.add(one, one);
  for (const end = x + ((<usize>count) << 4); x != end; x += 16) {
    const t = f32x4.div(f32x4.mul(v128.load(x), f32x4.splat(scale)), f32x4.splat(cap));
    const square = f32x4.mul(t, t);
    let p = madd(v128.load32_splat(table, TANH + 16), square, v128.load32_splat(table, TANH + 12));
    p = madd(p, square, v128.load32_splat(table, TANH + 8));
    p = madd(p, square, v128.load32_splat(table, TANH + 4));
    p = madd(p, square, v128.load32_splat(table, TANH));
    const near = madd(f32x4.mul(p, square), t, t);

    // Beyond |t| = 10 the quotient is below half an ulp of 1; the bound keeps e^2|t| finite.
    const bounded = f32x4.pmin(f32x4.abs(t), f32x4.splat(10));
    const power = exp(f32x4.add(bounded, bounded), table);
    const magnitude = f32x4.sub(one, f32x4.div(two, f32x4.add(power, one)));
    const far = v128.bitselect(t, magnitude, i32x4.splat(i32.MIN_VALUE));

    const capped = v128.bitselect(near, far, f32x4.lt(f32x4.abs(t), f32x4.splat(0.625)));
    v128.store(x, f32x4.mul(f32x4.splat(cap), capped));
  }
}

/**
 * ln x for x ≥ 0 to about 1e-13, −Infinity for 0, NaN for NaN.
 *
 *     x = 2ⁿ·y, y in [√½, √2)    s = (y − 1)/(y + 1)    ln x = n·ln 2 + 2·(s + s³/3 + s⁵/5 + …)
 */
export function log(x: f64): f64 {
  if (!(x > 0)) return x == 0 ? -Infinity : NaN;
  const bits = reinterpret<u64>(x);
  let n = <i32>(bits >> 52) - 1023;
  let y = reinterpret<f64>((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
  if (y > 1.4142135623730951) {
    y *= 0.5;
    n++;
  }
  const s = (y - 1) / (y + 1);
  const square = s * s;
  let sum: f64 = 1.0 / 17;
  sum = sum * square + 1.0 / 15;
  sum = sum * square + 1.0 / 13;
  sum = sum * square + 1.0 / 11;
  sum = sum * square + 1.0 / 9;
  sum = sum * square + 1.0 / 7;
  sum = sum * square + 1.0 / 5;
  sum = sum * square + 1.0 / 3;
  sum = sum * square + 1;
  return <f64>n * 0.6931471805599453 + 2 * s * sum;
}

/**
 * eˣ to about 1e-15; 0 below the normal floats, Infinity above, NaN for NaN.
 *
 *     n = round(x·log₂e)    r = x − n·ln 2, |r| ≤ ½·ln 2    eˣ = 2ⁿ·(1 + r + r²/2! + …)
 */
export function exp64(x: f64): f64 {
  if (x != x) return x;
  if (x < -708) return 0;
  if (x > 709) return Infinity;
  const n = nearest(x * 1.4426950408889634);
  // ln 2 in two parts, of which n times the first is exact (S. Moshier, Cephes exp).
  const r = x - n * 0.693145751953125 - n * 1.42860682030941723212e-6;
  let sum: f64 = 1.0 / 479001600;
  sum = sum * r + 1.0 / 39916800;
  sum = sum * r + 1.0 / 3628800;
  sum = sum * r + 1.0 / 362880;
  sum = sum * r + 1.0 / 40320;
  sum = sum * r + 1.0 / 5040;
  sum = sum * r + 1.0 / 720;
  sum = sum * r + 1.0 / 120;
  sum = sum * r + 1.0 / 24;
  sum = sum * r + 1.0 / 6;
  sum = sum * r + 0.5;
  sum = sum * r + 1;
  sum = sum * r + 1;
  return sum * reinterpret<f64>((<u64>(<i64>n + 1023)) << 52);
}
