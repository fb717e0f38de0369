// Powers, logarithms, sines and cosines out of + − · / and square roots of f64 alone, which IEEE 754 defines to the last
// bit. Those of Math may differ from one engine to the next.

/** A number as the sum of two f64: the nearest one, and what it is off by. About 106 bits. */
type Pair = readonly [number, number];

/** a + b, where |a| ≥ |b| (Dekker, https://doi.org/10.1007/BF01397083). */
function sum(a: number, b: number): Pair {
  const s = a + b;
  return [s, b - (s - a)];
}

/** The upper half of the bits of `a` (Veltkamp). */
function upper(a: number): number {
  const c = a * 134217729; // 2²⁷ + 1
  return c - (c - a);
}

function product([a, aLow]: Pair, [b, bLow]: Pair): Pair {
  const p = a * b;
  const [a1, b1] = [upper(a), upper(b)];
  const [a2, b2] = [a - a1, b - b1];
  const error = a2 * b2 - (p - a1 * b1 - a2 * b1 - a1 * b2);
  return sum(p, error + (a * bLow + aLow * b));
}

/** The binary digits of 1 / half that are used. */
const DIGITS = 110;

/** The latest result: the layers of a model, and the calls of a decoder, ask for the same again and again. */
let latest = { base: 0, half: 0, frequencies: new Float64Array(0) };

/**
 * base^(−j / half) for every j from 0 to half − 1: the nearest f64, but for fewer than one power in 2²⁴.
 *
 * @param base greater than 0, at most 2¹²⁸
 */
export function frequenciesOf(base: number, half: number): Float64Array {
  if (latest.base === base && latest.half === half) return latest.frequencies;
  // base^(1 / half) is the product of base^(2^−k) over the binary digits k of 1 / half that are 1.
  let power: Pair = [base, 0];
  let root: Pair = [1, 0];
  for (let k = 0, rest = 1; k < DIGITS && rest > 0; k++) {
    const nearest = Math.sqrt(power[0]);
    const [square, low] = product([nearest, 0], [nearest, 0]);
    power = sum(nearest, (power[0] - square - low + power[1]) / (2 * nearest));
    rest *= 2;
    if (rest < half) continue;
    rest -= half;
    root = product(root, power);
  }
  // One step of Newton: 1 / root = x + x·(1 − root·x).
  const inverse = 1 / root[0];
  const [one, low] = product(root, [inverse, 0]);
  const ratio = sum(inverse, inverse * (1 - one - low));

  const frequencies = new Float64Array(half);
  let frequency: Pair = [1, 0];
  for (let j = 0; j < half; j++) {
    frequencies[j] = frequency[0];
    frequency = product(frequency, ratio);
  }
  latest = { base, half, frequencies };
  return frequencies;
}

/** π / 2 in parts: three of 22 bits each, and the rest. */
const HALF_PI_1 = 1.570796012878418;
const HALF_PI_2 = 3.139164164167596e-7;
const HALF_PI_3 = 6.223371969669989e-14;
const HALF_PI_4 = 2.0222662487959506e-21;
const TWO_OVER_PI = 0.6366197723675814;

/**
 * Writes the cosine and the sine of x = position·frequencies[j] for every j, times `scale`, from element `offset` on,
 * rounded to the type of the arrays. x is rounded to f64; |x| is at most 2¹⁸⁰. The f64 before the last rounding, with
 * scale 1, is off by less than one unit in the last place, but where x is next to a multiple of π / 2 and the result is
 * below 2⁻³⁰.
 *
 * The steps are those of fdlibm (e_rem_pio2.c, k_sin.c, k_cos.c, https://www.netlib.org/fdlibm): x = q·(π / 2) + y + z
 * with |y| ≤ π / 4 and z the rounding error of y; polynomials in y²; signs by the quadrant q.
 */
