import type { AttentionOptions } from "../attention/options.ts";
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
 * @param before [batch]: the tokens of each sequence of the cache before this call, where there is a cache
 * @throws TypeError for positions that the layer, or the call, has no use for
 */
export function checkPositions(
  options: PositionOptions,
  hasRotary: boolean,
  rowsQ: number,
  rowsKv: number,
  before: Int32Array | undefined,
): LayerPositions {
  const { positions, contextPositions, context, append = true, cuSeqlensQ, cuSeqlensKv } = options;
  if (!hasRotary) {
    checkAbsent(options, ["positions", "contextPositions"], "nothing in a layer without rotary");
    return { positions: 0, kPositions: 0 };
  }
  const hasContext = context !== undefined;
  if (!hasContext) checkAbsent(options, ["contextPositions"], "nothing without a context");
  // Rows that are not appended are those of the last tokens in the cache.
  const starts = append ? before : before?.map((length) => length - rowsQ);
  const own = positions ?? positionsOf(hasContext ? undefined : starts, cuSeqlensQ, rowsQ);
  const kPositions = hasContext ? (contextPositions ?? positionsOf(before, cuSeqlensKv ?? cuSeqlensQ, rowsKv)) : own;
  return { positions: own, kPositions };
}

/** Positions of rows behind `starts`, [batch], where these are given, else from 0 on in each packed sequence. */
function positionsOf(starts: Int32Array | undefined, cuSeqlens: unknown, rows: number): number | Int32Array {
  return starts ? consecutive(starts, rows) : withinSequences(cuSeqlens, rows);
}

/**
 * `rows` positions from starts[b] on for each sequence b: one number where all start at the same position, else
 * [batch·rows].
 */
function consecutive(starts: Int32Array, rows: number): number | Int32Array {
  if (starts.every((start) => start === starts[0])) return starts[0] ?? 0;
  return Int32Array.from({ length: starts.length * rows }, (_, n) => starts[Math.floor(n / rows)]! + (n % rows));
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
