// The tokens that stand at one place, and exact attention over them: of which query sees which of them, given that they
// are pages of a longer sequence.
import { checkLength, checkRows, wrongValue } from "../check.ts";
import type { Heed } from "../heed.ts";
import type { KvCache } from "../kv-cache/kv-cache.ts";
import { MAX_ROWS } from "../limits.ts";
import { causalRuns, localLength, positionOf } from "./geometry.ts";
import type { AttendRequest, ScoreOptions, ShardShape } from "./messages.ts";
import { putTokens, takeTokens } from "./rows.ts";

/** Elements of a mask or a bias that is made for some of the query rows. */
const MASK_ELEMENTS = 2 ** 20;

/** What the call over some of the query rows has besides that of the others. */
interface RowOptions {
  causal?: boolean;
  queryOffset?: number;
  keepMask?: { data: Uint8Array; shape: number[] };
  bias?: { data: Float32Array; shape: number[] };
}

/** A new, empty cache for the tokens of a place. */
export function createCache(heed: Heed, shape: ShardShape): KvCache {
  const { numKvHeads, headDim, valueDim, batch, capacity, dtype } = shape;
  return heed.createKvCache({ numKvHeads, headDim, valueDim, batch, capacity, dtype: { k: dtype.k, v: dtype.v } });
}

/**
 * Attention from q over the tokens of a place.
 *
 * @returns out [batch, seqLenQ, numHeads, valueDim] and lse [batch, numHeads, seqLenQ]; 0 and −Infinity where a query
 * sees none of the tokens
 * @throws as `KvCache.attention`
 */
export function attend(
  cache: KvCache,
  shape: ShardShape,
  request: AttendRequest,
): { out: Float32Array; lse: Float32Array } {
  const { batch, headDim, valueDim, numKvHeads } = shape;
  const { q, numHeads, queryOffset, causal = false, scale, softcap, window, alibiSlopes } = request;
  checkHeads(numHeads, numKvHeads, alibiSlopes);
  const rows = checkRows("q", q.length, batch * numHeads * headDim, "batch × numHeads × headDim", MAX_ROWS / numHeads);
  const out = new Float32Array(batch * rows * numHeads * valueDim);
  const lse = new Float32Array(batch * numHeads * rows).fill(-Infinity);
  const { length } = cache;
  if (length === 0 || rows === 0) return { out, lse };

  const some = (from: number, to: number, options: RowOptions) => {
    const part = cache.attention(takeTokens(q, batch, numHeads * headDim, from, to), {
      numHeads,
      lse: true,
      ...(scale !== undefined && { scale }),
      ...(softcap !== undefined && { softcap }),
      ...options,
    });
    putTokens(out, part.out, batch, numHeads * valueDim, from, 0, to - from);
    putTokens(lse, part.lse, batch * numHeads, 1, from, 0, to - from);
  };
  const left = window?.left ?? Infinity;
  const right = causal ? Math.min(0, window?.right ?? 0) : (window?.right ?? Infinity);
  if (left === Infinity && right !== Infinity && !alibiSlopes) {
    // Row i sees what a causal row sees that stands `right` positions further on.
    for (const run of causalRuns(shape, length, queryOffset + right, rows)) {
      const { from, to, sees, count } = run;
      if (sees === "causal") some(from, to, { causal: true, queryOffset: count - 1 });
      else if (sees === "all") some(from, to, {});
      else if (count > 0) some(from, to, { keepMask: { data: firstKeys(length, count), shape: [length] } });
    }
  } else if (left === Infinity && !alibiSlopes) {
    some(0, rows, {});
  } else {
    const step = Math.max(1, Math.floor(MASK_ELEMENTS / (length * (alibiSlopes ? numHeads : 1))));
    for (let from = 0; from < rows; from += step) {
      const to = Math.min(rows, from + step);
      some(from, to, {
        ...(left < Infinity || right < Infinity
          ? { keepMask: windowMask(shape, length, queryOffset + from, to - from, left, right) }
          : {}),
        ...(alibiSlopes && { bias: alibiBias(shape, length, queryOffset + from, to - from, alibiSlopes) }),
      });
    }
  }
  return { out, lse };
}

/** @throws RangeError for heads that do not go together */
export function checkHeads(numHeads: number, numKvHeads: number, alibiSlopes: ScoreOptions["alibiSlopes"]): void {
  if (numHeads % numKvHeads !== 0) {
    throw wrongValue("numHeads", `a multiple of ${numKvHeads} (numKvHeads)`, numHeads);
  }
  if (alibiSlopes) checkLength("alibiSlopes", alibiSlopes.length, numHeads, "numHeads");
}

/** A mask that keeps the first `count` keys for every row. */
function firstKeys(length: number, count: number): Uint8Array {
  return new Uint8Array(length).fill(1, 0, count);
}

/** Which of the tokens each of the rows from position `first` on sees, by their positions in the whole. */
function windowMask(
  shape: ShardShape,
  length: number,
  first: number,
  rows: number,
  left: number,
  right: number,
): NonNullable<RowOptions["keepMask"]> {
  const data = new Uint8Array(rows * length);
  for (let row = 0; row < rows; row++) {
    const position = first + row;
    const from = Math.min(length, localLength(shape, position - left));
    const to = right === Infinity ? length : Math.min(length, localLength(shape, position + right + 1));
    data.fill(1, row * length + from, row * length + Math.max(from, to));
  }
  return { data, shape: [rows, length] };
}

/** −slope·|position of the query − position of the token| for each head, row and token. */
function alibiBias(
  shape: ShardShape,
  length: number,
  first: number,
  rows: number,
  slopes: Float32Array,
): NonNullable<RowOptions["bias"]> {
  const data = new Float32Array(slopes.length * rows * length);
  const positions = Float64Array.from({ length }, (_, at) => positionOf(shape, at));
  let n = 0;
  for (const slope of slopes) {
    for (let row = 0; row < rows; row++) {
      for (let at = 0; at < length; at++) data[n++] = -slope * Math.abs(first + row - positions[at]!);
    }
  }
  return { data, shape: [slopes.length, rows, length] };
}

/**
 * The number of new tokens in k and v.
 *
 * @throws RangeError where their lengths are not those of tokens, or are more than there is room for
 */
export function countTokens(k: Float32Array, v: Float32Array, shape: Omit<ShardShape, "place" | "places">): number {
  const { batch, numKvHeads, headDim, valueDim } = shape;
  const tokens = checkRows("k", k.length, batch * numKvHeads * headDim, "batch × numKvHeads × headDim");
  checkLength("v", v.length, batch * tokens * numKvHeads * valueDim, "batch × tokens × numKvHeads × valueDim");
  return tokens;
}