export function writeCosinesAndSines(
  cosines: Float32Array | Float64Array,
  sines: Float32Array | Float64Array,
  offset: number,
  position: number,
  frequencies: Float64Array,
  scale = 1,
): void {
  for (let j = 0; j < frequencies.length; j++) {
    const x = position * frequencies[j]!;
    // q has at most 31 bits where |x| ≤ 2³¹, so its products with the parts of 22 bits are exact, and a is.
    let q = Math.floor(x * TWO_OVER_PI + 0.5);
    const a = x - q * HALF_PI_1 - q * HALF_PI_2;
    const b = q * HALF_PI_3;
    const c = a - b;
    const taken = a - c;
    const low = a - (c + taken) + (taken - b) - q * HALF_PI_4;
    let y = c + low;
    let z = low - (y - c);
    if (Math.abs(x) > 2147483648) [q, y, z] = reduceLarge(x);

    const y2 = y * y;
    const half = 0.5 * y2;
    const near = 1 - half;
    const cosine =
      near + (1 - near - half + (y2 * y2 * (C1 + y2 * (C2 + y2 * (C3 + y2 * (C4 + y2 * (C5 + y2 * C6))))) - y * z));
    const y3 = y2 * y;
    const sine = y - (y2 * (0.5 * z - y3 * (S2 + y2 * (S3 + y2 * (S4 + y2 * (S5 + y2 * S6))))) - z - y3 * S1);
    const quadrant = q | 0;
    const isOdd = quadrant & 1;
    const cos = isOdd ? sine : cosine;
    const sin = isOdd ? cosine : sine;
    cosines[offset + j] = ((quadrant + 1) & 2 ? -cos : cos) * scale;
    sines[offset + j] = (quadrant & 2 ? -sin : sin) * scale;
  }
}

/** The coefficients of k_cos.c. */
const C1 = 4.16666666666666019037e-2;
const C2 = -1.38888888888741095749e-3;
const C3 = 2.48015872894767294178e-5;
const C4 = -2.75573143513906633035e-7;
const C5 = 2.0875723212981748279e-9;
const C6 = -1.13596475577881948265e-11;

/** The coefficients of k_sin.c. */
const S1 = -1.66666666666666324348e-1;
const S2 = 8.33333333332248946124e-3;
const S3 = -1.98412698298579493134e-4;
const S4 = 2.75573137070700676789e-6;
const S5 = -2.50507602534068634195e-8;
const S6 = 1.58969099521155010221e-10;

/**
 * q modulo 4, y and z of an x beyond ±2³¹, which is a multiple of 2⁻²¹: by integers, slowly. A base below 1 has such, and
 * frequencies above 1.
 */
function reduceLarge(x: number): [number, number, number] {
  const halfPi = 0x1921fb54442d18469898cc51701b839a252049c1114cf98e804177d4c76273644a29410f3n; // π / 2 · 2²⁸⁸
  const scaled = BigInt(x * 2097152) << 267n;
  const q = (scaled + (x < 0 ? -halfPi : halfPi) / 2n) / halfPi;
  const rest = scaled - q * halfPi;
  const y = Number(rest);
  return [Number(q & 3n), y / 2 ** 288, Number(rest - BigInt(y)) / 2 ** 288];
}

/** ln 2 in parts: 33 bits, so that its products with exponents are exact, and the rest. */
const LN2_1 = 6.9314718036912381649e-1;
const LN2_2 = 1.90821492927058770002e-10;

/**
 * The natural logarithm of x, off by less than one unit in the last place.
 *
 * x = 2^k·m with m from √½ to √2; ln m = 2·artanh(s) with s = (m − 1) / (m + 1), whose series ends where its terms no
 * longer count.
 *
 * @param x finite, greater than 0
 */
export function logarithmOf(x: number): number {
  let k = 0;
  let m = x;
  for (; m > Math.SQRT2; k++) m /= 2;
  for (; m < Math.SQRT1_2; k--) m *= 2;
  const s = (m - 1) / (m + 1);
  const s2 = s * s;
  let series = 0;
  for (let n = 25; n > 1; n -= 2) series = s2 * (1 / n + series);
  // 2·s = (m − 1)·(1 − s), of which m − 1 is exact.
  return k * LN2_1 + (m - 1 - (s * (m - 1) - (2 * s * series + k * LN2_2)));
}
