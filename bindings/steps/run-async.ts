import { checkFinite, wrongKind } from "../check.ts";
import type { Arena } from "../memory/arena.ts";
import type { Names } from "../options.ts";
import { openTurns } from "./give-way.ts";
import { type Steps, now } from "./steps.ts";

/** What every asynchronous call takes besides its own options. @category Attention */
export interface AsyncOptions {
  /**
   * Ends the call between two slices: the promise is rejected with its reason, and all memory of the call is given back.
   * An AbortSignal, of which no more is read than this.
   */
  signal?: { readonly aborted: boolean; readonly reason?: unknown } | undefined;
  /** Called after each slice with the fraction of the call that is done, from 0 to 1. */
  onProgress?: ((fraction: number) => void) | undefined;
  /** Milliseconds of a slice, after which the thread is given back. Default 8. */
  budgetMs?: number | undefined;
}

export const ASYNC_NAMES: Names<AsyncOptions> = { signal: 0, onProgress: 0, budgetMs: 0 };

/**
 * Takes the steps of a call in slices of `budgetMs`, and gives the thread back after each.
 *
 * @param steps the first step copies what the caller may change; it is taken at once
 * @param begin called after the first step: holds the handles that the call was given, and returns what ends that
 */
export async function runAsync<Result>(
  arena: Arena,
  steps: Steps<Result>,
  { signal, onProgress, budgetMs = 8 }: AsyncOptions,
  begin: () => (() => void)[],
): Promise<Result> {
  if (signal !== undefined && typeof (signal as Partial<typeof signal> | null)?.aborted !== "boolean") {
    throw wrongKind("signal", "an AbortSignal", signal);
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw wrongKind("onProgress", "a function", onProgress);
  }
  checkFinite("budgetMs", budgetMs, 0);
  let ends: (() => void)[] = [];
  const turns = openTurns();
  try {
    if (signal?.aborted) throw signal.reason;
    let step = steps.next();
    ends = begin();
    while (!step.done) {
      await turns.give();
      if (signal?.aborted) throw signal.reason;
      arena.check();
      step = takeSlice(steps, budgetMs);
      if (!step.done) onProgress?.(step.value);
    }
    return step.value;
  } catch (error) {
    // The call gives its memory back, and throws the error again.
    steps.throw(error);
    throw error;
  } finally {
    turns.close();
    for (const end of ends) end();
  }
}

/** Steps for about `budget` milliseconds, and at least one; the last one, which writes the outputs, is for itself. */
function takeSlice<Result>(steps: Steps<Result>, budget: number): IteratorResult<number, Result> {
  const start = now();
  let longest = 0;
  for (let count = 1, before = start; ; count++) {
    const step = steps.next();
    if (step.done || step.value === 1) return step;
    const time = now();
    longest = Math.max(longest, time - before);
    // The clock of some hosts stands still while code runs: then a step is taken for a millisecond.
    if (time === start ? count >= budget : time - start + longest > budget) return step;
    before = time;
  }
}
