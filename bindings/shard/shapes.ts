// Whether two shapes of a place, or a shape and what was restored, go together.
import { wrongValue } from "../check.ts";
import type { KvCache } from "../kv-cache/kv-cache.ts";
import type { ShardShape } from "./messages.ts";

const SIZES = ["numKvHeads", "headDim", "valueDim", "batch", "capacity", "place", "places", "pageTokens"] as const;

/** Checks that two shapes are the same. @throws RangeError that names the first size in which they differ */
export function checkSame(shape: ShardShape, given: ShardShape): void {
  const expected = "(that of the tokens at this place)";
  for (const name of SIZES) {
    if (given[name] !== shape[name]) throw wrongValue(name, `${shape[name]} ${expected}`, given[name]);
  }
  for (const side of ["k", "v"] as const) {
    const type = shape.dtype[side];
    if (given.dtype[side] !== type) throw wrongValue(`dtype.${side}`, `"${type}" ${expected}`, given.dtype[side]);
  }
}

/** Whether two shapes are the same. */
export function isSame(a: ShardShape, b: ShardShape): boolean {
  return SIZES.every((name) => a[name] === b[name]) && a.dtype.k === b.dtype.k && a.dtype.v === b.dtype.v;
}

/** Checks that what was restored is the cache of a place of this shape, with at least `length` tokens. */
export function checkRestored(cache: KvCache, shape: ShardShape, length: number): void {
  for (const name of ["numKvHeads", "headDim", "valueDim", "batch", "capacity"] as const) {
    if (cache[name] !== shape[name]) throw wrongValue(`tokens.${name}`, String(shape[name]), cache[name]);
  }
  if (cache.rotary || cache.window !== Infinity) throw wrongValue("tokens", "no rotary and no window", "one of them");
  if (cache.dtype.k !== shape.dtype.k || cache.dtype.v !== shape.dtype.v) {
    throw wrongValue("tokens.dtype", JSON.stringify(shape.dtype), JSON.stringify(cache.dtype));
  }
  if (cache.length < length) throw wrongValue("tokens", `${length} of them, as the record says`, cache.length);
}
