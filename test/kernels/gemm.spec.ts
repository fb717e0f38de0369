import { LANES, LANE_BYTES, VECTORS } from "../../assembly/simd/lanes";
import { ROWS_OVER, multiply } from "../../assembly/simd/gemm";
import { plainMadd } from "./madd";

const MAX_ROWS: i32 = 26;
const MAX_COUNT: i32 = 9;
/** Floats from one row of A to the next, or from one step to the next. */
const STRIDE: i32 = 31;

const a = heap.alloc((<usize>(STRIDE * STRIDE)) << 2);
const b = heap.alloc(<usize>MAX_COUNT * LANE_BYTES);
const c = heap.alloc(<usize>(MAX_ROWS + ROWS_OVER + 1) * LANE_BYTES);

function at(array: usize, index: i32): usize {
  return array + ((<usize>index) << 2);
}

function fill(): void {
  for (let i = 0; i < STRIDE * STRIDE; i++) store<f32>(at(a, i), <f32>((i * 7919) % 1009) / 333 - 1.5);
  for (let i = 0; i < MAX_COUNT * LANES; i++) store<f32>(at(b, i), <f32>((i * 104729) % 997) / 333 - 1.5);
  for (let i = 0; i < (MAX_ROWS + ROWS_OVER + 1) * LANES; i++) store<f32>(at(c, i), <f32>(i % 13) - 6);
}

/** How many cells differ from three plain loops, and whether anything past the scratch rows was written. */
function wrongCells(rows: i32, count: i32, vectors: i32, useTile6x2: bool, accumulate: bool, transposed: bool): i32 {
  fill();
  const row = transposed ? 1 : STRIDE;
  const next = transposed ? STRIDE : 1;
  multiply(c, a, b, rows, count, vectors, useTile6x2, (<usize>row) << 2, (<usize>next) << 2, -(<i32>accumulate));
  let wrong = 0;
  for (let i = 0; i < rows; i++) {
    for (let lane = 0; lane < 4 * vectors; lane++) {
      let sum: f32 = 0;
      for (let t = 0; t < count; t++) {
        sum = plainMadd(load<f32>(at(a, i * row + t * next)), load<f32>(at(b, t * LANES + lane)), sum);
      }
      if (accumulate) sum += <f32>((i * LANES + lane) % 13) - 6;
      // The same products in the same order: the same bits.
      if (load<f32>(at(c, i * LANES + lane)) != sum) wrong++;
    }
  }
  for (let i = (rows + ROWS_OVER) * LANES; i < (MAX_ROWS + ROWS_OVER + 1) * LANES; i++) {
    if (load<f32>(at(c, i)) != <f32>(i % 13) - 6) wrong++;
  }
  return wrong;
}

function comparePlainLoops(useTile6x2: bool): void {
  for (let vectors = 1; vectors <= VECTORS; vectors++) {
    for (let rows = 1; rows <= MAX_ROWS; rows++) {
      let scores = 0;
      let sums = 0;
      for (let count = 0; count <= MAX_COUNT; count++) {
        scores += wrongCells(rows, count, vectors, useTile6x2, false, false);
        scores += wrongCells(rows, count, vectors, useTile6x2, true, false);
        sums += wrongCells(rows, count, vectors, useTile6x2, false, true);
        sums += wrongCells(rows, count, vectors, useTile6x2, true, true);
      }
      expect(scores).toBe(0, "scores");
      expect(sums).toBe(0, "weighted sum");
    }
  }
}

describe("multiply", () => {
  it("is three plain loops, for every remainder of rows, few steps and many, both strides", () => {
    comparePlainLoops(false);
  });

  it("is the same to the bit in the useTile6x2 tile", () => {
    comparePlainLoops(true);
  });

  it("does nothing without rows", () => {
    expect(wrongCells(0, 3, VECTORS, true, true, false)).toBe(0);
  });

  it("asserts its number of vectors", () => {
    expect(() => {
      multiply(c, a, b, 1, 1, 0, false, 4, 4, 0);
    }).toThrow();
    expect(() => {
      multiply(c, a, b, 1, 1, VECTORS + 1, false, 4, 4, 0);
    }).toThrow();
  });

  it("keeps NaN and Infinity of A in the rows they stand in", () => {
    fill();
    store<f32>(at(a, STRIDE), NaN);
    multiply(c, a, b, 4, 3, VECTORS, false, (<usize>STRIDE) << 2, 4, 0);
    for (let i = 0; i < 4; i++) {
      for (let lane = 0; lane < LANES; lane++) {
        const x = load<f32>(at(c, i * LANES + lane));
        expect(x != x).toBe(i == 1);
      }
    }
  });
});
