import type { AttentionOptions } from "../attention/options.ts";
import type { RotaryForm } from "../rotary/options.ts";
import { checkAbsent, checkIntegers, isTypedArray } from "../check.ts";

/** Of the options of `forward`, those that say where rows stand. */
interface PositionOptions extends Pick<AttentionOptions, "cuSeqlensQ" | "cuSeqlensKv"> {
  positions?: number | Int32Array | undefined;
  contextPositions?: number | Int32Array | undefined;
  context?: unknown;
  append?: boolean | undefined;
}

/** The positions of the rows of q and of k, for rotary embedding: as `positions` of `Heed.rotary`. */
export interface LayerPositions {
  positions: number | Int32Array;
  kPositions: number | Int32Array;
}

/**
 * Checks and completes `positions` and `contextPositions`. Rows follow each other from position 0, in each packed
 * sequence anew, or behind the tokens that the cache has.
 *
 * @param before of the cache, where there is one: the positions of `rows` rows of each sequence from `shift` tokens
 * behind its last one on
 * @throws TypeError for positions that the layer, or the call, has no use for
 */
export function checkPositions(
  options: PositionOptions,
  rotary: RotaryForm | undefined,
  rowsQ: number,
  rowsKv: number,
  before: ((shift: number, rows: number) => number | Int32Array) | undefined,
): LayerPositions {
  const { positions, contextPositions, context, append = true, cuSeqlensQ, cuSeqlensKv } = options;
  if (!rotary) {
    checkAbsent(options, ["positions", "contextPositions"], "nothing in a layer without rotary");
    return { positions: 0, kPositions: 0 };
  }
  const hasContext = context !== undefined;
  if (!hasContext) checkAbsent(options, ["contextPositions"], "nothing without a context");
  // Rows that are not appended are those of the last tokens in the cache.
  const axes = rotary.sections?.length ?? 1;
  const own =
    positions ??
    onAxes(axes, (hasContext ? undefined : before?.(append ? 0 : -rowsQ, rowsQ)) ?? withinSequences(cuSeqlensQ, rowsQ));
  if (!hasContext) return { positions: own, kPositions: own };
  const behind = before?.(0, rowsKv) ?? withinSequences(cuSeqlensKv ?? cuSeqlensQ, rowsKv);
  return { positions: own, kPositions: contextPositions ?? onAxes(axes, behind) };
}

/** The same positions on each axis. */
function onAxes(axes: number, positions: number | Int32Array): number | Int32Array {
  if (typeof positions === "number" || axes === 1) return positions;
  return Int32Array.from({ length: axes * positions.length }, (_, n) => positions[n % positions.length]!);
}

/**
 * Positions from 0 on, in each packed sequence anew. `given`: cuSeqlens, not checked yet; anything else means one
 * sequence.
 */
function withinSequences(given: unknown, rows: number): number | Int32Array {
  if (!isTypedArray("Int32Array", given)) return 0;
  const starts = checkIntegers("cuSeqlensQ", given);
  const positions = new Int32Array(rows);
  let start = 0;
  for (let s = 1, row = 0; row < rows; row++) {
    while (s < starts.length && row >= starts[s]!) start = starts[s++]!;
    positions[row] = row - start;
  }
  return positions;
}
