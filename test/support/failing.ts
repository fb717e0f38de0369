import type { Heed } from "../../bindings/heed.ts";
import { INSTANCE } from "../../bindings/engine/module.ts";

/** The error of an allocation that was made to fail, in the words of the arena. */
export const REFUSED = /^"memory" expected to grow by \d+ bytes for a block of \d+, got refused/;

/**
 * Runs `act` while the allocation number `n` of the instance, from 0 on, fails as one does for which memory cannot grow.
 *
 * @returns what `act` threw; undefined where it passed: since it made at most `n` allocations, or, where `failed` says
 * so, although one failed
 */
export function failAllocation(heed: Heed, n: number, act: () => void, failed?: () => void): unknown {
  const { arena } = heed[INSTANCE];
  const allocate = arena.allocate.bind(arena);
  let count = 0;
  arena.allocate = (bytes) => {
    if (count++ === n) {
      failed?.();
      throw new RangeError(
        `"memory" expected to grow by ${bytes} bytes for a block of ${bytes}, got refused by a test`,
      );
    }
    return allocate(bytes);
  };
  try {
    act();
  } catch (error) {
    return error;
  } finally {
    arena.allocate = allocate;
  }
  return undefined;
}
