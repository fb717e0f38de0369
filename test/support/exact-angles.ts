// Sines, cosines, logarithms and powers by whole numbers, for comparison with those of bindings/rotary/trigonometry.ts.

/** Numbers below are multiples of 2⁻ᴮᴵᵀˢ, written as integers. */
const BITS = 320n;
const ONE = 1n << BITS;

/** arctan(1 / n). */
function arctanOfInverse(n: bigint): bigint {
  let sum = 0n;
  let power = ONE / n;
  for (let k = 1n; power !== 0n; k += 2n, power = -power / (n * n)) sum += power / k;
  return sum;
}

/** Machin, 1706. */
const PI = 4n * (4n * arctanOfInverse(5n) - arctanOfInverse(239n));

/** x as an integer times 2^exponent, exactly. */
export function partsOf(x: number): { mantissa: bigint; exponent: number } {
  let exponent = 0;
  while (!Number.isInteger(x)) {
    x *= 2;
    exponent--;
  }
  return { mantissa: BigInt(x), exponent };
}

/** Σ xⁿ/n! · (±1) over n = first, first + 2, … with alternating signs. */
function series(x: bigint, first: bigint): bigint {
  let sum = 0n;
  let term = first === 0n ? ONE : x;
  for (let n = first; term !== 0n; n += 2n) {
    sum += term;
    term = (-((term * x) >> BITS) * x) / ONE / ((n + 1n) * (n + 2n));
  }
  return sum;
}

/** The cosine and the sine of x, as multiples of 2⁻³²⁰. */
export function exactCosineAndSine(x: number): { cos: bigint; sin: bigint } {
  const { mantissa, exponent } = partsOf(x);
  const whole = mantissa << (BITS + BigInt(exponent));
  const rest = whole % (2n * PI);
  return { cos: series(rest, 0n), sin: series(rest, 1n) };
}

/** artanh(p / q) of |p / q| < 1, a multiple of 2⁻³²⁰. */
function artanh(p: bigint, q: bigint): bigint {
  let sum = 0n;
  let power = (p << BITS) / q;
  for (let n = 1n; power !== 0n; n += 2n, power = (power * p * p) / (q * q)) sum += power / n;
  return sum;
}

/** The natural logarithm of x, as a multiple of 2⁻³²⁰: that of a number from ½ to 1, and of a power of 2. */
export function exactLogarithm(x: number): bigint {
  const { mantissa, exponent } = partsOf(x);
  const bits = mantissa.toString(2).length;
  const one = 1n << BigInt(bits);
  return 2n * artanh(mantissa - one, mantissa + one) + BigInt(exponent + bits) * 2n * artanh(1n, 3n);
}

/** |value − exact| in units of 2^−bits of the magnitude of `exact`. */
export function errorInUlps(value: number, exact: bigint, bits: number): number {
  const { mantissa, exponent } = partsOf(value);
  const difference = (mantissa << (BITS + BigInt(exponent))) - exact;
  const size = Math.floor(Math.log2(Math.abs(Number(exact)))) - (bits - 1);
  return Math.abs(Number(difference)) / 2 ** size;
}

/**
 * Whether no f64 is nearer to base^(−j / half) than `value`: whether the power lies between the middles to the two
 * neighbours of `value`, which are compared after they are raised to the power `half`.
 */
export function isNearestPower(value: number, base: number, j: number, half: number): boolean {
  const { mantissa, exponent } = partsOf(value);
  // 53 bits, so that 1 is the distance of neighbours.
  const shift = 53 - mantissa.toString(2).length;
  const whole = mantissa << BigInt(shift);
  const scale = exponent - shift;
  const { mantissa: b, exponent: bExponent } = partsOf(base);
  /** Whether (middle·2^(scale − 1))^half · base^j < 1. */
  const isBelow = (middle: bigint): boolean => {
    const product = middle ** BigInt(half) * b ** BigInt(j);
    const power = (scale - 1) * half + bExponent * j;
    return power >= 0 ? product << BigInt(power) < 1n : product < 1n << BigInt(-power);
  };
  return isBelow(2n * whole - 1n) && !isBelow(2n * whole + 1n);
}
