// What a cache does with its tokens once the options of a call have been read: appends some, attends to all of them, or
// weighs them.
import { computeWeights } from "../attention-weights/attention-weights.ts";
import type { WeightsOptions, WeightsResult } from "../attention-weights/options.ts";
import { checkSelection, checkStage, throughStage } from "../attention-weights/selection.ts";
import { type AttentionResult, ASYNC_ATTENTION_NAMES, computeAttention } from "../attention/attention.ts";
import type { Operands } from "../attention/operands.ts";
import type { AttentionOptions } from "../attention/options.ts";
import { type Problem, checkKeysAndValues, checkProblem, checkQueries } from "../attention/problem.ts";
import { checkBoolean, checkChoice, wrongValue } from "../check.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import { WORK_OF_FLOAT } from "../engine/instance.ts";
import { widen } from "../engine/widen.ts";
import { withScope } from "../memory/call-scope.ts";
import { halves } from "../memory/data.ts";
import { stageRows } from "../memory/staged-rows.ts";
import { holdTensors } from "../memory/tensor.ts";
import { readOptions } from "../options.ts";
import { checkKept, checkPositions, checkReach, grownLengths } from "./checks.ts";
import { type AsyncOptions, runAsync } from "../steps/run-async.ts";
import { type Share, type Steps, WHOLE } from "../steps/steps.ts";
import type { KvStore } from "./kv-store.ts";
import { type AppendOptions, type CacheSizes, type KeepOptions, checkSettled } from "./options.ts";
import { KeyTurner } from "./turn-keys.ts";

/** Bytes of K and V that several threads store together. */
const SHARED_BYTES = 2 ** 21;

/** With a window: how many tokens before those of the latest append `truncate` can still take back. */
const ROLLBACK = 32;

/** Tokens that are in the cache, and may be taken out again. */
export interface Appended {
  /** The cache becomes what it was before. */
  undo(): void;
  /** They stay: now a window lets go of older tokens. */
  keep(): void;
}

/**
 * Appends tokens.
 *
 * @throws as `KvCache.append`
 */
export function beginAppend(
  store: KvStore,
  sizes: CacheSizes,
  k: unknown,
  v: unknown,
  { layout = "blhd", lengths, positions }: AppendOptions,
): Appended {
  const { instance } = store;
  const { arena, pool } = instance;
  const { numKvHeads, headDim, valueDim, window } = sizes;
  checkChoice("layout", layout, ["blhd", "bhld"]);
  if (sizes.batch === 0) throw wrongValue("batch", "at least 1 (add sequences first)", 0);
  const { k: kIn, v: vIn, rowsKv: newTokens } = checkKeysAndValues(arena, k, v, sizes);
  const grown = grownLengths(store, sizes, newTokens, lengths);
  const { rotary } = store;
  const positionsOf = checkPositions(positions, sizes.batch, newTokens, store.axes);
  if (!grown) return { undo: () => {}, keep: () => {} };

  const before = store.lengths;
  const widenRows = (ptr: number, length: number, type: number): void => widen(instance, ptr, length, type);
  withScope(arena, (scope) => {
    const stage = (rows: typeof kIn, dim: number, maxRows: number, alwaysCopy: boolean) =>
      stageRows(arena, scope, rows, {
        layout,
        rows: newTokens,
        heads: numKvHeads,
        maxRows,
        dim,
        alwaysCopy,
        widen: widenRows,
      });
    const stageBoth = (maxRows: number) => ({
      maxRows,
      takeKeys: stage(kIn, headDim, maxRows, rotary !== undefined),
      takeValues: stage(vIn, valueDim, maxRows, false),
    });
    // A stage of one page stays in the processor's cache, whatever the length of the prompt.
    const floats = numKvHeads * (headDim + valueDim);
    const isLarge = !!pool?.itemsFor(WORK_OF_FLOAT * newTokens * floats);
    const pages = Math.ceil(SHARED_BYTES / (PAGE_KEYS * floats * 4));
    const large = isLarge && scope.attempt(() => stageBoth(Math.min(newTokens, pages * PAGE_KEYS)));
    const { maxRows, takeKeys, takeValues } = large || stageBoth(Math.min(newTokens, PAGE_KEYS));
    const spare = rotary && store.axes > 1 && positions ? scope.reserve(rotary.bytesAt(newTokens)) : 0;
    store.append(grown, takeKeys, takeValues, positionsOf, maxRows, isLarge, spare);
  });
  return {
    undo: () => store.undoAppend(before),
    keep: () => {
      store.settle();
      if (window === Infinity) return;
      // The queries of the next call may be as many as the new tokens, and so may the tokens of the next append.
      store.keepLast(newTokens + window + ROLLBACK, Math.ceil(newTokens / PAGE_KEYS) + 1);
    },
  };
}

/**
 * The steps of attention from q over all tokens, see `KvCache.attention`: all at once, or with a `share` in steps of an
 * asynchronous call.
 */
export function attendTokens(
  store: KvStore,
  sizes: CacheSizes,
  q: unknown,
  options: AttentionOptions,
  share?: Share,
): Steps<AttentionResult> {
  const problem = problemOf(store, sizes, q, options);
  checkReach(store, problem);
  return computeAttention(store.instance, problem, options, operandsOf(store, q, problem), share);
}

/** Attention in steps; see `KvCache.attentionAsync`. */
export function attendTokensAsync(
  store: KvStore,
  sizes: CacheSizes,
  qGiven: unknown,
  given: AttentionOptions & AsyncOptions,
): Promise<AttentionResult> {
  const options = readOptions("attentionAsync over a cache", given, ASYNC_ATTENTION_NAMES);
  const q = halves(qGiven);
  return runAsync(store.instance.arena, attendTokens(store, sizes, q, options, WHOLE), options, () => [
    store.uses.begin(),
    ...holdTensors([q, options]),
  ]);
}

/**
 * Keeps some tokens of each sequence.
 *
 * @throws as `KvCache.keep`
 */
export function keepTokens(
  store: KvStore,
  sizes: CacheSizes,
  indices: unknown,
  { repositioned = false }: KeepOptions,
): void {
  const { rotary, instance } = store;
  const tokens = checkKept(store, indices, sizes);
  const turns = checkBoolean("repositioned", repositioned);
  if (turns && !rotary) throw wrongValue("repositioned", "false where the cache does not rotate", true);
  withScope(instance.arena, (scope) => {
    const turner = turns ? new KeyTurner(scope, instance, rotary!, store.layout.k, sizes) : undefined;
    store.keep(tokens, turner);
  });
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
  const full: AttentionOptions = options;
  full.kvLengths = store.isUntouched ? undefined : store.lengths;
  return checkProblem(arena, full, checkQueries(arena, q, full), store.longest, sizes.window);
}

/** Places q and the pages of a call. */
function operandsOf(store: KvStore, q: unknown, problem: Problem): Operands {
  return {
    given: { q },
    place: (scope) => ({
      q: store.rotary?.placeQueries(scope, problem, (b, token, count) => store.runs(b, token, count)) ?? problem.q,
      kv: store.placePages(scope),
    }),
  };
}
