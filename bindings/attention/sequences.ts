import { checkInt32Array, checkInteger, wrongKind, wrongValue } from "../check.ts";
import { MAX_OFFSET } from "../engine/abi.ts";
import type { AttentionOptions } from "./options.ts";

/** One stretch of queries against one stretch of keys: a batch entry, or a packed sequence. */
export interface Sequence {
  /** Position in the batch; 0 if packed. */
  batch: number;
  /** First row of q and of k in the batch entry. */
  startQ: number;
  startKv: number;
  seqLenQ: number;
  /** Keys that may be read. */
  seqLenKv: number;
  queryOffset: number;
}

/** The sequences of a batch, or those that are packed into its rows. */
export function checkSequences(options: AttentionOptions, batch: number, rowsQ: number, rowsKv: number): Sequence[] {
  const { cuSeqlensQ, cuSeqlensKv, queryOffset, kvLengths } = options;
  let startsQ: Int32Array | undefined;
  let startsKv: Int32Array | undefined;
  if (cuSeqlensQ !== undefined) {
    if (batch !== 1) throw wrongValue("batch", "1 with packed sequences (cuSeqlensQ)", batch);
    startsQ = checkStarts("cuSeqlensQ", cuSeqlensQ, rowsQ, "rows of q");
    startsKv = checkStarts("cuSeqlensKv", cuSeqlensKv ?? cuSeqlensQ, rowsKv, "rows of k");
    if (startsKv.length !== startsQ.length) {
      throw wrongValue("cuSeqlensKv", `a length of ${startsQ.length} (that of cuSeqlensQ)`, startsKv.length);
    }
  } else if (cuSeqlensKv !== undefined) {
    throw wrongKind("cuSeqlensQ", "an Int32Array beside cuSeqlensKv", undefined);
  }

  const count = startsQ ? startsQ.length - 1 : batch;
  const counted = startsQ ? "sequences" : "batch";
  const lengths =
    kvLengths === undefined ? undefined : checkInt32Array("kvLengths", kvLengths, count, counted, 0, rowsKv);
  const offsets = queryOffset === undefined ? undefined : checkOffsets(queryOffset, count, counted);

  return Array.from({ length: count }, (_, s) => {
    const startQ = startsQ?.[s] ?? 0;
    const startKv = startsKv?.[s] ?? 0;
    const seqLenQ = (startsQ?.[s + 1] ?? rowsQ) - startQ;
    const rows = (startsKv?.[s + 1] ?? rowsKv) - startKv;
    const seqLenKv = lengths?.[s] ?? rows;
    if (seqLenKv > rows) throw wrongValue(`kvLengths[${s}]`, `at most ${rows} (keys of the sequence)`, seqLenKv);
    const offset = typeof offsets === "number" ? offsets : offsets?.[s];
    const queryOffset = offset ?? seqLenKv - seqLenQ;
    return { batch: startsQ ? 0 : s, startQ, startKv, seqLenQ, seqLenKv, queryOffset };
  });
}

/** One offset, or one for each sequence. */
function checkOffsets(value: unknown, count: number, counted: string): number | Int32Array {
  if (typeof value === "number") return checkInteger("queryOffset", value, -MAX_OFFSET, MAX_OFFSET);
  if (!(value instanceof Int32Array)) throw wrongKind("queryOffset", "an integer or an Int32Array", value);
  return checkInt32Array("queryOffset", value, count, counted, -MAX_OFFSET, MAX_OFFSET);
}

/** [sequences + 1] row numbers that rise from 0 to `rows`. */
function checkStarts(title: string, value: unknown, rows: number, what: string): Int32Array {
  if (!(value instanceof Int32Array)) throw wrongKind(title, "an Int32Array", value);
  if (value.length === 0) throw wrongValue(title, "at least one element", 0);
  if (value[0] !== 0) throw wrongValue(`${title}[0]`, "0", value[0]);
  for (let i = 1; i < value.length; i++) {
    if (value[i]! < value[i - 1]!)
      throw wrongValue(`${title}[${i}]`, `at least ${value[i - 1]!}, the one before`, value[i]);
  }
  const last = value.length - 1;
  if (value[last] !== rows) throw wrongValue(`${title}[${last}]`, `${rows} (${what})`, value[last]);
  return value;
}
