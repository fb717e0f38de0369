// Which tokens a cache keeps where it may not keep all. Each layer has a cache, and decides for itself.
import type { KvCache, Tensor } from "heed";
import type { Eviction } from "../generate/llama.ts";

/** How many tokens StreamingLLM keeps of the beginning (https://arxiv.org/abs/2309.17453). */
export const FIRST_TOKENS = 4;

/** A way to hold caches to `budget` tokens. */
export interface Policy {
  name: string;
  /** The option `window` of the caches. */
  window?(budget: number): number;
  /** What takes tokens out of the caches. */
  eviction?(budget: number, numHeads: number): Eviction;
}

export const FULL: Policy = { name: "full cache" };

export const POLICIES: readonly Policy[] = [
  // The token itself counts too.
  { name: "window", window: (budget) => budget - 1 },
  { name: `first ${FIRST_TOKENS} + window`, eviction: firstAndWindow },
  { name: "heavy hitters + window", eviction: (budget, numHeads) => heavyHitters(budget, numHeads, 1) },
  { name: "fading hitters + window", eviction: (budget, numHeads) => heavyHitters(budget, numHeads, 0.9) },
];

/** StreamingLLM: the first tokens, and the latest. */
function firstAndWindow(budget: number): Eviction {
  return {
    beforeAppend: (cache) => {
      if (cache.length === budget) cache.keep(without(budget, FIRST_TOKENS));
    },
    afterAttention: () => {},
  };
}

/**
 * H2O (https://arxiv.org/abs/2306.14048): half of the budget is for the latest tokens, half for those that have got the
 * most attention since they came, from all heads together. With `fade` 1 all of it counts, as in the paper; with less it
 * counts for less with every token that comes: what weighed much long ago does not stay for ever.
 */
function heavyHitters(budget: number, numHeads: number, fade: number): Eviction {
  /** For each layer the attention that each token in its cache has got, in the order of the cache. */
  const received: number[][] = [];
  return {
    beforeAppend: (cache, layer) => {
      if (cache.length < budget) return;
      const sums = received[layer]!;
      // The token to come is one of the latest.
      const latest = Math.floor(budget / 2) - 1;
      const lightest = leastOf(sums.slice(0, budget - latest));
      cache.keep(without(budget, lightest));
      sums.splice(lightest, 1);
    },
    afterAttention: (cache, layer, q) => {
      const sums = (received[layer] ??= []);
      weightsOf(cache, q, numHeads).forEach((weight, token) => (sums[token] = fade * (sums[token] ?? 0) + weight));
    },
  };
}

/** The attention that each token of a cache gets from the queries of the latest tokens, summed over these and heads. */
export function weightsOf(cache: KvCache, q: Tensor, numHeads: number): number[] {
  const { weights } = cache.attentionWeights(q, { numHeads, causal: true, reduce: "keySum" });
  const { length } = cache;
  return Array.from({ length }, (_, token) => {
    let sum = 0;
    for (let head = 0; head < numHeads; head++) sum += weights[head * length + token]!;
    return sum;
  });
}

/** All tokens of a cache but one. */
function without(length: number, token: number): Int32Array {
  return Int32Array.from({ length: length - 1 }, (_, i) => (i < token ? i : i + 1));
}

function leastOf(values: readonly number[]): number {
  return values.reduce((least, value, i) => (value < values[least]! ? i : least), 0);
}
