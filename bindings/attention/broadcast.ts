import type { Bytes, ScoreStrides } from "../check.ts";
import type { Sequence } from "./sequences.ts";

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
