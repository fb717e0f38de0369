import {
  accumulateInt8,
  valueSumBytes,
  dotInt8,
  splitInt16Pairs,
  splitInt16,
  splitInt16Bytes,
} from "../../assembly/decode/int8";

const DIM: i32 = 24;
const KEYS: i32 = 7;

const x = heap.alloc(128 * 4);
const whole = heap.alloc(<usize>splitInt16Bytes(128));
/** The rows end with the memory, so that a read past them traps. */
const rows = endOfMemory() - KEYS * DIM;
const sums = heap.alloc((KEYS + 1) * 16);
const added = heap.alloc(valueSumBytes(DIM));
const o = heap.alloc(DIM * 4);

function endOfMemory(): usize {
  memory.grow(1);
  return (<usize>memory.size()) << 16;
}

/** Floats of magnitudes up to `size`, the first of them `size` itself. */
function fill(count: i32, size: f32): void {
  for (let i = 0; i < 128; i++) store<f32>(x + ((<usize>i) << 2), NaN);
  for (let i = 0; i < count; i++) {
    store<f32>(x + ((<usize>i) << 2), i ? (size * <f32>(((i * 7919) % 1009) - 504)) / 505 : size);
  }
  for (let i = 0; i < KEYS * DIM; i++) store<i8>(rows + <usize>i, <i8>(((i * 104729) % 255) - 127));
}

function byteAt(key: i32, d: i32): f64 {
  return <f64>load<i8>(rows + <usize>(key * DIM + d));
}

function floatAt(array: usize, i: i32): f64 {
  return <f64>load<f32>(array + ((<usize>i) << 2));
}

describe("whole numbers", () => {
  it("score keys within rounding", () => {
    for (let exponent = -90; exponent <= 110; exponent += 25) {
      const size = <f32>(NativeMath.pow(2, <f64>exponent) * 1.37);
      fill(DIM, size);
      expect(splitInt16(whole, x, DIM)).toBe(true);
      dotInt8(sums, rows, whole, KEYS, DIM, DIM);
      let worst: f64 = 0;
      for (let key = 0; key < KEYS; key++) {
        let exact: f64 = 0;
        for (let d = 0; d < DIM; d++) exact += byteAt(key, d) * floatAt(x, d);
        let got: f64 = 0;
        for (let n = 0; n < 4; n++) got += floatAt(sums, 4 * key + n);
        worst = max(worst, abs(got - exact));
      }
      // Four sums of six products, each rounded once as a float, and q itself, off by 2⁻²⁹ at most.
      expect(worst).toBeLessThanOrEqual(<f64>size * 127 * 24 * 1.2e-7);
    }
  });

  it("weigh the values of any number of keys within rounding", () => {
    for (let exponent = -90; exponent <= 110; exponent += 25) {
      const size = <f32>(NativeMath.pow(2, <f64>exponent) * 1.37);
      for (let count = 1; count <= KEYS; count++) {
        fill(count, size);
        memory.fill(o, 0, DIM * 4);
        expect(splitInt16Pairs(whole, x, count)).toBe(true);
        // The last keys of the rows, of which nothing comes after.
        const first = KEYS - count;
        accumulateInt8(o, rows + first * DIM, whole, added, count, DIM, DIM);
        let worst: f64 = 0;
        for (let d = 0; d < DIM; d++) {
          let exact: f64 = 0;
          for (let key = 0; key < count; key++) exact += byteAt(first + key, d) * floatAt(x, key);
          worst = max(worst, abs(floatAt(o, d) - exact));
        }
        expect(worst).toBeLessThanOrEqual(<f64>size * 127 * <f64>count * 1.2e-7);
      }
    }
  });

  it("are exact for one key, whatever its weight", () => {
    let wrong = 0;
    for (let i = 0; i < 1000; i++) {
      fill(1, <f32>(1 + <f64>i / 999));
      memory.fill(o, 0, DIM * 4);
      splitInt16Pairs(whole, x, 1);
      accumulateInt8(o, rows, whole, added, 1, DIM, DIM);
      for (let d = 0; d < DIM; d++) if (floatAt(o, d) != <f64>(<f32>(byteAt(0, d) * floatAt(x, 0)))) wrong++;
    }
    expect(wrong).toBe(0);
  });

  it("stay below 2³¹ up to the longest row, and refuse a longer one", () => {
    const long: i32 = 4096;
    const q = heap.alloc((<usize>long + 8) << 2);
    const k = heap.alloc(2 * <usize>(long + 8));
    const split = heap.alloc(<usize>splitInt16Bytes(long + 8));
    for (let d = 0; d < long + 8; d++) {
      store<f32>(q + ((<usize>d) << 2), <f32>1.9999999);
      store<i8>(k + <usize>d, 127);
    }
    memory.copy(k + <usize>long, k, <usize>long);
    expect(splitInt16(split, q, long)).toBe(true);
    dotInt8(sums, k, split, 1, long, <usize>long);
    for (let n = 0; n < 4; n++) {
      expect(abs(floatAt(sums, n) / (1.9999999 * 127 * 1024) - 1)).toBeLessThan(1e-6);
    }
    expect(splitInt16(split, q, long + 8)).toBe(false);
    heap.free(q);
    heap.free(k);
    heap.free(split);
  });

  it("take zeros, and refuse what is not finite, next to nothing, or next to Infinity", () => {
    fill(DIM, 0);
    expect(splitInt16(whole, x, DIM)).toBe(true);
    dotInt8(sums, rows, whole, KEYS, DIM, DIM);
    let wrong = 0;
    for (let i = 0; i < 4 * KEYS; i++) if (floatAt(sums, i) != 0) wrong++;
    expect(wrong).toBe(0);
    for (let i = 0; i < 5; i++) {
      fill(DIM, 1);
      store<f32>(x + 12, i == 0 ? NaN : i == 1 ? Infinity : i == 2 ? -Infinity : i == 3 ? 3e38 : -3e38);
      expect(splitInt16(whole, x, DIM)).toBe(false);
      expect(splitInt16Pairs(whole, x, 8)).toBe(false);
    }
    fill(DIM, <f32>1e-30);
    expect(splitInt16(whole, x, DIM)).toBe(false);
  });
});
