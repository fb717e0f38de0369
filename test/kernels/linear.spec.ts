import { BLOCK_ROWS, linear, linearScratchBytes, packPanels } from "../../assembly/ops/linear";
import { LANES } from "../../assembly/simd/lanes";
import { plainMadd } from "./madd";

// A block has BLOCK_ROWS rows and 384 steps of the sum, and a panel LANES features: one past each.
const MAX_ROWS: i32 = BLOCK_ROWS + 1;
const MAX_IN: i32 = 385;
const MAX_OUT: i32 = 2 * LANES + 1;
/** Floats between two rows of x, and of out, that belong to neither. */
const GAP: i32 = 3;
const UNTOUCHED: f32 = -77;

const x = heap.alloc(((<usize>MAX_ROWS * (MAX_IN + GAP)) << 2) + 16);
const weight = heap.alloc((<usize>MAX_OUT * MAX_IN) << 2);
const bias = heap.alloc((<usize>MAX_OUT) << 2);
const panels = heap.alloc((<usize>(MAX_OUT + LANES) * MAX_IN) << 2);
const out = heap.alloc((<usize>MAX_ROWS * (MAX_OUT + GAP)) << 2);
const scratch = heap.alloc(<usize>linearScratchBytes());

function at(array: usize, index: i32): usize {
  return array + ((<usize>index) << 2);
}

function fill(array: usize, count: i32, step: i32): void {
  for (let i = 0; i < count; i++) store<f32>(at(array, i), <f32>((i * step) % 1009) / 333 - 1.5);
}

/** How many cells of out differ from three plain loops, and how many beside them were written. */
function wrongCells(
  rows: i32,
  inFeatures: i32,
  outFeatures: i32,
  biased: bool,
  transposed: bool,
  useTile6x2: bool,
): i32 {
  const xRow = inFeatures + GAP;
  const outRow = outFeatures + GAP;
  fill(x, rows * xRow, 7919);
  fill(weight, outFeatures * inFeatures, 104729);
  fill(bias, outFeatures, 331);
  for (let i = 0; i < rows * outRow; i++) store<f32>(at(out, i), UNTOUCHED);
  // W[o][t], stored [outFeatures][inFeatures] or [inFeatures][outFeatures].
  const outStep = transposed ? 1 : inFeatures;
  const inStep = transposed ? outFeatures : 1;
  packPanels(panels, weight, inFeatures, outFeatures, (<usize>outStep) << 2, (<usize>inStep) << 2);
  linear(
    out,
    x,
    panels,
    biased ? bias : 0,
    scratch,
    rows,
    inFeatures,
    outFeatures,
    (<usize>outRow) << 2,
    (<usize>xRow) << 2,
    useTile6x2,
  );
  let wrong = 0;
  for (let row = 0; row < rows; row++) {
    for (let o = 0; o < outFeatures; o++) {
      let sum: f32 = 0;
      for (let first = 0; first < inFeatures; first += 384) {
        let block: f32 = 0;
        for (let t = first; t < min(first + 384, inFeatures); t++) {
          block = plainMadd(load<f32>(at(x, row * xRow + t)), load<f32>(at(weight, o * outStep + t * inStep)), block);
        }
        sum += block;
      }
      if (biased) sum += load<f32>(at(bias, o));
      // The same products in the same order: the same bits.
      if (load<f32>(at(out, row * outRow + o)) != sum) wrong++;
    }
    for (let gap = outFeatures; gap < outRow; gap++) {
      if (load<f32>(at(out, row * outRow + gap)) != UNTOUCHED) wrong++;
    }
  }
  return wrong;
}

describe("linear", () => {
  it("is three plain loops, for every remainder of features, of few rows and of steps", () => {
    for (let outFeatures = 1; outFeatures <= MAX_OUT; outFeatures++) {
      for (let rows = 1; rows <= 7; rows++) {
        const inFeatures = 1 + ((outFeatures + 3 * rows) % 9);
        const biased = (rows & 1) == 0;
        expect(wrongCells(rows, inFeatures, outFeatures, biased, false, false)).toBe(0, "W by output feature");
        expect(wrongCells(rows, inFeatures, outFeatures, biased, true, false)).toBe(0, "W by input feature");
        expect(wrongCells(rows, inFeatures, outFeatures, biased, false, true)).toBe(0, "tiles of 6 × 2");
      }
    }
  });

  it("is three plain loops where a block of rows ends", () => {
    for (let rows = MAX_ROWS - 2; rows <= MAX_ROWS; rows++) {
      expect(wrongCells(rows, 5, LANES + 1, true, false, false)).toBe(0);
      expect(wrongCells(rows, 5, LANES + 1, true, false, true)).toBe(0, "tiles of 6 × 2");
    }
  });

  it("is three plain loops where a block of steps ends, for one row and several", () => {
    for (let inFeatures = MAX_IN - 2; inFeatures <= MAX_IN; inFeatures++) {
      for (let rows = 1; rows <= 3; rows += 2) {
        expect(wrongCells(rows, inFeatures, LANES + 1, true, false, false)).toBe(0);
        expect(wrongCells(rows, inFeatures, LANES + 1, false, true, true)).toBe(0, "tiles of 6 × 2");
      }
    }
  });

  it("does nothing without rows", () => {
    expect(wrongCells(0, 3, 3, true, false, false)).toBe(0);
  });

  it("keeps NaN of x in the row it stands in", () => {
    for (let rows = 2; rows <= 3; rows++) {
      wrongCells(rows, 4, LANES + 1, true, false, false);
      store<f32>(at(x, 4 + GAP), NaN);
      const row = (<usize>(4 + GAP)) << 2;
      const outRow = (<usize>(LANES + 1 + GAP)) << 2;
      linear(out, x, panels, bias, scratch, rows, 4, LANES + 1, outRow, row, false);
      for (let i = 0; i < rows; i++) {
        for (let o = 0; o <= LANES; o++) {
          const y = load<f32>(at(out, i * (LANES + 1 + GAP) + o));
          expect(y != y).toBe(i == 1);
        }
      }
    }
  });

  it("asserts that there are features, and that one of the steps of W is a float", () => {
    expect(() => {
      packPanels(panels, weight, 0, 1, 4, 4);
    }).toThrow();
    expect(() => {
      packPanels(panels, weight, 2, 2, 8, 8);
    }).toThrow();
    expect(() => {
      linear(out, x, panels, 0, scratch, 1, 1, 0, 4, 4, false);
    }).toThrow();
  });
});
