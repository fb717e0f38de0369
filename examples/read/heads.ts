// Four attention heads built by construction: no training, only codes whose dot products say what we want.
//
//   score(i, j) = q_i · k_j − slope·(i − j)        p(i, j) = exp(score(i, j) − lse_i)        out_i = Σ_j p(i, j) v_j
//
// c(t)  the code of token t: 64 random signs / 8, drawn from t alone. c·c = 1, and c(t)·c(u) is about N(0, 1/64).
// R(n)  the code of position n: cos and sin of n·ω_f for 32 frequencies, / √32. R(m)·R(n) = mean of cos((m − n)·ω_f),
//       which is 1 for m = n. One ω_f stands at random in each 32nd of (0, π): near positions are then almost
//       orthogonal, as with evenly spaced ω, and far ones do not come round again, as with those they would after 64
//       positions.
// β     sharpness. A match scores β, all else about half of that at most, so a match weighs e^(β/2) times as much.
//
//   head             q_i          k_j           slope            reads, in v_j = c(x_j)
//   previous token   β·R(i − 1)   R(j)          0                the token before
//   same token       β·c(x_i)     c(x_j)        0                all occurrences of this token, itself included
//   induction        β·c(x_i)     c(x_{j−1})    ln 2 / 1024      what followed the earlier occurrences, late ones first
//   local            0            0             ln 2 / 4         everything near: half the weight every four tokens
//
// A head that finds nothing should look at nothing. That is what the sink is for: one more logit in the denominator,
// between "match" and "no match"; where no key matches it takes the weight, and the output is almost zero.

export interface Head {
  name: string;
  /** What it does, in a few words. */
  does: string;
}

export const HEADS: readonly Head[] = [
  { name: "previous token", does: "always one step back" },
  { name: "same token", does: "wherever this token occurs" },
  { name: "induction", does: "what followed it last time" },
  { name: "local", does: "ALiBi: nearness alone" },
];
export const PREVIOUS = 0;
export const SAME = 1;
export const INDUCTION = 2;
export const LOCAL = 3;

export const HEAD_DIM = 64;
export const SHARPNESS = 48;
const SINK = 0.8 * SHARPNESS;

/** What one `heed.attention` call needs: q, k, v are [tokens, heads, headDim]. */
export interface Built {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  alibiSlopes: Float32Array;
  sinks: Float32Array;
}

/** The answer of that call: out is [tokens, heads, headDim], lse is [heads, tokens]. */
export interface Answer {
  out: Float32Array;
  lse: Float32Array;
}

/** q, k and v of the four heads for a text. */
export function buildHeads(tokens: readonly number[]): Built {
  const built = makeHeads(tokens.length);
  writeHeads(built, tokens, 0, tokens.length, codeBook(tokens));
  return built;
}

/** Room for the q, k and v of so many tokens. */
export function makeHeads(length: number): Built {
  const size = length * HEADS.length * HEAD_DIM;
  return {
    q: new Float32Array(size),
    k: new Float32Array(size),
    v: new Float32Array(size),
    alibiSlopes: Float32Array.of(0, 0, Math.LN2 / 1024, Math.LN2 / 4),
    // The local head scores 0 at best, and always finds something.
    sinks: Float32Array.of(SINK, SINK, SINK, -SINK),
  };
}

/** The rows of tokens `from` up to, not including, `to`: they depend on no token but their own and the one before. */
export function writeHeads(
  { q, k, v }: Built,
  tokens: readonly number[],
  from: number,
  to: number,
  codes: ReadonlyMap<number, Float32Array>,
): void {
  for (let i = from; i < to; i++) {
    const at = (head: number): number => (i * HEADS.length + head) * HEAD_DIM;
    const code = codes.get(tokens[i]!)!;
    const before = i > 0 ? codes.get(tokens[i - 1]!)! : new Float32Array(HEAD_DIM);
    q.set(times(SHARPNESS, positionCode(i - 1)), at(PREVIOUS));
    k.set(positionCode(i), at(PREVIOUS));
    q.set(times(SHARPNESS, code), at(SAME));
    k.set(code, at(SAME));
    q.set(times(SHARPNESS, code), at(INDUCTION));
    k.set(before, at(INDUCTION));
    for (let head = 0; head < HEADS.length; head++) v.set(code, at(head));
  }
}

