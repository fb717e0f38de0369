// What a layer needs of a KV cache, and a stand-in that copies all of it at every call.

import type { Heed } from "heed";
import { InputError } from "./input.ts";

export type Dtype = "f32" | "f16" | "int8";

export const DTYPES: readonly Dtype[] = ["f32", "f16", "int8"];

export interface KvCacheOptions {
  numKvHeads: number;
  headDim: number;
  /** Positions. */
  capacity: number;
  dtype: Dtype;
}

export interface KvCache {
  /** Positions that are filled. */
  readonly length: number;
  readonly bytes: number;
  /** k, v [newTokens, numKvHeads, headDim] */
  append(k: Float32Array, v: Float32Array): void;
  /** q [newTokens, numHeads, headDim], of the last positions. */
  attention(q: Float32Array, options: { numHeads: number; causal: boolean }): { out: Float32Array };
  dispose(): void;
}

export function createKvCache(heed: Heed, { numKvHeads, headDim, capacity, dtype }: KvCacheOptions): KvCache {
  if (dtype !== "f32") throw new InputError(`there is no KV cache of ${dtype} yet`);
  const row = numKvHeads * headDim;
  const keys = new Float32Array(capacity * row);
  const values = new Float32Array(capacity * row);
  let length = 0;
  return {
    get length() {
      return length;
    },
    bytes: keys.byteLength + values.byteLength,
    append(k, v) {
      keys.set(k, length * row);
      values.set(v, length * row);
      length += k.length / row;
    },
    attention(q, options) {
      const [k, v] = [keys.subarray(0, length * row), values.subarray(0, length * row)];
      return heed.attention(q, k, v, { ...options, numKvHeads, headDim });
    },
    dispose() {
      length = 0;
    },
  };
}
