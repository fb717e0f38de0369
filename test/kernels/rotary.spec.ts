import { rotate } from "../../assembly/ops/rotary";
import { plainMadd } from "./madd";

const ROWS: i32 = 3;
const HEADS: i32 = 2;
const MAX_DIM: i32 = 21;
const ANGLES: i32 = 5;

const x = heap.alloc((<usize>(ROWS * HEADS * (MAX_DIM + 2))) << 2);
const out = heap.alloc((<usize>(ROWS * HEADS * (MAX_DIM + 2))) << 2);
const cos = heap.alloc((<usize>(ANGLES * MAX_DIM)) << 2);
const sin = heap.alloc((<usize>(ANGLES * MAX_DIM)) << 2);
const angles = heap.alloc((<usize>ROWS) << 2);

function at(array: usize, index: i32): usize {
  return array + ((<usize>index) << 2);
}

function valueOf(index: i32): f32 {
  return <f32>((index * 7919) % 1009) / 333 - 1.5;
}

/** How many floats differ from pairs that are turned one by one; rows of every head are `headDim` + 2 floats apart. */
function wrongFloats(headDim: i32, rotaryDim: i32, interleaved: bool, chosen: bool, inPlace: bool): i32 {
  const half = rotaryDim / 2;
  const headStride = headDim + 2;
  const rowStride = HEADS * headStride;
  for (let i = 0; i < ROWS * rowStride; i++) {
    store<f32>(at(x, i), valueOf(i));
    store<f32>(at(out, i), NaN);
  }
  for (let i = 0; i < ANGLES * half; i++) {
    store<f32>(at(cos, i), <f32>NativeMath.cos(<f64>i));
    store<f32>(at(sin, i), <f32>NativeMath.sin(<f64>i));
  }
  for (let i = 0; i < ROWS; i++) store<i32>(at(angles, i), ANGLES - 1 - 2 * i);
  const to = inPlace ? x : out;
  rotate(
    to,
    x,
    cos,
    sin,
    chosen ? angles : 0,
    ROWS,
    HEADS,
    headDim,
    rotaryDim,
    (<usize>rowStride) << 2,
    (<usize>headStride) << 2,
    interleaved,
  );
  let wrong = 0;
  for (let row = 0; row < ROWS; row++) {
    const angle = chosen ? ANGLES - 1 - 2 * row : row;
    for (let head = 0; head < HEADS; head++) {
      const start = row * rowStride + head * headStride;
      for (let pair = 0; pair < half; pair++) {
        const one = start + (interleaved ? 2 * pair : pair);
        const other = one + (interleaved ? 1 : half);
        const a = valueOf(one);
        const b = valueOf(other);
        const c = load<f32>(at(cos, angle * half + pair));
        const s = load<f32>(at(sin, angle * half + pair));
        // The same bits: the second product is fused where the engine fuses.
        if (load<f32>(at(to, one)) != plainMadd(-b, s, a * c)) wrong++;
        if (load<f32>(at(to, other)) != plainMadd(a, s, b * c)) wrong++;
      }
      for (let d = rotaryDim; d < headDim; d++) if (load<f32>(at(to, start + d)) != valueOf(start + d)) wrong++;
      // What stands between the heads is not written.
      for (let d = headDim; d < headStride; d++) {
        const gap = load<f32>(at(to, start + d));
        if (inPlace ? gap != valueOf(start + d) : gap == gap) wrong++;
      }
    }
  }
  return wrong;
}

describe("rotate", () => {
  it("turns every pair by its angle, for every remainder of pairs, and leaves the rest", () => {
    for (let headDim = 2; headDim <= MAX_DIM; headDim++) {
      for (let rotaryDim = 2; rotaryDim <= headDim; rotaryDim += 2) {
        for (let form = 0; form < 8; form++) {
          expect(wrongFloats(headDim, rotaryDim, (form & 1) == 1, (form & 2) == 2, (form & 4) == 4)).toBe(0);
        }
      }
    }
  });

  it("asserts that rotaryDim is even, and at most headDim", () => {
    expect(() => {
      rotate(out, x, cos, sin, 0, 1, 1, 4, 3, 16, 16, false);
    }).toThrow();
    expect(() => {
      rotate(out, x, cos, sin, 0, 1, 1, 4, 6, 16, 16, false);
    }).toThrow();
    expect(() => {
      rotate(out, x, cos, sin, 0, 1, 1, 4, 0, 16, 16, false);
    }).toThrow();
  });
});
