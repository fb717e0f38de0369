// The same text once more as a model that writes would meet it: one token at a time, its key and value appended to a KV
// cache.
import type { Heed } from "heed";
import { type Built, HEAD_DIM, HEADS } from "./heads.ts";

/** What the replay took, and how far its output is from that of the one call. */
export interface Replay {
  tokens: number;
  seconds: number;
  cacheBytes: number;
  /** The largest difference of any float of out. */
  difference: number;
}

/** A longer text is replayed up to here: the work grows with the square. */
const MOST_TOKENS = 4096;

/**
 * Feeds the text to a cache token by token, and compares with `out`, [tokens, heads, HEAD_DIM], of the one call. Tells
 * after each token how many are done.
 */
export function replay(heed: Heed, built: Built, out: Float32Array, tell: (done: number, all: number) => void): Replay {
  const { q, k, v, alibiSlopes, sinks } = built;
  const row = HEADS.length * HEAD_DIM;
  const tokens = Math.min(out.length / row, MOST_TOKENS);
  const cache = heed.createKvCache({ numKvHeads: HEADS.length, headDim: HEAD_DIM, capacity: tokens });
  const options = { numHeads: HEADS.length, scale: 1, causal: true, alibiSlopes, sinks };
  let difference = 0;
  let seconds = 0;
  for (let start = 0; start < tokens * row; start += row) {
    const end = start + row;
    const before = performance.now();
    cache.append(k.subarray(start, end), v.subarray(start, end));
    const step = cache.attention(q.subarray(start, end), options).out;
    seconds += (performance.now() - before) / 1000;
    step.forEach((value, i) => (difference = Math.max(difference, Math.abs(value - out[start + i]!))));
    tell(end / row, tokens);
  }
  const cacheBytes = cache.bytes;
  cache.dispose();
  return { tokens, seconds, cacheBytes, difference };
}
