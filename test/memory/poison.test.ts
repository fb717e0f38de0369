// What fresh memory holds has no part in any result.
import { describe, expect, it } from "vitest";
import { INSTANCE } from "../../bindings/engine/module.ts";
import { forEachBuild } from "../support/builds.ts";
import { POISON_BYTE, poisonedBy } from "../support/poison.ts";
import { scenarios } from "../support/scenarios/index.ts";

forEachBuild((_, open) => {
  it("fills every fresh block, in all tests", () => {
    const { arena } = open()[INSTANCE];
    const ptr = arena.allocate(100);
    expect(new Uint8Array(arena.buffer, ptr, 116).every((byte) => byte === POISON_BYTE)).toBe(true);
  });

  describe("the same bits, whatever fresh memory holds", () => {
    it.each(Object.keys(scenarios))("%s", (name) => {
      const [zeros, ...others] = [0, 0xff, 0x7f].map((byte) => {
        const heed = poisonedBy(byte, open());
        const scenario = scenarios[name]!(heed);
        const seen = [scenario.state(), scenario.act(), scenario.state()];
        heed.dispose();
        return seen;
      });
      for (const other of others) expect(other).toEqual(zeros);
    });
  });
});
