// Where the rows of K and V stand, and how they are stored: f32 anywhere, f16 and int8 in the pages of a KV cache, and
// 16 bits as a caller has them, whatever their values.
//
//     f32    4 bytes a value
//     f16    2 bytes a value, IEEE 754 binary16, finite (float16.ts)
//     int8   1 byte a value: value = byte · scale, with one f32 scale for each key and head
//     half   2 bytes a value, IEEE 754 binary16, NaN and Infinity too (half.ts)
//     bf16   2 bytes a value, the upper half of an f32 (half.ts)
//
// The kernels convert f16 and int8 as they load, eight values at a time: such rows have a multiple of eight values. half
// and bf16 become f32 page by page, so that they have the bits of f32.
//
//     contiguous    key j at base + j·rowStride
//     paged         ┌ page ───────────────────────────────────────────┐   key j is key j % PAGE_KEYS
//     (args.pages)  │ K of head 0 │ K of head 1 │ … │ V … │ scales … │   of page (j / PAGE_KEYS) % pageCount
//                   └─────────────┴─────────────┴───┴─────┴──────────┘

import { AttendArgs } from "../args";

// The stored types, as args.kType and args.vType have them.
/** Stored as f32. */
// @ts-ignore: decorator
@inline export const F32: i32 = 0;
/** Stored as binary16. */
// @ts-ignore: decorator
@inline export const F16: i32 = 1;
/** Stored as bytes with a scale for each row. */
// @ts-ignore: decorator
@inline export const INT8: i32 = 2;
/** binary16 of any value; rows stand anywhere, as q, bias and out may too. */
// @ts-ignore: decorator
@inline export const HALF: i32 = 3;
/** bfloat16, likewise. */
// @ts-ignore: decorator
@inline export const BF16: i32 = 4;

/** Whether rows are in 16 bits as a caller has them, and so are read as f32 once they have been converted. */
// @ts-ignore: decorator
@inline export function isHalves(type: i32): bool {
  return type > INT8;
}

/** How such rows, and all others, are stored where the kernels of decode/ read them. */
// @ts-ignore: decorator
@inline export function typeAsRead(type: i32): i32 {
  return isHalves(type) ? F32 : type;
}

/** Keys in a page; also the most that one kv tile takes. */
// @ts-ignore: decorator
@inline export const PAGE_KEYS: i32 = 128;

/**
 * Where key `key` stands; with pages `base` is an offset in a page. All keys up to the next multiple of PAGE_KEYS
 * follow.
 */
// @ts-ignore: decorator
@inline function addressOf(args: AttendArgs, base: usize, key: i32, rowStride: usize): usize {
  if (!args.pages) return base + <usize>key * rowStride;
  const page = load<usize>(args.pages + ((<usize>((key / PAGE_KEYS) % args.pageCount)) << 2));
  return page + base + <usize>(key % PAGE_KEYS) * rowStride;
}

/** The row of K of one key and KV head. */
export function kAddress(args: AttendArgs, kvHead: i32, key: i32): usize {
  return addressOf(args, args.k + <usize>kvHead * args.kHeadStride, key, args.kRowStride);
}

/** The row of V of one key and KV head. */
export function vAddress(args: AttendArgs, kvHead: i32, key: i32): usize {
  return addressOf(args, args.v + <usize>kvHead * args.vHeadStride, key, args.vRowStride);
}

/** The scale of a row of K, where K is int8; else 0. */
export function kScaleAddress(args: AttendArgs, kvHead: i32, key: i32): usize {
  return args.kScales ? addressOf(args, args.kScales + <usize>kvHead * (PAGE_KEYS << 2), key, 4) : 0;
}

/** The scale of a row of V, where V is int8; else 0. */
export function vScaleAddress(args: AttendArgs, kvHead: i32, key: i32): usize {
  return args.vScales ? addressOf(args, args.vScales + <usize>kvHead * (PAGE_KEYS << 2), key, 4) : 0;
}
