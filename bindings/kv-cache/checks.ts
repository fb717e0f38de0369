// What a call asks of the tokens of a cache: room for new ones, that those it keeps are there, that a query sees none
// that are gone.
import type { Problem } from "../attention/problem.ts";
import { checkInt32Array, checkInteger, wrongValue } from "../check.ts";
import type { KvStore } from "./kv-store.ts";
import type { CacheSizes } from "./options.ts";

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
  for (const { batch: b, seqLenQ, queryOffset } of sequences) {
    const gone = store.firstToken(b);
    const firstRow = rows.reduce((lowest, row) => Math.min(lowest, row), seqLenQ);
    if (gone > 0 && firstRow < seqLenQ && queryOffset + firstRow - left < gone) {
      throw wrongValue("queryOffset", `at least ${gone + left - firstRow} (keys further left are gone)`, queryOffset);
    }
    store.rotary?.check(queryOffset, seqLenQ);
  }
}

const FIRST_ROW = Int32Array.of(0);
