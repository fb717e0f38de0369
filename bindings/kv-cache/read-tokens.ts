import { checkInteger, wrongValue } from "../check.ts";
import { PAGE_KEYS } from "../engine/abi.ts";
import type { KvStore } from "./kv-store.ts";
import type { CacheSizes } from "./options.ts";
import type { PageRows } from "./page-layout.ts";
import { readRow } from "./stored-row.ts";

/**
 * K and V of the tokens [from, to) of sequence `b` as floats, [tokens, numKvHeads, dim].
 *
 * @throws RangeError for tokens that are not there, TypeError for the wrong kind
 */
export function readTokens(
  store: KvStore,
  { batch, numKvHeads, headDim, valueDim }: CacheSizes,
  b: number,
  from: number,
  to?: number,
): { k: Float32Array; v: Float32Array } {
  checkInteger("b", b, 0, batch - 1);
  const length = store.lengths[b]!;
  checkInteger("from", from, 0, length);
  const end = to === undefined ? length : checkInteger("to", to, from, length);
  const gone = store.firstToken(b);
  if (from < end && from < gone) throw wrongValue("from", `at least ${gone} (older tokens are gone)`, from);
  const memory = store.instance.arena.buffer;
  const read = (rows: PageRows, dim: number): Float32Array => {
    const out = new Float32Array((end - from) * numKvHeads * dim);
    for (let token = from, at = 0; token < end; token++) {
      const page = store.addressOf(b, token);
      for (let head = 0; head < numKvHeads; head++, at += dim) {
        const row = token % PAGE_KEYS;
        const ptr = page + rows.offset + head * rows.headStride + row * rows.rowStride;
        const scale = rows.scales && page + rows.scales + (head * PAGE_KEYS + row) * 4;
        readRow(memory, rows.type, ptr, scale, out.subarray(at, at + dim));
      }
    }
    return out;
  };
  return { k: read(store.layout.k, headDim), v: read(store.layout.v, valueDim) };
}
