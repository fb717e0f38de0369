// A scope can try to reserve more than it needs.
import { expect, it } from "vitest";
import { INSTANCE } from "../../bindings/engine/module.ts";
import { CallScope } from "../../bindings/memory/call-scope.ts";
import { openSimd } from "../support/builds.ts";

it("reserves all that it is asked to try, or nothing", () => {
  const heed = openSimd()(2 ** 20);
  const { arena } = heed[INSTANCE];
  const scope = new CallScope(arena);
  scope.reserve(1000);
  const { used } = heed.memory;
  const blocks = [2 ** 18, 2 ** 18, 2 ** 30];
  expect(scope.attempt(() => blocks.map((bytes) => scope.reserve(bytes)))).toBeUndefined();
  expect(heed.memory.used).toBe(used);
  expect(scope.attempt(() => blocks.slice(0, 2).map((bytes) => scope.reserve(bytes)))).toHaveLength(2);
  expect(heed.memory.used).toBeGreaterThan(used + 2 ** 19);
  expect(() => scope.attempt(() => JSON.parse("{") as object)).toThrow(SyntaxError);
  scope.release();
  expect(heed.memory.used).toBeLessThan(used);
  heed.dispose();
});
