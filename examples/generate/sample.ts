/** Takes the next token by its logits. */
export type Sampler = (logits: Float32Array) => number;

/** Temperature 0 takes the likeliest token; else token t with the probability softmax(logits / temperature)[t]. */
export function sampler(temperature: number, seed: number): Sampler {
  if (temperature === 0) return likeliest;
  const next = uniform(seed);
  return (logits) => {
    const top = logits[likeliest(logits)]!;
    const weights = Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
    let left = next() * weights.reduce((sum, weight) => sum + weight, 0);
    const token = weights.findIndex((weight) => (left -= weight) < 0);
    return token < 0 ? likeliest(logits) : token;
  };
}

function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let token = 1; token < logits.length; token++) if (logits[token]! > logits[best]!) best = token;
  return best;
}

/** Uniform numbers of [0, 1), the same for the same seed (mulberry32, T. Ettinger). */
function uniform(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
