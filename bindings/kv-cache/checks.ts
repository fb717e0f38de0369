// What a call asks of the tokens of a cache: room for new ones, that those it keeps are there, that a query sees none
// that are gone.
import type { Problem } from "../attention/problem.ts";
import { checkInt32Array, checkInteger, wrongValue } from "../check.ts";
import type { CacheRotary } from "./cache-rotary.ts";
import type { KvStore } from "./kv-store.ts";

/**
 * The lengths of the sequences after an append, [batch].
 *
 * @param before the lengths before it, [batch]
 * @param lengths how many of the new tokens each sequence takes; all of them by default
 * @throws RangeError past the capacity
 */
export function grownLengths(
  before: Int32Array,
  capacity: number,
  newTokens: number,
  lengths: Int32Array | undefined,
): Int32Array {
  return before.map((length, b) => {
    const count = lengths?.[b] ?? newTokens;
    const left = capacity - length;
    if (count > left) throw wrongValue("k", `at most ${left} more tokens (capacity ${capacity})`, count);
    return length + count;
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
  capacity: number,
  window: number,
): Int32Array | undefined {
  if (typeof length === "number") {
    checkInteger("length", length, 0, store.shortest);
    if (store.isUntouched) return undefined;
  }
  const before = store.lengths;
  const lengths =
    typeof length === "number"
      ? new Int32Array(before.length).fill(length)
      : checkInt32Array("length", length, before.length, "batch", 0, capacity);
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
export function checkReach(
  store: KvStore,
  rotary: CacheRotary | undefined,
  { sequences, left }: Problem,
  rows?: Int32Array,
): void {
  for (const { batch: b, seqLenQ, queryOffset } of sequences) {
    const gone = store.firstToken(b);
    const firstRow = rows ? rows.reduce((lowest, row) => Math.min(lowest, row), seqLenQ) : 0;
    if (gone > 0 && firstRow < seqLenQ && queryOffset + firstRow - left < gone) {
      throw wrongValue("queryOffset", `at least ${gone + left - firstRow} (keys further left are gone)`, queryOffset);
    }
  }
  for (const { queryOffset, seqLenQ } of sequences) rotary?.check(queryOffset, seqLenQ);
}
