import { checkInt32Array, checkInteger, checkIntegers, checkLength, wrongKind, wrongValue } from "../check.ts";
import { MAX_OFFSET } from "../engine/abi.ts";
import type { AttentionOptions } from "./options.ts";

/** The queries and keys that attend to each other: those of a batch entry, or of a packed sequence. */
export interface Sequence {
  /** The batch entry; 0 if packed. */
  readonly batch: number;
  /** The first row of the sequence in q and in k, counted from the start of the batch entry. */
  readonly startQ: number;
  readonly startKv: number;
  readonly seqLenQ: number;
  /** Valid keys: kvLengths of the sequence, else all of them. */
  readonly seqLenKv: number;
  /** Query i stands at key i + queryOffset. */
  readonly queryOffset: number;
  /** False where keepMask is padding: then seqLenKv counts the keys that it keeps, and the kernels get no mask. */
  readonly masked: boolean;
}

/**
 * Checks cuSeqlensQ, cuSeqlensKv, kvLengths and queryOffset.
 *
 * @returns how many sequences there are: the batch entries, or the packed sequences; and each of them, but for batch
 * entries without queries, for which there is nothing to compute
 */
export function checkSequences(
  options: AttentionOptions,
  batch: number,
  rowsQ: number,
  rowsKv: number,
): { sequences: Sequence[]; count: number } {
  const { cuSeqlensQ, cuSeqlensKv, queryOffset, kvLengths } = options;
  let startsQ: Int32Array | undefined;
  let startsKv: Int32Array | undefined;
  if (cuSeqlensQ !== undefined) {
    if (batch !== 1) throw wrongValue("batch", "1 with packed sequences (cuSeqlensQ)", batch);
    startsQ = checkStarts("cuSeqlensQ", cuSeqlensQ, rowsQ, "rows of q");
    startsKv = checkStarts("cuSeqlensKv", cuSeqlensKv ?? cuSeqlensQ, rowsKv, "rows of k");
    checkLength("cuSeqlensKv", startsKv.length, startsQ.length, "that of cuSeqlensQ");
  } else if (cuSeqlensKv !== undefined) {
    throw wrongKind("cuSeqlensQ", "an Int32Array beside cuSeqlensKv", undefined);
  }

  const count = startsQ ? startsQ.length - 1 : batch;
  const counted = startsQ ? "sequences" : "batch";
  const lengths =
    kvLengths === undefined ? undefined : checkInt32Array("kvLengths", kvLengths, count, counted, 0, rowsKv);
  const offsets = queryOffset === undefined ? undefined : checkOffsets(queryOffset, count, counted);

  const sequences = Array.from({ length: startsQ || rowsQ > 0 ? count : 0 }, (_, index) => {
    const startQ = startsQ?.[index] ?? 0;
    const startKv = startsKv?.[index] ?? 0;
    const seqLenQ = (startsQ?.[index + 1] ?? rowsQ) - startQ;
    const rows = (startsKv?.[index + 1] ?? rowsKv) - startKv;
    const seqLenKv = lengths?.[index] ?? rows;
    if (seqLenKv > rows) throw wrongValue(`kvLengths[${index}]`, `at most ${rows} (keys of the sequence)`, seqLenKv);
    const offset = typeof offsets === "number" ? offsets : offsets?.[index];
    const queryOffset = offset ?? seqLenKv - seqLenQ;
    return { batch: startsQ ? 0 : index, startQ, startKv, seqLenQ, seqLenKv, queryOffset, masked: true };
  });
  return { sequences, count };
}

/** Checks queryOffset: one for all sequences, or one for each. `counted` names the sequences in errors. */
function checkOffsets(value: unknown, count: number, counted: string): number | Int32Array {
  if (typeof value === "number") return checkInteger("queryOffset", value, -MAX_OFFSET, MAX_OFFSET);
  const expected = "an integer or an Int32Array";
  return checkInt32Array("queryOffset", value, count, counted, -MAX_OFFSET, MAX_OFFSET, expected);
}

/** Checks cuSeqlensQ or cuSeqlensKv: [sequences + 1] row numbers that never fall, the first 0, the last `rows`. */
function checkStarts(title: string, value: unknown, rows: number, what: string): Int32Array {
  const starts = checkIntegers(title, value);
  if (starts.length === 0) throw wrongValue(title, "at least one element", 0);
  if (starts[0] !== 0) throw wrongValue(`${title}[0]`, "0", starts[0]);
  const fall = starts.findIndex((start, i) => start < starts[i - 1]!);
  if (fall > 0) throw wrongValue(`${title}[${fall}]`, `at least ${starts[fall - 1]}, the one before`, starts[fall]);
  const last = starts.length - 1;
  if (starts[last] !== rows) throw wrongValue(`${title}[${last}]`, `${rows} (${what})`, starts[last]);
  return starts;
}
