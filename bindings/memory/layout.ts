import { checkChoice, checkInteger } from "../check.ts";
import { MAX_BATCH, MAX_HEADS } from "../limits.ts";

/**
 * The order of the dimensions of a tensor. `"blhd"` is [batch, seqLen, heads, dim], whose memory is also that of
 * [batch, seqLen, heads·dim]. `"bhld"` is [batch, heads, seqLen, dim].
 *
 * @category Attention
 */
export type Layout = "blhd" | "bhld";

/** The options that say how the rows of a call are arranged, with their defaults. */
export interface Arrangement {
  readonly numHeads: number;
  readonly batch: number;
  readonly layout: Layout;
}

/** The names of these options. */
export const ARRANGEMENT_NAMES = { numHeads: 0, batch: 0, layout: 0 } as const;

/** Checks numHeads, batch and layout. */
export function checkArrangement(options: {
  numHeads: number;
  batch?: number | undefined;
  layout?: Layout | undefined;
}): Arrangement {
  const { numHeads, batch = 1, layout = "blhd" } = options;
  checkInteger("numHeads", numHeads, 1, MAX_HEADS);
  checkInteger("batch", batch, 1, MAX_BATCH);
  checkChoice("layout", layout, ["blhd", "bhld"]);
  return { numHeads, batch, layout };
}

/** Bytes from one batch entry, one row and one head of a tensor to the next. */
export interface Strides {
  readonly batch: number;
  readonly row: number;
  readonly head: number;
}

/**
 * Strides of a tensor with `rows` rows in a batch entry, `heads` heads and `dim` floats, of `bytes` bytes each, in a row.
 */
export function stridesOf(layout: Layout, rows: number, heads: number, dim: number, bytes: number = 4): Strides {
  const row = dim * bytes;
  const batch = rows * heads * row;
  return layout === "blhd" ? { batch, row: heads * row, head: row } : { batch, row, head: rows * row };
}
