import { pieceTileBytes, scratchBytes } from "../../assembly/attend";
import { linearScratchBytes } from "../../assembly/ops/linear";
import { mergeBytes } from "../../assembly/ops/merge";
import { scoreRowsBytes } from "../../assembly/ops/score-rows";

/** More than any memory has. */
const TOO_MUCH: f64 = 4294967296;

describe("sizes", () => {
  it("do not wrap where memory could not hold them", () => {
    // 2²⁵ and 2²⁶ bytes of S, K and V a dim: i32 wraps to a negative number, u32 to a small one.
    const dims: f64[] = [8388608, 16777216, 1073741823, 2147483648, 4294967296, 9007199254740991];
    for (let n = 0; n < dims.length; n++) {
      expect(scratchBytes(dims[n], 8, 1)).toBeGreaterThanOrEqual(TOO_MUCH);
      expect(scratchBytes(8, dims[n], 1)).toBeGreaterThanOrEqual(TOO_MUCH);
      expect(scoreRowsBytes(dims[n])).toBeGreaterThanOrEqual(TOO_MUCH);
    }
    expect(pieceTileBytes(67108864, 67108864, 64)).toBeGreaterThanOrEqual(TOO_MUCH);
    expect(mergeBytes(536870912)).toBe(8589934592);
  });

  it("are positive beyond 2³¹ bytes", () => {
    expect(scratchBytes(1864113, 1864113, 1)).toBeGreaterThan(2147483648);
  });

  it("grow with each dim, and not with rows beyond a pass", () => {
    expect(scratchBytes(64, 64, 1)).toBeLessThan(scratchBytes(65, 64, 1) + 1);
    expect(scratchBytes(64, 64, 1)).toBeLessThan(scratchBytes(128, 64, 1));
    expect(scratchBytes(64, 64, 1)).toBeLessThan(scratchBytes(64, 64, 1000));
    expect(scratchBytes(64, 64, 1000000)).toBe(scratchBytes(64, 64, 9007199254740991));
  });

  it("are whole numbers of bytes", () => {
    expect(linearScratchBytes() % 4).toBe(0);
    expect(scratchBytes(3, 5, 7) % 4).toBe(0);
  });
});
