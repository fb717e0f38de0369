// Own powers, logarithms, sines and cosines against exact ones, and their bits in each build.
import { describe, expect, it } from "vitest";
import { frequenciesOf, logarithmOf, writeCosinesAndSines } from "../../bindings/rotary/trigonometry.ts";
import { angleBits, anglesHash } from "../runtimes/golden.ts";
import { forEachBuild } from "../support/builds.ts";
import { errorInUlps, exactCosineAndSine, exactLogarithm, isNearestPower } from "../support/exact-angles.ts";
import { integer, uniform } from "../support/random.ts";

/** The cosine and sine of one x. */
function cosineAndSine(x: number, Kind: typeof Float32Array | typeof Float64Array) {
  const [cos, sin] = [new Kind(1), new Kind(1)];
  writeCosinesAndSines(cos, sin, 0, 1, Float64Array.of(x));
  return { cos: cos[0]!, sin: sin[0]! };
}

describe("frequencies", () => {
  it.each([
    [10000, 64],
    [10000, 48],
    [500000, 64],
    [1e6, 128],
    [10000, 5],
    [2, 3],
    [1.0000001, 10],
    [0.001, 7],
    [1e-45, 33],
    [Math.fround(3.4028234e38), 20],
    [10000, 1],
  ])("of base %s, %s pairs, are the nearest f64 to each power", (base, half) => {
    const frequencies = frequenciesOf(base, half);
    expect(frequencies).toHaveLength(half);
    expect(frequencies[0]).toBe(1);
    for (let j = 0; j < half; j++) expect(isNearestPower(frequencies[j]!, base, j, half), `pair ${j}`).toBe(true);
  });

  it("of any base are so", () => {
    const next = uniform(1);
    for (let n = 0; n < 60; n++) {
      const base = Math.fround(2 ** (250 * next() - 125));
      const half = integer(1, 40, next);
      const frequencies = frequenciesOf(base, half);
      frequencies.forEach((frequency, j) => expect(isNearestPower(frequency, base, j, half), `${base}`).toBe(true));
    }
  });

  it("are exact where the power is an f64", () => {
    expect([...frequenciesOf(256, 8)]).toEqual([1, 2 ** -1, 2 ** -2, 2 ** -3, 2 ** -4, 2 ** -5, 2 ** -6, 2 ** -7]);
    expect([...frequenciesOf(1, 5)]).toEqual([1, 1, 1, 1, 1]);
  });
});

describe("logarithms", () => {
  const next = uniform(3);
  const numbers: [string, () => number][] = [
    ["of any number", () => 2 ** (300 * next() - 150)],
    ["of factors and contexts", () => 1 + 2 ** (20 * next() - 3)],
    ["next to 1", () => 1 + (2 * next() - 1) * 2 ** (-40 * next())],
    ["of whole numbers", () => integer(2, 1e6, next)],
    ["of subnormal numbers", () => integer(1, 1e9, next) * Number.MIN_VALUE],
  ];

  it.each(numbers)("are off by less than one unit in the last place: %s", (_, draw) => {
    for (let n = 0; n < 1000; n++) {
      const x = draw();
      const exact = exactLogarithm(x);
      if (exact !== 0n) expect(errorInUlps(logarithmOf(x), exact, 53), `${x}`).toBeLessThan(1);
    }
  });

  it("is 0 at 1, and finite at the ends", () => {
    expect(logarithmOf(1)).toBe(0);
    expect(logarithmOf(Number.MAX_VALUE)).toBeCloseTo(709.782712893384, 12);
    expect(logarithmOf(Number.MIN_VALUE)).toBeCloseTo(-744.4400719213812, 12);
  });
});

describe("cosines and sines", () => {
  const next = uniform(2);
  const numbers: [string, () => number][] = [
    ["up to 1", () => 2 * next() - 1],
    ["of positions up to a million", () => integer(0, 1e6, next) * next()],
    ["up to 2³¹", () => (2 * next() - 1) * 2 ** 31],
    ["whole numbers up to 2³¹", () => integer(-(2 ** 31), 2 ** 31, next)],
    ["beyond 2³¹", () => (2 * next() - 1) * 2 ** (31 + 150 * next())],
    ["next to multiples of π / 2", () => integer(-1e9, 1e9, next) * (Math.PI / 2)],
    ["tiny", () => (2 * next() - 1) * 2 ** (-100 * next())],
  ];

  it.each(numbers)("are off by less than one unit in the last place in f64, and right in f32: %s", (_, draw) => {
    for (let n = 0; n < 2000; n++) {
      const x = draw();
      const exact = exactCosineAndSine(x);
      const f64 = cosineAndSine(x, Float64Array);
      const f32 = cosineAndSine(x, Float32Array);
      for (const of of ["cos", "sin"] as const) {
        if (exact[of] === 0n) continue;
        expect(errorInUlps(f64[of], exact[of], 53), `${of} ${x}`).toBeLessThan(1);
        expect(errorInUlps(f32[of], exact[of], 24), `${of} ${x}`).toBeLessThanOrEqual(0.5);
      }
    }
  });

  it("are multiplied by the scale before they are rounded", () => {
    for (let n = 0; n < 2000; n++) {
      const x = (2 * next() - 1) * 2 ** (40 * next());
      const scale = 2 ** (4 * next() - 2);
      const exact = exactCosineAndSine(x);
      const [cos, sin] = [new Float32Array(3), new Float32Array(3)];
      writeCosinesAndSines(cos, sin, 2, 1, Float64Array.of(x), scale);
      for (const [value, of] of [
        [cos[2]!, exact.cos],
        [sin[2]!, exact.sin],
      ] as const) {
        const product = BigInt(scale * 2 ** 60) * of;
        expect(errorInUlps(value, product >> 60n, 24), `${x} ${scale}`).toBeLessThan(0.500001);
      }
      expect([...cos.subarray(0, 2), ...sin.subarray(0, 2)]).toEqual([0, 0, 0, 0]);
    }
  });

  it.each([0, 1, 2, 3, -1, -2, 1e9, -1e9, 2 ** 31, -(2 ** 31), 2 ** 31 + 1, 2 ** 100, -3e54])("of %s", (x) => {
    const exact = exactCosineAndSine(x);
    const f32 = cosineAndSine(x, Float32Array);
    expect(errorInUlps(f32.cos, exact.cos, 24)).toBeLessThanOrEqual(0.5);
    if (x !== 0) expect(errorInUlps(f32.sin, exact.sin, 24)).toBeLessThanOrEqual(0.5);
    else expect(f32.sin).toBe(0);
  });
});

forEachBuild((_, open) => {
  it("rotary has the bits that every host must have", () => {
    expect(angleBits(open())).toBe(anglesHash);
  });
});
