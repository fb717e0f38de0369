import { CONSTANT_BYTES, writeConstants } from "../../assembly/simd/constants";
import { exp, exp64, expColumn, log, softcap } from "../../assembly/simd/exp";
import { ulps } from "./ulp";

const table = heap.alloc(CONSTANT_BYTES);
const cell = heap.alloc(64);
const powers = heap.alloc(5 * 16);
writeConstants(table);

/** 2ᶻ, by a column of one vector. */
function exp2(z: f32): f32 {
  v128.store(cell, f32x4.splat(z));
  expColumn(cell, powers, 16, 1, 1, f32x4.splat(0), 1, table);
  return load<f32>(cell);
}

function expOf(x: f32): f32 {
  return f32x4.extract_lane(exp(f32x4.splat(x), table), 0);
}

function capped(x: f32, scale: f32, cap: f32): f32 {
  v128.store(cell, f32x4.splat(x));
  softcap(cell, 1, scale, cap, table);
  return load<f32>(cell);
}

describe("exp2", () => {
  it("is within 1.5 ulp", () => {
    let worst: f64 = 0;
    for (let z: f64 = -126; z <= 126; z += 0.00137) {
      const x = <f32>z;
      worst = max(worst, ulps(exp2(x), NativeMath.pow(2, <f64>x)));
    }
    expect(worst).toBeLessThanOrEqual(1.5);
  });

  it("is within 1.5 ulp near 0, where the weights are", () => {
    let worst: f64 = 0;
    for (let z: f64 = -2; z <= 0.5; z += 0.0000137) {
      const x = <f32>z;
      worst = max(worst, ulps(exp2(x), NativeMath.pow(2, <f64>x)));
    }
    expect(worst).toBeLessThanOrEqual(1.5);
  });

  it("is exact for integers, 1 at 0", () => {
    for (let n: i32 = -126; n <= 126; n++) expect(exp2(<f32>n)).toBe(<f32>NativeMath.pow(2, <f64>n));
    expect(exp2(-0.0)).toBe(1);
  });

  it("is 0 far below, −Infinity included", () => {
    expect(exp2(-127)).toBe(0);
    expect(exp2(-1000)).toBe(0);
    expect(exp2(-3e38)).toBe(0);
    expect(exp2(-Infinity)).toBe(0);
  });

  it("is NaN for NaN", () => {
    expect(exp2(NaN)).toBeNaN();
  });
});

describe("expColumn", () => {
  it("takes (x − m)·factor lane by lane, sums, and leaves what lies between the vectors", () => {
    const column = heap.alloc(5 * 32);
    for (let i = 0; i < 40; i++) store<f32>(column + ((<usize>i) << 2), <f32>i / 8 - 3);
    const m = f32x4(1, 2, 3, 4);
    const sum = expColumn(column, powers, 32, 5, 5, m, 0.5, table);
    let first: f32 = 0,
      last: f32 = 0;
    for (let n = 0; n < 5; n++) {
      for (let lane = 0; lane < 8; lane++) {
        const i = 8 * n + lane;
        const got = load<f32>(column + ((<usize>i) << 2));
        const x = <f64>i / 8 - 3;
        if (lane < 4) expect(ulps(got, NativeMath.pow(2, (x - <f64>(lane + 1)) / 2))).toBeLessThanOrEqual(1.5);
        else expect(got).toBe(<f32>x);
      }
      first += load<f32>(column + ((<usize>(8 * n)) << 2));
      last += load<f32>(column + ((<usize>(8 * n + 3)) << 2));
    }
    expect(f32x4.extract_lane(sum, 0)).toBe(first);
    expect(f32x4.extract_lane(sum, 3)).toBe(last);
    heap.free(column);
  });
});

