// The answer that every host is asked for is the reference's, to the digits that are written down.
import { expect, it } from "vitest";
import { maxError } from "../support/distance.ts";
import { reference } from "../support/reference.ts";
import { golden } from "../runtimes/golden.ts";

it("the golden vector has the reference's answer", () => {
  const { out, lse } = reference(golden.q, golden.k, golden.v, golden.options);
  expect(maxError(golden.out, out)).toBeLessThan(1e-9);
  expect(maxError(golden.lse, lse)).toBeLessThan(1e-9);
});
