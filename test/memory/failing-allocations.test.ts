// Every allocation of every function fails in turn. Then nothing has changed, and the call can be made again. What
// several threads take besides may fail: then the call goes on with one.
import { describe, expect, it } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { INSTANCE } from "../../bindings/engine/module.ts";
import { openSimd } from "../support/builds.ts";
import { REFUSED, failAllocation } from "../support/failing.ts";
import { type Scenario, scenarios } from "../support/scenarios/index.ts";
import { shareOut } from "../support/shared-out.ts";

const open = openSimd();

/** Lets each allocation of a scenario fail. Counts those that failed, and the errors that the calls ended with. */
function failEach(make: (heed: Heed) => Scenario): { failed: number; errors: number } {
  const fresh = open();
  const expected = make(fresh);
  expected.state();
  const results = { act: expected.act(), state: expected.state(), used: fresh.memory.used };

  let errors = 0;
  for (let n = 0; ; n++) {
    const heed = open();
    const scenario = make(heed);
    const before = { state: scenario.state(), used: heed.memory.used };
    let act;
    let failed = 0;
    const error = failAllocation(
      heed,
      n,
      () => (act = scenario.act()),
      () => failed++,
    );
    if (error !== undefined) {
      errors++;
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
    if (failed < 1) return { failed: n, errors };
  }
}

describe("where an allocation fails", () => {
  it.each(Object.entries(scenarios))("%s", (_, make) => {
    const alone = failEach(make);
    expect(alone.errors).toBe(alone.failed);
    const shared = failEach((heed) => {
      shareOut(heed);
      return make(heed);
    });
    expect(shared.errors).toBeLessThanOrEqual(alone.errors);
  });

  it.each(Object.entries(scenarios))("that one thread does not make: %s", (_, make) => {
    const alone = watchBlocks(open());
    const shared = watchBlocks(open());
    shareOut(shared.heed);
    let most = Infinity;
    const [expected, got] = [alone, shared].map((watched) => {
      const scenario = make(watched.heed);
      Object.assign(watched, { most, largest: 0 });
      const act = scenario.act();
      most = watched.largest;
      watched.most = Infinity;
      return { act, state: scenario.state() };
    });
    expect(got).toEqual(expected);
  });
});

/** An instance of which each block has at most `most` bytes, and the bytes of the largest one. */
function watchBlocks(heed: Heed): { heed: Heed; most: number; largest: number } {
  const { arena } = heed[INSTANCE];
  const allocate = arena.allocate.bind(arena);
  const watched = { heed, most: Infinity, largest: 0 };
  arena.allocate = (bytes) => {
    if (bytes > watched.most) throw new RangeError("refused by a test");
    watched.largest = Math.max(watched.largest, bytes);
    return allocate(bytes);
  };
  return watched;
}
