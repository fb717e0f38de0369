/**
 * The arguments of one call of {@link attend}: the query heads of one sequence, and the KV heads that they share.
 *
 * TypeScript writes them once (bindings/engine/abi.ts is generated from this class); every kernel only reads them, so
 * that several threads can share one call. Every field has four bytes.
 *
 * Row i of query head h stands at `q + i·qRowStride + h·qHeadStride`; query head h reads KV head ⌊h / group⌋. Key j of
 * KV head n stands at `k + j·kRowStride + n·kHeadStride`. A pointer of 0 is an absent option. Strides are in bytes,
 * dims and lengths in elements.
 *
 * K and V may come in pieces, one call for each piece: then k and v are where key 0 would stand, and only the keys
 * [fromKey, toKey) are in memory.
 */
@unmanaged
export class AttendArgs {
  // outputs
  /** [seqLenQ][numHeads] rows of valueDim values. */
  out: usize;
  /** [numHeads][seqLenQ] floats, or 0. */
  lse: usize;

  // inputs
  /** [seqLenQ][numHeads] rows of headDim values. */
  q: usize;
  /** [seqLenKv][numKvHeads] rows of headDim values. */
  k: usize;
  /** [seqLenKv][numKvHeads] rows of valueDim values. */
  v: usize;
  /**
   * [numHeads][seqLenQ][seqLenKv] bytes, 0 = masked; a stride of 0 broadcasts; three bytes behind the end are readable.
   */
  keepMask: usize;
  /** [numHeads][seqLenQ][seqLenKv] floats; a stride of 0 broadcasts; three floats behind the end are readable. */
  bias: usize;
  /** [numHeads] floats. */
  alibiSlopes: usize;
  /** [numHeads] floats. */
  sinks: usize;

  // how rows are stored (kv/rows.ts)
  /**
   * [pageCount] addresses of pages, or 0: k and v are contiguous. With pages, k, v and the scales are offsets in a
   * page.
   */
  pages: usize;
  pageCount: i32;
  /** F32, F16, INT8, HALF or BF16. */
  kType: i32;
  vType: i32;
  /** F32, HALF or BF16. */
  qType: i32;
  outType: i32;
  /** int8: one f32 scale for each key, [numKvHeads][PAGE_KEYS]; else 0. */
  kScales: usize;
  vScales: usize;

  // memory of the call
  /** Where K and V come in pieces: the query tiles of every KV head, kept from piece to piece. Else 0. */
  tiles: usize;
  /** The table of simd/constants.ts. */
  constants: usize;

  // dims
  numKvHeads: i32;
  /** Query heads that share one KV head. */
  group: i32;
  seqLenQ: i32;
  /** Keys that may be read: [firstKey, seqLenKv). firstKey is 0, but for a split of the keys (bindings/attention). */
  seqLenKv: i32;
  firstKey: i32;
  headDim: i32;
  valueDim: i32;
  /** The keys of this call: firstKey and seqLenKv, or a piece that begins and ends with pages of PAGE_KEYS keys. */
  fromKey: i32;
  toKey: i32;

  // strides
  outRowStride: usize;
  outHeadStride: usize;
  lseHeadStride: usize;
  qRowStride: usize;
  qHeadStride: usize;
  kRowStride: usize;
  kHeadStride: usize;
  vRowStride: usize;
  vHeadStride: usize;
  /** From one query, one head, one key to the next; each may be 0. */
  maskRowStride: usize;
  maskHeadStride: usize;
  maskKeyStride: usize;
  biasRowStride: usize;
  biasHeadStride: usize;
  biasKeyStride: usize;

  // scalars
  /** 1: the engine keeps the 6 × 2 register tile of simd/gemm.ts in registers. */
  useTile6x2: i32;
  /** 1: keep masked values out of every sum (prefill/nonfinite.ts). */
  careful: i32;
  /** 1: few query rows go through prefill as well, so that their sums have the order of many. */
  reproducible: i32;
  /** 1: q·k and P·V in integers of 16 bits (prefill/half.ts). */
  half: i32;
  /** Query i stands at key i + queryOffset; |queryOffset| ≤ MAX_OFFSET. */
  queryOffset: i32;
  /** Keys that a query sees to the left and to the right of its position, at most UNLIMITED. Causal is right = 0. */
  left: i32;
  right: i32;
  /**
   * scale = queryScale·scoreScale. queryScale is ± a power of two, which multiplies q without rounding; scoreScale > 0.
   */
  queryScale: f32;
  scoreScale: f32;
  /** 0 = off. */
  softcap: f32;
  /** What l is in a row whose scores are all −Infinity: NaN; or so little that a split weighs nothing. */
  lostSum: f32;
}

/** The largest |queryOffset|. Positions stay within i32 with any sequence in memory. */
// @ts-ignore: decorator
@inline export const MAX_OFFSET: i32 = 1 << 30;

/** A window without a bound. Sums with positions are taken in i64. */
// @ts-ignore: decorator
@inline export const UNLIMITED: i32 = i32.MAX_VALUE;

/**
 * A dim or length on its way into a size: what no memory holds stays that, and in i32. Sizes are reckoned in u64 and
 * handed out as f64, so that none wraps.
 */
export function boundedSize(n: f64): i32 {
  return <i32>min<f64>(n, 1073741824);
}

/** Whether the keys of this call begin with the first key. */
// @ts-ignore: decorator
@inline export function isFirstPiece(args: AttendArgs): bool {
  return args.fromKey == args.firstKey;
}

/** Whether the keys of this call end with the last key. */
// @ts-ignore: decorator
@inline export function isLastPiece(args: AttendArgs): bool {
  return args.toKey == args.seqLenKv;
}
