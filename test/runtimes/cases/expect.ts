// What the cases expect with. No test runner: they run in hosts that have none.
import { type Tensor, load } from "heed";
import { floorOf, maxError } from "../../support/distance.ts";
import { naive } from "../../support/naive.ts";
import { type Problem, type Sizes, problemOf } from "../../support/problems.ts";
import { reference } from "../../support/reference.ts";

export type Heed = Awaited<ReturnType<typeof load>>;
export type { Tensor };

/** By name: what throws where the host does not do it. */
export type Cases = Record<string, () => unknown>;

export const sizes: Sizes = { batch: 2, numHeads: 4, seqLenQ: 5, seqLenKv: 9, headDim: 12 };
export const small: Problem = problemOf(sizes);

export function expect(condition: unknown, otherwise: string): asserts condition {
  if (!condition) throw new Error(otherwise);
}

export function expectWithin(error: number, budget: number, what: string): void {
  expect(error <= budget, `the error of ${what} is ${error}, at most ${budget} expected`);
}

type ErrorClass = typeof TypeError | typeof RangeError | typeof ReferenceError | typeof Error;

export async function expectError(run: () => unknown, kind: ErrorClass, message: RegExp): Promise<void> {
  let thrown: unknown;
  try {
    await run();
  } catch (error) {
    thrown = error;
  }
  expect(thrown instanceof Error, `expected ${kind.name} ${String(message)}, got ${String(thrown)}`);
  expect(
    thrown.name === kind.name && message.test(thrown.message),
    `expected ${kind.name} ${String(message)}, got ${String(thrown)}`,
  );
}

/** Attention within twice the error of the plain f32 implementation. */
export function expectRight({ q, k, v, options }: Problem, got: { out: Float32Array; lse?: Float32Array }): void {
  const exact = reference(q, k, v, options);
  const plain = naive(q, k, v, options);
  const floor = floorOf({ q, k, v, options }, exact);
  expectWithin(maxError(got.out, exact.out), Math.max(2 * maxError(plain.out, exact.out), floor.out), "out");
  if (got.lse)
    expectWithin(maxError(got.lse, exact.lse), Math.max(2 * maxError(plain.lse, exact.lse), floor.lse), "lse");
}

export function attend(heed: Heed, problem: Problem): void {
  const { q, k, v, options } = problem;
  expectRight(problem, heed.attention(q, k, v, { ...options, lse: true }));
}
export async function withHeed(run: (heed: Heed) => unknown): Promise<void> {
  const heed = await load();
  await run(heed);
  heed.dispose();
}
