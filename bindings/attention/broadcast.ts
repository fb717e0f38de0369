import { checkInteger, wrongKind, wrongValue } from "../check.ts";
import type { Bytes } from "../memory/data.ts";
import type { Sequence } from "./sequences.ts";

/** Bytes from one batch entry, head, query and key of an array over the scores to the next; 0 where it is broadcast. */
export interface ScoreStrides {
  batch: number;
  head: number;
  row: number;
  key: number;
}

/** The strides of an array of `shape` broadcast, right-aligned, to the four dimensions of `target`; `length` is that of the data. */
export function checkBroadcast(
  title: string,
  shape: unknown,
  length: number,
  target: readonly number[],
  what: string,
  elementBytes: number,
): ScoreStrides {
  if (!Array.isArray(shape)) throw wrongKind(`${title}.shape`, "an array of integers", shape);
  if (shape.length > 4) throw wrongValue(`${title}.shape`, `at most 4 dimensions (${what})`, shape.length);
  const strides = [0, 0, 0, 0];
  let elements = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const at = 4 - shape.length + i;
    const size = checkInteger(`${title}.shape[${i}]`, shape[i], 0);
    if (size !== 1 && size !== target[at]) {
      throw wrongValue(`${title}.shape[${i}]`, `1 or ${target[at]!} (${what} = [${target.join(", ")}])`, size);
    }
    if (size !== 1) strides[at] = elements * elementBytes;
    elements *= size;
  }
  if (length !== elements) {
    throw wrongValue(`${title}.data`, `a length of ${elements} (the product of shape [${shape.join(", ")}])`, length);
  }
  const [batch, head, row, key] = strides as [number, number, number, number];
  return { batch, head, row, key };
}

/**
 * How many keys of a sequence a mask keeps, where it is the same for every query and head and keeps the first keys and no others:
 * such padding is a shorter sequence, and costs nothing. Undefined for any other mask.
 */
export function keptLength(
  mask: ScoreStrides & { data: Bytes },
  { batch, startKv, seqLenKv }: Sequence,
  buffer: ArrayBuffer,
): number | undefined {
  if (mask.row !== 0 || mask.head !== 0 || mask.key === 0) return undefined;
  const { array, ptr, length } = mask.data;
  const bytes = array ?? new Uint8Array(buffer, ptr, length);
  const start = batch * mask.batch + startKv;
  const keys = bytes.subarray(start, start + seqLenKv);
  const kept = keys.indexOf(0);
  if (kept < 0) return seqLenKv;
  return keys.subarray(kept).some((byte) => byte !== 0) ? undefined : kept;
}
