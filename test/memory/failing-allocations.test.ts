// Every allocation of every function fails in turn. Then nothing has changed, and the call can be made again.
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { openSimd } from "../support/builds.ts";
import { REFUSED, failAllocation } from "../support/failing.ts";
import { scenarios } from "../support/scenarios/index.ts";
import { shareOut } from "../support/shared-out.ts";

const open = openSimd();

describe("where an allocation fails", () => {
  const names = Object.keys(scenarios);
  it.each([...names, ...names.map((name) => `${name}, cut into items`)])("%s", (title) => {
    const name = title.replace(", cut into items", "");
    const make = (heed: Heed) => {
      if (title !== name) shareOut(heed);
      return scenarios[name]!(heed);
    };
    const fresh = open();
    const expected = make(fresh);
    expected.state();
    const results = { act: expected.act(), state: expected.state(), used: fresh.memory.used };

    for (let n = 0; ; n++) {
      const heed = open();
      const scenario = make(heed);
      const before = { state: scenario.state(), used: heed.memory.used };
      let act;
      const failed: number[] = [];
      const error = failAllocation(
        heed,
        n,
        () => (act = scenario.act()),
        () => failed.push(n),
      );
      // Without the memory for several threads a call goes on with one.
      if (title === name) expect(error !== undefined).toBe(failed.length > 0);
      if (error !== undefined) {
        expect(error).toBeInstanceOf(RangeError);
        expect((error as Error).message).toMatch(REFUSED);
        expect({ used: heed.memory.used, state: scenario.state() }, `after allocation ${n}`).toEqual({
          used: before.used,
          state: before.state,
        });
        act = scenario.act();
      }
      expect({ act, state: scenario.state(), used: heed.memory.used }, `after allocation ${n}`).toEqual(results);
      heed.dispose();
      if (failed.length === 0) break;
    }
  });
});
