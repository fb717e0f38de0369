/**
 * The work of one call of {@link attend}: a sequence's query heads and the KV heads they share. TypeScript writes it
 * (bindings/engine/abi.ts lists the same fields in the same order) for the first KV head; `attend` moves the pointers from KV head to KV
 * head, all else only reads. Every field has four bytes.
 *
 * K and V may come in pieces, one call each: then k and v are where key 0 would stand, and only the keys [fromKey, toKey) are there.
 *
 * Row i of query head g stands at `q + i·qRow + g·qHead`; key j at `k + j·kRow`. Pointers that are 0 are absent options.
 * Strides in bytes, dims and lengths in elements.
 */
@unmanaged
export class Head {
  // outputs
  /** [seqLenQ][group] rows of valueDim floats. */
  out: usize;
  /** [group][seqLenQ] floats, or 0. */
  lse: usize;

  // inputs
  /** [seqLenQ][group] rows of headDim floats. */
  q: usize;
  /** [seqLenKv] rows of headDim floats. */
  k: usize;
  /** [seqLenKv] rows of valueDim floats. */
  v: usize;
  /** [group][seqLenQ][seqLenKv] bytes, 0 = masked; broadcast by strides of 0; three readable bytes after the end. */
  keepMask: usize;
  /** [group][seqLenQ][seqLenKv] floats; broadcast by strides of 0; three readable floats after the end. */
  bias: usize;
  /** [group] floats. */
  alibiSlopes: usize;
  /** [group] floats. */
  sinks: usize;

  // how k and v are stored (rows.ts)
  /** [pageCount] addresses of pages, or 0: k and v are contiguous. With pages k, v and the scales are places in a page. */
  pages: usize;
  pageCount: i32;
  /** F32, F16 or INT8. */
  kType: i32;
  vType: i32;
  /** int8: one f32 for each key, [numKvHeads][PAGE_KEYS], or 0. */
  kScales: usize;
  vScales: usize;

  // scratch
  /** scratchBytes of flash.ts, overwritten; what the calls of one sequence hand on stands here too. */
  scratch: usize;
  /** The table of exp.ts. */
  constants: usize;

  // dims
  /** KV heads, one after the other. */
  numKvHeads: i32;
  /** Query heads that share the KV head. */
  group: i32;
  seqLenQ: i32;
  /** Keys that may be read. */
  seqLenKv: i32;
  headDim: i32;
  valueDim: i32;
  /** The keys of this call: 0 and seqLenKv, or a piece that begins and ends with pages of PAGE_KEYS keys. */
  fromKey: i32;
  toKey: i32;

  // strides
  outRow: usize;
  outHead: usize;
  lseHead: usize;
  qRow: usize;
  qHead: usize;
  kRow: usize;
  kHead: usize;
  vRow: usize;
  vHead: usize;
  /** One query, one head, one key further; each may be 0. */
  maskRow: usize;
  maskHead: usize;
  maskKey: usize;
  biasRow: usize;
  biasHead: usize;
  biasKey: usize;

  // scalars
  /** Whether the engine keeps the tall tile of tile.ts in registers. */
  tall: i32;
  /** Whether to keep masked values away from the start, which `attend` said that pieces need. */
  careful: i32;
  /** Query i stands at key i + queryOffset; |queryOffset| ≤ 2³⁰. */
  queryOffset: i32;
  /** Keys kept to the left and to the right of a query's position, at most 2³⁰. Causal is right = 0. */
  left: i32;
  right: i32;
  /** scale = queryScale·scoreScale: ± a power of two, multiplied into q without rounding, and the rest, > 0. */
  queryScale: f32;
  scoreScale: f32;
  /** 0 = off. */
  softcap: f32;
}

/** Whether the keys of this call begin with the first. */
// @ts-ignore: decorator
@inline export function begins(head: Head): bool {
  return head.fromKey == 0;
}

/** Whether they end with the last. */
// @ts-ignore: decorator
@inline export function ends(head: Head): bool {
  return head.toKey == head.seqLenKv;
}
