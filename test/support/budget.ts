import { expect } from "vitest";
import type { Heed } from "../../bindings/heed.ts";
import { maxError } from "./distance.ts";
import { naive } from "./naive.ts";
import type { Problem } from "./problems.ts";
import { type Answer, reference } from "./reference.ts";

export { ULP, floorOf, largest, maxError } from "./distance.ts";

/** The least that an error may be, where plain f32 may be exact by luck. */
interface Floor {
  out: number;
  lse: number;
}

/** No floor below the 2× rule. */
const STRICT: Floor = { out: 0, lse: 0 };

/**
 * Expects the largest error of out and of lse against f64 to be at most twice that of the plain f32 implementation on
 * the same input, or at most `floor` where that is more: `floorOf`, or what it gave before the input was spoiled.
 */
export function expectWithinBudget(
  heed: Heed,
  problem: Problem,
  floor: Floor | ((problem: Problem, exact: Answer) => Floor) = STRICT,
): void {
  const { q, k, v, options } = problem;
  const got = heed.attention(q, k, v, { ...options, lse: true });
  const exact = reference(q, k, v, options);
  expectClose(got, exact, naive(q, k, v, options), typeof floor === "function" ? floor(problem, exact) : floor);
}

/** The same for an answer that is there already. */
export function expectClose(
  got: { out: ArrayLike<number>; lse: ArrayLike<number> },
  exact: Answer,
  plain: Answer,
  floor: Floor = STRICT,
): void {
  for (const name of ["out", "lse"] as const) {
    const budget = Math.max(2 * maxError(plain[name], exact[name]), floor[name]);
    expect(maxError(got[name], exact[name]), `error of ${name}`).toBeLessThanOrEqual(budget);
  }
}
