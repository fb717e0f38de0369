import fc from "fast-check";
import { expect, it } from "vitest";
import { seenKeys } from "../../bindings/attention/problem.ts";
import { runs } from "../support/sweep.ts";

type Sequence = Parameters<typeof seenKeys>[1];
type Problem = Parameters<typeof seenKeys>[0];

it("the keys that a window shows to some query are those there are, no further", () => {
  const reach = fc.oneof(fc.nat(6), fc.constant(2 ** 31 - 1));
  const property = fc.property(
    reach,
    reach,
    fc.nat(5),
    fc.nat(12),
    fc.integer({ min: -20, max: 20 }),
    (left, right, seqLenQ, seqLenKv, queryOffset) => {
      const seen: number[] = [];
      for (let key = 0; key < seqLenKv; key++) {
        const sees = (i: number) => key >= i + queryOffset - left && key <= i + queryOffset + right;
        if (Array.from({ length: seqLenQ }, (_, i) => i).some(sees)) seen.push(key);
      }
      const problem = { left, right } as Problem;
      const [first, end] = seenKeys(problem, { queryOffset, seqLenQ, seqLenKv } as Sequence);
      expect(Array.from({ length: end - first }, (_, n) => first + n)).toEqual(seen);
    },
  );
  fc.assert(property, { seed: 20261201, numRuns: runs(5000) });
});
