// A call in steps. Between two steps an asynchronous call may give the thread back, and the caller's code may run; a
// synchronous call takes all steps at once.

/** A call in steps. Each yield ends one and says which fraction of the call is done: the last one says 1. */
export type Steps<Result> = Generator<number, Result, undefined>;

/** The fractions of a call that belong to one part of it. */
export interface Share {
  readonly from: number;
  readonly to: number;
}

/** All of a call. */
export const WHOLE: Share = { from: 0, to: 1 };

/** Multiply-adds of a step: about 0.7 ms on one thread, and twice that where it shares the processor. */
export const STEP_WORK = 2 ** 24;

/** Takes all steps at once. */
export function finish<Result>(steps: Steps<Result>): Result {
  let step = steps.next();
  while (!step.done) step = steps.next();
  return step.value;
}

/** The fraction of the call, where `done` of the `total` work of a part is done. */
export function fractionAt({ from, to }: Share, done: number, total: number): number {
  return done < total ? from + ((to - from) * done) / total : to;
}

/** Milliseconds from any time on. Audio worklets have no `performance`. */
export function now(): number {
  return (globalThis as { performance?: { now(): number } }).performance?.now() ?? Date.now();
}
