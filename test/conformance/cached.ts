import type { Heed } from "../../bindings/heed.ts";
import type { KvCache } from "../../bindings/kv-cache/kv-cache.ts";
import type { CacheAttentionOptions } from "../../bindings/kv-cache/options.ts";
import type { AttentionOptions } from "../../bindings/attention/options.ts";
import type { HalfArray } from "../../bindings/memory/data.ts";
import type { Dtype } from "../support/kv-model.ts";

/**
 * `heed.attention` and `attentionWeights` by way of a KvCache to which the first `past` keys are appended before the
 * others.
 */
export function throughCache(heed: Heed, past: number, dtype: Dtype): Heed {
  const cached = <Result>(
    k: Rows,
    v: Rows,
    options: AttentionOptions,
    call: (cache: KvCache, options: CacheAttentionOptions) => Result,
  ) => {
    const { numHeads, numKvHeads = numHeads, headDim, valueDim = headDim, batch = 1, ...rest } = options;
    const { layout = "blhd", kvLengths, keepMask, bias, ...more } = rest;
    const keys = dataOf(k).length / (batch * numKvHeads * headDim);
    using cache = heed.createKvCache({ numKvHeads, headDim, valueDim, capacity: keys, batch, dtype });
    const lengths = kvLengths ?? new Int32Array(batch).fill(keys);
    for (const [from, to] of [
      [0, past],
      [past, keys],
    ] as const) {
      const rows = (of: Rows): Rows => {
        const data = rowsOf(dataOf(of), batch, numKvHeads, keys, layout, from, to);
        return data instanceof Float32Array ? data : { data, dtype: (of as HalfArray).dtype };
      };
      const counts = lengths.map((length) => Math.min(Math.max(length - from, 0), to - from));
      cache.append(rows(k), rows(v), { layout, lengths: counts });
    }
    const { length } = cache;
    return call(cache, {
      ...more,
      numHeads,
      layout,
      ...(keepMask && { keepMask: { ...keepMask, ...cropped(keepMask, keys, length) } }),
      ...(bias && { bias: { ...bias, ...cropped(bias as { data: Float32Array; shape: number[] }, keys, length) } }),
    });
  };
  const attention = (q: Rows, k: Rows, v: Rows, options: AttentionOptions) =>
    cached(k, v, options, (cache, rest) => cache.attention(q, rest));
  const attentionWeights = (q: Rows, k: Rows, options: AttentionOptions) =>
    cached(k, k, { ...options, valueDim: options.headDim }, (cache, rest) =>
      cache.attentionWeights(q, { ...rest, lse: undefined }),
    );
  return { attention, attentionWeights } as unknown as Heed;
}

type Rows = Float32Array | HalfArray;
type Elements = Float32Array | Uint16Array;

const dataOf = (rows: Rows): Elements => (rows instanceof Float32Array ? rows : (rows.data as Uint16Array));

/** Rows `from` … `to` of every head, in the same layout. */
function rowsOf(
  all: Elements,
  batch: number,
  heads: number,
  keys: number,
  layout: "blhd" | "bhld",
  from: number,
  to: number,
): Elements {
  const outer = layout === "blhd" ? batch : batch * heads;
  const row = all.length / (outer * keys);
  const taken = new (all.constructor as Float32ArrayConstructor)(outer * (to - from) * row);
  for (let n = 0; n < outer; n++) {
    taken.set(all.subarray((n * keys + from) * row, (n * keys + to) * row), n * (to - from) * row);
  }
  return taken;
}

/** An array over the scores without the keys that no sequence has. */
function cropped<Data extends Float32Array | Uint8Array>(
  { data, shape }: { data: Data; shape: readonly number[] },
  keys: number,
  length: number,
): { data: Data; shape: readonly number[] } {
  if (shape.at(-1) !== keys || keys === 1) return { data, shape };
  return { data: data.filter((_, at) => at % keys < length) as Data, shape: [...shape.slice(0, -1), length] };
}
