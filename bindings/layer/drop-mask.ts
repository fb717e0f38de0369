import { type ScoreStrides, checkBroadcast } from "../attention/broadcast.ts";
import { checkObject, wrongKind } from "../check.ts";

/** Bytes over the scores, broadcast right-aligned. */
export interface Mask {
  data: Uint8Array;
  shape: readonly number[];
}

const SCORES = "[batch, numHeads, seqLenQ, seqLenKv]";

/**
 * The keepMask that says what a keepMask and a dropMask say together: a key is attended to where the first is not 0 and the second is. Of
 * the shape that both broadcast to. `target`: [batch, numHeads, seqLenQ, seqLenKv].
 */
export function keepMaskOf(
  keep: Mask | undefined,
  drop: Mask | undefined,
  target: readonly number[],
): Mask | undefined {
  if (drop === undefined) return keep;
  const dropped = checkMask("dropMask", drop, target);
  if (keep === undefined) return { data: drop.data.map((byte) => (byte === 0 ? 1 : 0)), shape: drop.shape };
  const kept = checkMask("keepMask", keep, target);

  const sizeOf = (mask: Mask, i: number): number => mask.shape[mask.shape.length - 4 + i] ?? 1;
  const shape = target.map((_, i) => (sizeOf(keep, i) === 1 ? sizeOf(drop, i) : sizeOf(keep, i)));
  const [batches, heads, rows, keys] = shape as [number, number, number, number];
  const data = new Uint8Array(batches * heads * rows * keys);
  let at = 0;
  for (let batch = 0; batch < batches; batch++) {
    for (let head = 0; head < heads; head++) {
      for (let row = 0; row < rows; row++) {
        for (let key = 0; key < keys; key++) {
          const of = (strides: ScoreStrides) =>
            batch * strides.batch + head * strides.head + row * strides.row + key * strides.key;
          data[at++] = keep.data[of(kept)] !== 0 && drop.data[of(dropped)] === 0 ? 1 : 0;
        }
      }
    }
  }
  return { data, shape };
}

function checkMask(title: string, mask: Mask, target: readonly number[]): ScoreStrides {
  checkObject(title, mask);
  if (!(mask.data instanceof Uint8Array)) throw wrongKind(`${title}.data`, "a Uint8Array", mask.data);
  return checkBroadcast(title, mask.shape, mask.data.length, target, SCORES, 1);
}
