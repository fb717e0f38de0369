import { mergeBytes, mergeRows } from "../../assembly/ops/merge";

const BATCH: i32 = 2;
const HEADS: i32 = 3;
const LENGTH: i32 = 2;
const ROWS: i32 = BATCH * HEADS * LENGTH;
const MAX_PARTS: i32 = 4;
const MAX_DIM: i32 = 9;
const UNTOUCHED: f32 = -77;

const outs = heap.alloc((<usize>MAX_PARTS) << 2);
const lses = heap.alloc((<usize>MAX_PARTS) << 2);
const partOuts = heap.alloc((<usize>(MAX_PARTS * ROWS * MAX_DIM)) << 2);
const partLses = heap.alloc((<usize>(MAX_PARTS * ROWS)) << 2);
const sinks = heap.alloc((<usize>HEADS) << 2);
const out = heap.alloc((<usize>(ROWS * MAX_DIM)) << 2);
const lse = heap.alloc((<usize>ROWS) << 2);
const scratch = heap.alloc(<usize>mergeBytes(MAX_PARTS));

function at(array: usize, index: i32): usize {
  return array + ((<usize>index) << 2);
}

/** Part p of row n of lse, [BATCH][HEADS][LENGTH]; every fifth one saw no key. */
function lseOf(p: i32, n: i32): f32 {
  return (p + n) % 5 == 0 ? -Infinity : <f32>(((p * 7919 + n * 331) % 101) - 50) / 10;
}

function valueOf(p: i32, row: i32, d: i32): f32 {
  return <f32>((p * 104729 + row * 7919 + d * 331) % 997) / 333 - 1.5;
}

/** Merges rows [first, first + rows) and gives how many results are wrong. */
function wrongResults(parts: i32, dim: i32, first: i32, rows: i32, byHead: bool, withSinks: bool): i32 {
  for (let head = 0; head < HEADS; head++) store<f32>(at(sinks, head), <f32>head - 1);
  for (let p = 0; p < parts; p++) {
    store<usize>(at(outs, p), at(partOuts, p * ROWS * MAX_DIM));
    store<usize>(at(lses, p), at(partLses, p * ROWS));
    for (let n = 0; n < ROWS; n++) {
      store<f32>(at(partLses, p * ROWS + n), lseOf(p, n));
    }
    // The rows that are merged, the first of them first; a part that saw no key has garbage.
    for (let row = 0; row < rows; row++) {
      const dead = lseOf(p, lseIndex(first + row, byHead)) == -Infinity;
      for (let d = 0; d < dim; d++) {
        store<f32>(at(partOuts, p * ROWS * MAX_DIM + row * dim + d), dead ? NaN : valueOf(p, first + row, d));
      }
    }
  }
  for (let n = 0; n < ROWS; n++) store<f32>(at(lse, n), UNTOUCHED);
  mergeRows(out, lse, outs, lses, withSinks ? sinks : 0, scratch, parts, first, rows, HEADS, LENGTH, dim, byHead);

  let wrong = 0;
  let written = 0;
  for (let row = 0; row < rows; row++) {
    const n = lseIndex(first + row, byHead);
    const head = (n / LENGTH) % HEADS;
    let l: f64 = withSinks ? NativeMath.exp(<f64>(head - 1)) : 0;
    for (let p = 0; p < parts; p++) l += NativeMath.exp(<f64>lseOf(p, n));
    const exact = l == 0 ? -Infinity : NativeMath.log(l);
    const got = <f64>load<f32>(at(lse, n));
    // Rounded once to f32, of magnitudes up to 8: 2⁻²². Sums in f64 add next to nothing.
    if (got != exact && !(abs(got - exact) <= 2.4e-7)) wrong++;
    for (let d = 0; d < dim; d++) {
      let sum: f64 = 0;
      for (let p = 0; p < parts; p++) {
        const w = NativeMath.exp(<f64>lseOf(p, n));
        if (w > 0) sum += (w / l) * <f64>valueOf(p, first + row, d);
      }
      // Of magnitudes up to 2: half an ulp is 2⁻²⁴.
      if (!(abs(<f64>load<f32>(at(out, row * dim + d)) - sum) <= 6e-8)) wrong++;
    }
  }
  for (let n = 0; n < ROWS; n++) if (load<f32>(at(lse, n)) != UNTOUCHED) written++;
  return wrong + abs(written - rows);
}

/** Where row n of out, in memory order, has its lse. */
function lseIndex(n: i32, byHead: bool): i32 {
  if (byHead) return n;
  const b = n / (HEADS * LENGTH);
  return (b * HEADS + (n % HEADS)) * LENGTH + ((n / HEADS) % LENGTH);
}

describe("mergeRows", () => {
  it("weighs each part by its lse, in both orders of rows, with and without a sink, and skips dead parts", () => {
    for (let parts = 1; parts <= MAX_PARTS; parts++) {
      for (let dim = 1; dim <= MAX_DIM; dim++) {
        for (let form = 0; form < 4; form++) {
          expect(wrongResults(parts, dim, 0, ROWS, (form & 1) == 1, (form & 2) == 2)).toBe(0);
        }
      }
    }
  });

  it("merges any range of rows, and writes the lse of those alone", () => {
    for (let first = 0; first < ROWS; first++) {
      for (let rows = 0; rows <= ROWS - first; rows++) {
        expect(wrongResults(3, 5, first, rows, true, true)).toBe(0);
        expect(wrongResults(3, 5, first, rows, false, true)).toBe(0);
      }
    }
  });

  it("asserts that there is a part", () => {
    expect(() => {
      mergeRows(out, lse, outs, lses, 0, scratch, 0, 0, 1, HEADS, LENGTH, 1, true);
    }).toThrow();
  });
});
