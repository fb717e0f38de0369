import { checkFinite, wrongKind } from "../../check.ts";
import { openTurns } from "../../steps/give-way.ts";
import type { AsyncOptions } from "../../steps/run-async.ts";
import { now } from "../../steps/steps.ts";
import type { Pass } from "./forward.ts";

/** What the asynchronous calls of a model take as well. @category Models */
export type SliceOptions = Omit<AsyncOptions, "onProgress">;

/** Runs a pass at once. */
export function runPass<Result>(pass: Pass<Result>): Result {
  for (;;) {
    const { done, value } = pass.next();
    if (done) return value;
    value?.sync();
  }
}

/** Runs a pass in slices of about `budgetMs`: a call of a linear layer or a norm is never cut. */
export async function runPassAsync<Result>(
  pass: Pass<Result>,
  { signal, budgetMs = 8 }: SliceOptions,
): Promise<Result> {
  if (signal !== undefined && typeof (signal as Partial<typeof signal> | null)?.aborted !== "boolean") {
    throw wrongKind("signal", "an AbortSignal", signal);
  }
  checkFinite("budgetMs", budgetMs, 0);
  const turns = openTurns();
  try {
    for (let start = now(); ;) {
      if (signal?.aborted) throw signal.reason;
      const { done, value } = pass.next();
      if (done) return value;
      if (value) await value.async(signal);
      if (value || now() - start >= budgetMs) {
        await turns.give();
        start = now();
      }
    }
  } catch (error) {
    // The pass gives its memory back, and throws the error again.
    pass.throw(error);
    throw error;
  } finally {
    turns.close();
  }
}
