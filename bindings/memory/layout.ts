/** `"blhd"` = [batch, seqLen, heads, dim], which is also the memory of [batch, seqLen, heads·dim]; `"bhld"` = [batch, heads, seqLen, dim]. */
export type Layout = "blhd" | "bhld";

/** Bytes from one batch entry, row and head of a tensor to the next. */
export interface Strides {
  batch: number;
  row: number;
  head: number;
}

/** Strides of a tensor of `rows` rows a batch entry, `heads` heads and `dim` floats a row. */
export function stridesOf(layout: Layout, rows: number, heads: number, dim: number): Strides {
  const batch = rows * heads * dim * 4;
  return layout === "blhd"
    ? { batch, row: heads * dim * 4, head: dim * 4 }
    : { batch, row: dim * 4, head: rows * dim * 4 };
}
