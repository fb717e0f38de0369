/** Uniform numbers of [0, 1), the same for the same seed (mulberry32, T. Ettinger). */
export function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * `length` floats, uniform of mean 0 and variance 1. Bounded, so that no single large score stands for the error of a
 * whole problem.
 */
export function floats(length: number, next: () => number): Float32Array<ArrayBuffer> {
  const numbers = new Float32Array(length);
  for (let n = 0; n < length; n++) numbers[n] = (2 * next() - 1) * Math.sqrt(3);
  return numbers;
}

/** An integer of [low, high]. */
export function integer(low: number, high: number, next: () => number): number {
  return low + Math.floor(next() * (high - low + 1));
}

/** Normal numbers of mean 0 and variance 1 (G. Box, M. Muller). */
export function normals(seed: number): () => number {
  const next = uniform(seed);
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}
