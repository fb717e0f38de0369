// A call is cut into items in such a way that the cut shows in no bit, and that an item can be done twice.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { INSTANCE } from "../../bindings/engine/module.ts";
import { KERNELS } from "../../bindings/threads/control.ts";
import { forEachBuild } from "../support/builds.ts";
import { combinations } from "../support/combinations.ts";
import { difference, everyCall } from "../support/every-call.ts";
import { problemOf } from "../support/problems.ts";
import { scenarios } from "../support/scenarios/index.ts";
import { type Runs, shareOut } from "../support/shared-out.ts";
import { runs } from "../support/sweep.ts";

forEachBuild((name, open) => {
  describe("the cut into items shows in no bit", () => {
    it.each(Object.keys(scenarios))("%s", (scenario) => {
      const [alone, shared] = [open(), open()];
      shareOut(shared);
      const [expected, got] = [alone, shared].map((heed) => {
        const made = scenarios[scenario]!(heed);
        const seen = [made.state(), made.act(), made.state()];
        return { seen, used: heed.memory.used };
      });
      expect(got).toEqual(expected);
      for (const heed of [alone, shared]) heed.dispose();
    });

    it.each([
      ["few queries over arrays", 32, 2, 1300],
      ["K beyond what is copied in at once", 3, 1, 17_000],
      ["rows beyond a pass", 400, 3, 300],
    ])("%s", (_, rows, numHeads, keys) => {
      const [alone, shared] = [open(), open()];
      const seen = shareOut(shared);
      const problem = problemOf({ batch: 1, numHeads, seqLenQ: rows, seqLenKv: keys, headDim: 64 });
      const { q, k, v, options } = problem;
      shared.attention(q, k, v, options);
      expect(seen.attend).toBe(numHeads > 1 ? 1 : undefined);
      for (const [call, act] of Object.entries(everyCall(problem)))
        expect(difference(act(shared), act(alone)), call).toBeUndefined();
      for (const heed of [alone, shared]) heed.dispose();
    });

    it("counts a row that reads K and V as four, since that takes as long", () => {
      const heed = open();
      shareOut(heed);
      const work: number[] = [];
      heed[INSTANCE].pool!.itemsFor = (amount) => {
        work.push(amount);
        return 0;
      };
      const cache = heed.createKvCache({ numKvHeads: 3, headDim: 64, capacity: 200 });
      const { q, k, v } = problemOf({ batch: 1, numHeads: 3, seqLenQ: 5, seqLenKv: 200, headDim: 64 });
      cache.append(k, v);
      work.length = 0;
      for (const rows of [1, 2, 4, 5]) cache.attention(q.subarray(0, rows * 3 * 64), { numHeads: 3 });
      expect(work).toEqual([4, 4, 4, 5].map((rows) => rows * 3 * 200 * 128));
      heed.dispose();
    });

    it("in any combination of options, by every kernel that has items", () => {
      const [alone, shared] = [open(), open()];
      const seen: Runs = shareOut(shared);
      const property = fc.property(combinations, (problem) => {
        for (const [call, act] of Object.entries(everyCall(problem)))
          expect(difference(act(shared), act(alone)), call).toBeUndefined();
        expect(shared.memory.used).toBe(alone.memory.used);
      });
      fc.assert(property, { seed: 20261201, numRuns: runs(300) / (name === "debug" ? 5 : 1) });
      expect(Object.keys(seen).sort()).toEqual([...KERNELS].sort());
    });
  });
});
