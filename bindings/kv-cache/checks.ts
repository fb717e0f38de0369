// What a call asks of the tokens of a cache: room for new ones, that those it keeps are there, that a query sees none
// that are gone.
import type { Problem } from "../attention/problem.ts";
import { checkInt32Array, checkInteger, checkIntegers, wrongKind, wrongValue } from "../check.ts";
import type { KvStore, PositionsOf } from "./kv-store.ts";
import type { CacheSizes } from "./options.ts";
import { MAX_POSITION } from "./token-positions.ts";

/**
 * The lengths of the sequences after an append, [batch]; undefined where there is nothing to append.
 *
 * @param lengths how many of the new tokens each sequence takes; all of them by default
 * @param title the argument that brings too many tokens for the capacity, if it does
 * @throws RangeError past the capacity or for wrong lengths, TypeError for lengths of the wrong kind
 */
export function grownLengths(
  store: KvStore,
  { batch, capacity }: CacheSizes,
  newTokens: number,
  lengths: unknown,
  title = "k",
): Int32Array | undefined {
  const counts = lengths === undefined ? undefined : checkInt32Array("lengths", lengths, batch, "batch", 0, newTokens);
  if (newTokens === 0) return undefined;
  return store.lengths.map((length, b) => {
    const count = counts?.[b] ?? newTokens;
    const left = capacity - length;
    if (count > left) throw wrongValue(title, `at most ${left} more tokens (capacity ${capacity})`, count);
    return length + count;
  });
}

/**
 * Checks the positions of new tokens: [newTokens], the same for every sequence, or [batch, newTokens]; with several axes
 * [axes, newTokens] or [axes, batch, newTokens].
 *
 * @throws TypeError for the wrong kind, RangeError for a wrong length or position
 */
export function checkPositions(given: unknown, batch: number, newTokens: number, axes: number): PositionsOf {
  if (given === undefined) return () => undefined;
  const positions = checkIntegers("positions", given);
  const { length } = positions;
  const [shared, each] = [axes * newTokens, axes * batch * newTokens];
  if (length !== shared && length !== each) {
    const perAxis = axes > 1 ? "axes × " : "";
    const more = batch > 1 ? ` or ${each} (${perAxis}batch × new tokens)` : "";
    throw wrongValue("positions", `a length of ${shared} (${perAxis}new tokens)${more}`, length);
  }
  const wrong = positions.findIndex((position) => Math.abs(position) > MAX_POSITION);
  if (wrong >= 0) checkInteger(`positions[${wrong}]`, positions[wrong], -MAX_POSITION, MAX_POSITION);
  return (b, count) => {
    const start = length > shared ? b * newTokens : 0;
    if (axes === 1) return positions.subarray(start, start + count);
    const axisStride = length / axes;
    return Int32Array.from(
      { length: count * axes },
      (_, n) => positions[(n % axes) * axisStride + start + Math.floor(n / axes)]!,
    );
  };
}

/**
 * Checks the tokens that `keep` keeps: of each sequence those of an Int32Array, or all of them where it has none.
 *
 * @throws TypeError for the wrong kind, RangeError for tokens that are not there or do not ascend
 */
export function checkKept(store: KvStore, given: unknown, { batch }: CacheSizes): (Int32Array | undefined)[] {
  const isList = Array.isArray(given);
  if (isList && given.length !== batch) throw wrongValue("indices", `an array of ${batch} (batch)`, given.length);
  if (!isList && batch !== 1) throw wrongKind("indices", `an array of ${batch} Int32Arrays (batch)`, given);
  const lists: unknown[] = isList ? given : [given];
  return lists.map((list, b) => {
    if (list === undefined && isList) return undefined;
    const title = isList ? `indices[${b}]` : "indices";
    const tokens = checkIntegers(title, list);
    const end = store.lengths[b]!;
    let least = store.firstToken(b);
    tokens.forEach((token, n) => {
      if (token >= least && token < end) return void (least = token + 1);
      const why = n > 0 ? "ascending tokens of the sequence" : "tokens that are there";
      const range = least < end ? `from ${least} to ${end - 1}` : "none, as no more are left";
      throw wrongValue(`${title}[${n}]`, `${range} (${why})`, token);
    });
    return tokens;
  });
}

/**
 * The lengths of the sequences after `truncate(length)`, [batch]; undefined where there is nothing to truncate.
 *
 * @throws RangeError for a length past the tokens of a sequence, or for one but 0 whose window has been given back;
 * TypeError for the wrong kind
 */
export function truncatedLengths(
  store: KvStore,
  length: number | Int32Array,
  { batch, capacity, window }: CacheSizes,
): Int32Array | undefined {
  if (typeof length === "number") {
    checkInteger("length", length, 0, store.shortest);
    if (store.isUntouched) return undefined;
  }
  const before = store.lengths;
  const lengths =
    typeof length === "number"
      ? new Int32Array(batch).fill(length)
      : checkInt32Array("length", length, batch, "batch", 0, capacity);
  lengths.forEach((to, b) => {
    const gone = store.firstToken(b);
    const title = `length[${b}]`;
    if (to > before[b]!) throw wrongValue(title, `at most ${before[b]!} (tokens of the sequence)`, to);
    if (gone > 0 && to > 0 && to < gone + window) {
      throw wrongValue(title, `at least ${gone + window} (keys before ${gone} are gone)`, to);
    }
  });
  return store.isUntouched ? undefined : lengths;
}

/**
 * Checks that the keys that the queries could see are still there, and that there are angles for the positions of the
 * queries.
 *
 * @param rows the queries that count; all of them by default
 * @throws RangeError
 */
export function checkReach(store: KvStore, { sequences, left }: Problem, rows: Int32Array = FIRST_ROW): void {
  for (const { batch: b, seqLenQ, seqLenKv, queryOffset } of sequences) {
    const gone = store.firstToken(b);
    const firstRow = rows.reduce((lowest, row) => Math.min(lowest, row), seqLenQ);
    if (gone > 0 && firstRow < seqLenQ && queryOffset + firstRow - left < gone) {
      throw wrongValue("queryOffset", `at least ${gone + left - firstRow} (keys further left are gone)`, queryOffset);
    }
    if (seqLenKv > 0) store.rotary?.checkRuns("queryOffset", store.runs(b, queryOffset, seqLenQ));
  }
}

const FIRST_ROW = Int32Array.of(0);