/** The weight that query i of a head gave to key j ≤ i, recomputed from q, k and lse: p = exp(score − lse). */
export function weightAt(built: Built, lse: Float32Array, head: number, i: number, j: number): number {
  const qAt = (i * HEADS.length + head) * HEAD_DIM;
  const kAt = (j * HEADS.length + head) * HEAD_DIM;
  let score = -built.alibiSlopes[head]! * (i - j);
  for (let d = 0; d < HEAD_DIM; d++) score += built.q[qAt + d]! * built.k[kAt + d]!;
  return Math.exp(score - lseAt(lse, head, i));
}

/** The weight that went to the sink, to nothing: with the weights of keys 0 … i it makes 1. */
export function sunkAt(built: Pick<Built, "sinks">, lse: Float32Array, head: number, i: number): number {
  return Math.exp(built.sinks[head]! - lseAt(lse, head, i));
}

export function lseAt(lse: Float32Array, head: number, i: number): number {
  return lse[(head * lse.length) / HEADS.length + i]!;
}

/**
 * Reads a head's outputs back into tokens: for each row of the answer the token of the text whose code lies nearest, or
 * undefined where the sink took most of the weight and there is nothing to read. Tells before each row how many are
 * done.
 */
export function readBack(
  tokens: readonly number[],
  built: Pick<Built, "sinks">,
  answer: Answer,
  head: number,
  codes: ReadonlyMap<number, Float32Array> = codeBook(tokens),
  tell?: (done: number) => void,
): (number | undefined)[] {
  const names = [...new Set(tokens)];
  const book = new Float32Array(names.length * HEAD_DIM);
  names.forEach((token, row) => book.set(codes.get(token)!, row * HEAD_DIM));
  return Array.from({ length: answer.lse.length / HEADS.length }, (_, i) => {
    tell?.(i);
    if (sunkAt(built, answer.lse, head, i) > 0.5) return undefined;
    const at = (i * HEADS.length + head) * HEAD_DIM;
    return names[nearestRow(book, answer.out.subarray(at, at + HEAD_DIM))];
  });
}

/** The code of every distinct token. */
function codeBook(tokens: readonly number[]): Map<number, Float32Array> {
  return new Map([...new Set(tokens)].map((token) => [token, tokenCode(token)]));
}

/** c(t): signs from a generator seeded with the token. */
export function tokenCode(token: number): Float32Array {
  const random = mulberry32(token + 1);
  return Float32Array.from({ length: HEAD_DIM }, () => (random() < 0.5 ? -1 : 1) / Math.sqrt(HEAD_DIM));
}

const FREQUENCIES = ((): readonly number[] => {
  const random = mulberry32(0x5ea);
  const count = HEAD_DIM / 2;
  return Array.from({ length: count }, (_, f) => (Math.PI * (f + random())) / count);
})();

/** R(n). */
export function positionCode(n: number): Float32Array {
  const length = Math.sqrt(FREQUENCIES.length);
  return Float32Array.from([
    ...FREQUENCIES.map((w) => Math.cos(n * w) / length),
    ...FREQUENCIES.map((w) => Math.sin(n * w) / length),
  ]);
}

function nearestRow(book: Float32Array, x: Float32Array): number {
  let best = 0;
  let bestDot = -Infinity;
  for (let at = 0; at < book.length; at += HEAD_DIM) {
    // Four sums, because one alone waits for itself at every step.
    let [a, b, c, e] = [0, 0, 0, 0];
    for (let d = 0; d < HEAD_DIM; d += 4) {
      a += book[at + d]! * x[d]!;
      b += book[at + d + 1]! * x[d + 1]!;
      c += book[at + d + 2]! * x[d + 2]!;
      e += book[at + d + 3]! * x[d + 3]!;
    }
    const dot = a + b + c + e;
    if (dot > bestDot) {
      bestDot = dot;
      best = at / HEAD_DIM;
    }
  }
  return best;
}

function times(factor: number, x: Float32Array): Float32Array {
  return x.map((value) => factor * value);
}

/** Tommy Ettinger's mulberry32: uniform in [0, 1). */
function mulberry32(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b9);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}
