import { topOfRow } from "../../assembly/ops/top-k";

const LENGTH: i32 = 37;
const row = heap.alloc(LENGTH * 4 + 16);
const weights = heap.alloc(LENGTH * 4 + 4);
const indices = heap.alloc(LENGTH * 4 + 4);

/** Whether the `count` largest of the row are where a plain sort puts them, and nothing else is written. */
function isRight(length: i32, count: i32): bool {
  store<f32>(weights + ((<usize>count) << 2), -7);
  store<i32>(indices + ((<usize>count) << 2), -7);
  topOfRow(weights, indices, row, length, count);
  for (let n = 0; n < count; n++) {
    const w = load<f32>(weights + ((<usize>n) << 2));
    const index = load<i32>(indices + ((<usize>n) << 2));
    if (load<f32>(row + ((<usize>index) << 2)) != w) return false;
    // As many elements come before as there are places before it.
    let before = 0;
    for (let i = 0; i < length; i++) {
      const other = load<f32>(row + ((<usize>i) << 2));
      if (other > w || (other == w && i < index)) before++;
    }
    if (before != n) return false;
  }
  return load<f32>(weights + ((<usize>count) << 2)) == -7 && load<i32>(indices + ((<usize>count) << 2)) == -7;
}

describe("topOfRow", () => {
  it("sorts any row, with ties, of any length and count", () => {
    let seed: u32 = 1;
    for (let length = 0; length <= LENGTH; length++) {
      for (let count = 0; count <= length; count++) {
        for (let i = 0; i < length; i++) {
          seed = seed * 1664525 + 1013904223;
          store<f32>(row + ((<usize>i) << 2), <f32>(seed >> 29));
        }
        expect(isRight(length, count)).toBe(true);
      }
    }
  });
});
