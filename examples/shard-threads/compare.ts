// A cache that is cut over places beside one that is not, token by token.
import type { KvCache } from "heed";
import type { ShardedCache } from "heed/shard";

/** The heads of both caches. */
export interface Heads {
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
}

/** Rows of some tokens from a position on, [tokens, width], of variance 1, the same at each run. */
export function rows(tokens: number, width: number, position: number, seed: number): Float32Array {
  return Float32Array.from({ length: tokens * width }, (_, i) => {
    const n = Math.imul(position * width + i + 1, 0x9e3779b1) ^ Math.imul(seed, 0x85ebca6b);
    const mixed = Math.imul(n ^ (n >>> 15), 0x2c1b3c6d);
    return (((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 31 - 1) * Math.sqrt(3);
  });
}

/** K and V of some tokens. */
export function keysAndValues(tokens: number, { numKvHeads, headDim }: Heads, position: number) {
  const of = (seed: number) => rows(tokens, numKvHeads * headDim, position, seed);
  return [of(1), of(2)] as const;
}

/**
 * Appends `tokens` tokens to both, one by one, each of which attends to all.
 *
 * @param halfWay called when half of them are there, with how many
 * @returns milliseconds a token, both caches together, and the largest differences of out and of lse, as a line of text
 */
export async function compare(
  cache: ShardedCache,
  whole: KvCache,
  heads: Heads,
  tokens: number,
  halfWay: (done: number) => void | Promise<void>,
): Promise<{ ms: number; differences: string }> {
  const { numHeads, headDim } = heads;
  const worst = { out: 0, lse: 0 };
  const start = performance.now();
  for (let n = 0; n < tokens; n++) {
    if (n === tokens >> 1) await halfWay(n);
    const position = whole.length;
    const [k, v] = keysAndValues(1, heads, position);
    const q = rows(1, numHeads * headDim, position, 3);
    await cache.append(k, v);
    const got = await cache.attention(q, { numHeads, causal: true });
    whole.append(k, v);
    const expected = whole.attention(q, { numHeads, causal: true, lse: true });
    for (const name of ["out", "lse"] as const) {
      worst[name] = Math.max(worst[name], difference(got[name], expected[name]));
    }
  }
  const [out, lse] = [worst.out.toExponential(1), worst.lse.toExponential(1)];
  return {
    ms: (performance.now() - start) / tokens,
    differences: `largest difference from one cache: out ${out}, lse ${lse}`,
  };
}

function difference(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);
}
