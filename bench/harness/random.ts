/** Floats in ordinary memory. */
export type Floats = Float32Array<ArrayBuffer>;

/** A small seeded generator of numbers in [0, 1) (mulberry32, Tommy Ettinger). */
export function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Uniform floats with a mean of 0. */
export function uniform(length: number, random: () => number, variance = 1): Floats {
  const values = new Float32Array(length);
  const bound = Math.sqrt(3 * variance);
  for (let i = 0; i < length; i++) values[i] = (random() * 2 - 1) * bound;
  return values;
}
