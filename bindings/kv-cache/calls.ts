// What a cache does with its tokens once the options of a call have been read: appends some, attends to all of them, or
// weighs them.
import { computeWeights } from "../attention-weights/attention-weights.ts";
import type { WeightsOptions, WeightsResult } from "../attention-weights/options.ts";
import { checkSelection, checkStage, throughStage } from "../attention-weights/selection.ts";
import { type AttentionResult, computeAttention } from "../attention/attention.ts";
import type { Operands } from "../attention/operands.ts";
import type { AttentionOptions } from "../attention/options.ts";
import { type Problem, checkKeysAndValues, checkProblem, checkQueries } from "../attention/problem.ts";
import { checkChoice } from "../check.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import { CallScope } from "../memory/call-scope.ts";
import { StagedRows } from "../memory/staged-rows.ts";
import { checkReach, grownLengths } from "./checks.ts";
import type { KvStore } from "./kv-store.ts";
import { type AppendOptions, type CacheSizes, checkSettled } from "./options.ts";

/** With a window: how many tokens before those of the latest append `truncate` can still take back. */
const ROLLBACK = 32;

/**
 * Appends tokens, and then does `act`. Where that throws, the cache becomes what it was before; a window lets go of older
 * tokens after it alone.
 *
 * @throws as `KvCache.append`
 */
export function appendTokens<Result>(
  store: KvStore,
  sizes: CacheSizes,
  k: unknown,
  v: unknown,
  { layout = "blhd", lengths }: AppendOptions,
  act: () => Result,
): Result {
  const { arena } = store.instance;
  const { numKvHeads, headDim, valueDim, window } = sizes;
  checkChoice("layout", layout, ["blhd", "bhld"]);
  const { k: kIn, v: vIn, rowsKv: newTokens } = checkKeysAndValues(arena, k, v, sizes);
  const grown = grownLengths(store, sizes, newTokens, lengths);
  if (!grown) return act();

  const before = store.lengths;
  const scope = new CallScope(arena);
  try {
    const stage = (rows: typeof kIn, dim: number, maxRows: number, alwaysCopy: boolean) =>
      new StagedRows(arena, scope, rows, { layout, rows: newTokens, heads: numKvHeads, maxRows, dim, alwaysCopy });
    const rotates = store.rotary !== undefined;
    const stageBoth = (maxRows: number): [k: StagedRows, v: StagedRows] => [
      stage(kIn, headDim, maxRows, rotates),
      stage(vIn, valueDim, maxRows, false),
    ];
    const most = store.rowsAtOnce(newTokens, numKvHeads * (headDim + valueDim));
    const large = most > PAGE_KEYS ? scope.attempt(() => stageBoth(most)) : undefined;
    const [keys, values] = large ?? stageBoth(Math.min(newTokens, PAGE_KEYS));
    store.append(grown, keys, values);
  } finally {
    scope.release();
  }
  let result: Result;
  try {
    result = act();
  } catch (error) {
    store.undoAppend(before);
    throw error;
  }
  if (window < Infinity) {
    // The queries of the next call may be as many as the new tokens, and so may the tokens of the next append.
    store.keepLast(newTokens + window + ROLLBACK, Math.ceil(newTokens / PAGE_KEYS) + 1);
  }
  return result;
}

/** Attention from q over all tokens; see `KvCache.attention`. */
export function attendTokens(
  store: KvStore,
  sizes: CacheSizes,
  q: unknown,
  options: AttentionOptions,
): AttentionResult {
  const problem = problemOf(store, sizes, q, options);
  checkReach(store, problem);
  return computeAttention(store.instance, problem, options, operandsOf(store, q, problem));
}

/** The attention weights of q over all tokens; see `KvCache.attentionWeights`. */
export function weighTokens(store: KvStore, sizes: CacheSizes, q: unknown, options: WeightsOptions): WeightsResult {
  const { instance } = store;
  const problem = throughStage(checkStage(options), problemOf(store, sizes, q, options), sizes.window);
  const selection = checkSelection(instance.arena, problem, options);
  checkReach(store, problem, selection.rows);
  return computeWeights(instance, problem, selection, options, operandsOf(store, q, problem));
}

/** The checked problem of a call over all tokens. The options, a record of the call, get those that the cache settles. */
function problemOf(store: KvStore, sizes: CacheSizes, q: unknown, options: AttentionOptions | WeightsOptions): Problem {
  const { arena } = store.instance;
  checkSettled(options, sizes);
  const { numKvHeads, headDim, valueDim, batch, window } = sizes;
  const kvLengths = store.isUntouched ? undefined : store.lengths;
  const full = Object.assign(options, { numKvHeads, headDim, valueDim, batch, kvLengths });
  return checkProblem(arena, full, checkQueries(arena, q, full), store.longest, window);
}

/** Places q and the pages of a call. */
function operandsOf(store: KvStore, q: unknown, problem: Problem): Operands {
  return {
    given: { q },
    place: (scope) => ({
      q: store.rotary?.placeQueries(scope, problem) ?? problem.q,
      kv: store.placePages(scope),
    }),
  };
}
