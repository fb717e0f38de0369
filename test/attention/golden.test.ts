// The answer that every host is asked for is the reference's, to the digits that are written down.
import { expect, it } from "vitest";
import { goldenBlocks, goldenBlockHashes } from "../runtimes/golden-blocks.ts";
import { goldenCalls, goldenHashes, hashOf } from "../runtimes/golden-bits.ts";
import { blocksOf, openSimd } from "../support/builds.ts";
import { maxError } from "../support/distance.ts";
import { reference } from "../support/reference.ts";
import { golden } from "../runtimes/golden.ts";

it("the golden vector has the reference's answer", () => {
  const { out, lse } = reference(golden.q, golden.k, golden.v, golden.options);
  expect(maxError(golden.out, out)).toBeLessThan(1e-9);
  expect(maxError(golden.lse, lse)).toBeLessThan(1e-9);
});

it.each(Object.entries(goldenCalls))(
  "the bits of the simd build are those that every host is asked for: %s",
  async (name, call) => {
    using heed = openSimd()();
    expect(hashOf(await call(heed))).toBe(goldenHashes[name]);
  },
);

it.each(Object.entries(goldenBlocks))("and so are those of transformer blocks: %s", (name, call) => {
  using heed = openSimd()();
  expect(hashOf(call(blocksOf(heed)))).toBe(goldenBlockHashes[name]);
});
