/** Sizes of the attention that is split. */
export interface Sizes {
  numHeads: number;
  headDim: number;
  queries: number;
  keys: number;
}

/** One attention, its arrays in memory that threads share. */
export interface Problem extends Sizes {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  sinks: Float32Array;
}

export function makeProblem(sizes: Sizes): Problem {
  const { numHeads, headDim, queries, keys } = sizes;
  const row = numHeads * headDim;
  const next = uniform(7);
  return {
    ...sizes,
    q: shared(queries * row, next),
    k: shared(keys * row, next),
    v: shared(keys * row, next),
    sinks: shared(numHeads, next),
  };
}

/**
 * Options of attention over the keys from `from` on. The last query stands at the last key of all. Sinks are left out.
 */
export function optionsFrom({ numHeads, headDim, queries, keys }: Sizes, from: number) {
  return { numHeads, headDim, causal: true, queryOffset: keys - queries - from, lse: true } as const;
}

/** Uniform floats of variance 1. */
function shared(length: number, next: () => number): Float32Array {
  const floats = new Float32Array(new SharedArrayBuffer(length * 4));
  for (let i = 0; i < length; i++) floats[i] = (2 * next() - 1) * Math.sqrt(3);
  return floats;
}

/** Numbers of [0, 1), the same for the same seed (mulberry32). */
function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
