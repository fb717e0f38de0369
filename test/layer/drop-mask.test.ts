// Which shape the mask has that keepMask and dropMask become: docs/decisions/drop-mask.md.
import { describe, expect, test } from "vitest";
import { combineMasks } from "../../bindings/layer/drop-mask.ts";
import { randomMask } from "../support/problems.ts";

const TARGET = [2, 3, 4, 5];

describe("keepMask and dropMask become", () => {
  test("the keepMask itself where there is no dropMask", () => {
    const keep = randomMask([4, 5]);
    expect(combineMasks(keep, undefined, TARGET)).toBe(keep);
  });

  test.each([
    { what: "the dropMask's shape where it is alone", keep: undefined, drop: [2, 1, 1, 5], shape: [2, 1, 1, 5] },
    { what: "one mask of the same shape", keep: [4, 5], drop: [4, 5], shape: [1, 1, 4, 5] },
    { what: "the larger shape where one contains the other", keep: [5], drop: [4, 5], shape: [1, 1, 4, 5] },
    { what: "the larger shape where keepMask has it", keep: [2, 1, 4, 5], drop: [2, 1, 1, 5], shape: [2, 1, 4, 5] },
    { what: "the product of shapes that cross", keep: [2, 1, 1, 5], drop: [4, 5], shape: [2, 1, 4, 5] },
    { what: "no more than one byte a score", keep: [2, 1, 4, 1], drop: [3, 1, 5], shape: TARGET },
  ])("$what: keep $keep, drop $drop", ({ keep, drop, shape }) => {
    const mask = combineMasks(keep && randomMask(keep), randomMask(drop, 3), TARGET)!;
    expect(mask.shape).toEqual(shape);
    expect(mask.data).toHaveLength(shape.reduce((product, size) => product * size, 1));
  });
});