describe("exp", () => {
  // z = x·log₂e is rounded by at most 2⁻²⁴ of it, log₂e by ¼ of that; 2ᶻ changes by ln 2 times as much, and an ulp may
  // be 2⁻²⁴ of it.
  it("is within 1.5 + 1.25·|x| ulp", () => {
    let worst: f64 = 0;
    for (let z: f64 = -87; z <= 87; z += 0.000987) {
      const x = <f32>z;
      worst = max(worst, ulps(expOf(x), NativeMath.exp(<f64>x)) - 1.25 * NativeMath.abs(<f64>x));
    }
    expect(worst).toBeLessThanOrEqual(1.5);
  });

  it("is 1 at 0, 0 for −Infinity, NaN for NaN", () => {
    expect(expOf(0)).toBe(1);
    expect(expOf(-Infinity)).toBe(0);
    expect(expOf(NaN)).toBeNaN();
  });
});

describe("softcap", () => {
  it("is tanh within 2 ulp", () => {
    let worst: f64 = 0;
    for (let t: f64 = -12; t <= 12; t += 0.000123) {
      const x = <f32>t;
      worst = max(worst, ulps(capped(x, 1, 1), NativeMath.tanh(<f64>x)));
    }
    expect(worst).toBeLessThanOrEqual(2);
  });

  it("keeps small scores, and is odd", () => {
    for (let x: f32 = 1; x > 1e-37; x *= 0.1) {
      expect(ulps(capped(x, 1, 4), 4 * NativeMath.tanh(<f64>x / 4))).toBeLessThanOrEqual(3);
      expect(capped(-x, 1, 4)).toBe(-capped(x, 1, 4));
    }
  });

  it("scales, then caps", () => {
    expect(ulps(capped(3, 0.5, 8), 8 * NativeMath.tanh(1.5 / 8))).toBeLessThanOrEqual(3);
  });

  it("is the cap for scores beyond it, Infinity included, and NaN for NaN", () => {
    expect(capped(1e9, 1, 20)).toBe(20);
    expect(capped(Infinity, 1, 20)).toBe(20);
    expect(capped(-3e38, 1, 20)).toBe(-20);
    expect(capped(-Infinity, 1, 20)).toBe(-20);
    expect(capped(NaN, 1, 20)).toBeNaN();
  });

  it("goes through vectors one after the other", () => {
    const scores = heap.alloc(48);
    for (let i = 0; i < 12; i++) store<f32>(scores + ((<usize>i) << 2), <f32>i);
    softcap(scores, 2, 1, 5, table);
    for (let i = 0; i < 12; i++) {
      const got = load<f32>(scores + ((<usize>i) << 2));
      if (i < 8) expect(ulps(got, 5 * NativeMath.tanh(<f64>i / 5))).toBeLessThanOrEqual(3);
      else expect(got).toBe(<f32>i);
    }
    heap.free(scores);
  });
});

describe("log", () => {
  it("is within 1e-12", () => {
    let worst: f64 = 0;
    for (let x: f64 = 1e-300; x < 1e300; x *= 1.0173) {
      worst = max(worst, NativeMath.abs(log(x) - NativeMath.log(x)) / max(1, NativeMath.abs(NativeMath.log(x))));
    }
    for (let x: f64 = 0.25; x < 300; x += 0.00713) worst = max(worst, NativeMath.abs(log(x) - NativeMath.log(x)));
    expect(worst).toBeLessThanOrEqual(1e-12);
  });

  it("is exact at 1, −Infinity at 0, NaN for NaN and below 0", () => {
    expect(log(1)).toBe(0);
    expect(log(0)).toBe(-Infinity);
    expect(log(NaN)).toBeNaN();
    expect(log(-1)).toBeNaN();
  });
});

describe("exp64", () => {
  it("is within 1e-15 of itself", () => {
    let worst: f64 = 0;
    for (let x: f64 = -700; x <= 700; x += 0.0137) {
      const exact = NativeMath.exp(x);
      worst = max(worst, abs(exp64(x) / exact - 1));
    }
    expect(worst).toBeLessThanOrEqual(1e-15);
  });

  it("is exactly 1 at 0, 0 far below, Infinity far above and NaN for NaN", () => {
    expect(exp64(0)).toBe(1);
    expect(exp64(-Infinity)).toBe(0);
    expect(exp64(-1e300)).toBe(0);
    expect(exp64(Infinity)).toBe(Infinity);
    expect(exp64(1e300)).toBe(Infinity);
    expect(exp64(NaN)).toBeNaN();
  });
});
