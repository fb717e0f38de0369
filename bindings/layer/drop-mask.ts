import { type ScoreStrides, checkBroadcast } from "../attention/broadcast.ts";
import { checkObject, checkTypedArray } from "../check.ts";

/** One byte for each score, in a shape that broadcasts, right-aligned, to [batch, numHeads, seqLenQ, seqLenKv]. */
export interface Mask {
  data: Uint8Array;
  shape: readonly number[];
}

/**
 * The keepMask that a keepMask and a dropMask stand for together: a query sees a key where the first is not 0 and the
 * second is 0.
 *
 * The result has the smallest shape that both broadcast to. That is the shape of the larger one where it contains the
 * other. Where neither contains the other, such as padding [batch, 1, 1, seqLenKv] beside [seqLenQ, seqLenKv], it is
 * their product, here [batch, 1, seqLenQ, seqLenKv]; at most one byte for each score. See docs/decisions/drop-mask.md.
 *
 * @param target [batch, numHeads, seqLenQ, seqLenKv]
 * @throws TypeError or RangeError for a mask of the wrong kind or shape
 */
export function combineMasks(
  keep: Mask | undefined,
  drop: Mask | undefined,
  target: readonly number[],
): Mask | undefined {
  if (drop === undefined) return keep;
  const dropStrides = checkMask("dropMask", drop, target);
  if (keep === undefined) return { data: drop.data.map((byte) => (byte === 0 ? 1 : 0)), shape: drop.shape };
  const keepStrides = checkMask("keepMask", keep, target);

  const sizeIn = ({ shape }: Mask, dimension: number): number => shape[shape.length - 4 + dimension] ?? 1;
  const shape = target.map((_, i) => (sizeIn(keep, i) === 1 ? sizeIn(drop, i) : sizeIn(keep, i)));
  const [batches, heads, rows, keys] = shape as [number, number, number, number];
  const data = new Uint8Array(batches * heads * rows * keys);
  let element = 0;
  for (let n = 0; n < batches * heads * rows; n++) {
    const rowIn = ({ batch, head, row }: ScoreStrides): number =>
      Math.floor(n / (heads * rows)) * batch + (Math.floor(n / rows) % heads) * head + (n % rows) * row;
    const [keepRow, dropRow] = [rowIn(keepStrides), rowIn(dropStrides)];
    for (let key = 0; key < keys; key++) {
      const isKept = keep.data[keepRow + key * keepStrides.key] !== 0;
      const isDropped = drop.data[dropRow + key * dropStrides.key] !== 0;
      data[element++] = isKept && !isDropped ? 1 : 0;
    }
  }
  return { data, shape };
}

/** Checks a mask that broadcasts to `target`, and returns the strides that broadcast it. */
function checkMask(title: string, mask: Mask, target: readonly number[]): ScoreStrides {
  checkObject(title, mask);
  const { length } = checkTypedArray(`${title}.data`, mask.data, "Uint8Array", "a Uint8Array");
  return checkBroadcast(title, mask.shape, length, target, 1);
}
