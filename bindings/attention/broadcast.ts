import { checkElements, checkInteger, checkIsShape, wrongValue } from "../check.ts";
import type { Bytes } from "../memory/data.ts";
import type { Sequence } from "./sequences.ts";

/**
 * Strides of a keepMask or bias over the scores [batch, numHeads, seqLenQ, seqLenKv], in bytes. The stride of a
 * dimension along which it is broadcast is 0.
 */
export interface ScoreStrides {
  readonly batch: number;
  readonly head: number;
  readonly row: number;
  readonly key: number;
}

const SCORES = "[batch, numHeads, seqLenQ, seqLenKv]";

/**
 * The strides that broadcast an array of `shape`, right-aligned, to the scores of shape `target`. `length` is the number
 * of its elements. Throws a TypeError or a RangeError where the shape is none, or does not broadcast.
 */
export function checkBroadcast(
  title: string,
  shape: unknown,
  length: number,
  target: readonly number[],
  elementBytes: number,
): ScoreStrides {
  checkIsShape(title, shape);
  if (shape.length > 4) throw wrongValue(`${title}.shape`, `at most 4 dimensions (${SCORES})`, shape.length);
  const strides = [0, 0, 0, 0];
  let elements = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const dimension = 4 - shape.length + i;
    const size = checkInteger(`${title}.shape[${i}]`, shape[i], 0);
    if (size !== 1 && size !== target[dimension]) {
      // Other libraries take padding as [batch, keys].
      const isPadding = i === 0 && shape.length === 2 && size === target[0];
      const hint = isPadding ? `; give padding as kvLengths, or in the shape [${size}, 1, 1, ${target[3]!}]` : "";
      const expected = `1 or ${target[dimension]!} (${SCORES} = [${target.join(", ")}])${hint}`;
      throw wrongValue(`${title}.shape[${i}]`, expected, size);
    }
    if (size !== 1) strides[dimension] = elements * elementBytes;
    elements *= size;
  }
  checkElements(title, length, elements, shape);
  const [batch, head, row, key] = strides as [number, number, number, number];
  return { batch, head, row, key };
}

/**
 * Recognizes a mask that is padding: the same for every query and head, it keeps the first keys of the sequence and no
 * others. The call then treats the sequence as a shorter one without a mask, so that padding costs nothing.
 *
 * @returns the number of keys that padding keeps; undefined for any other mask
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
