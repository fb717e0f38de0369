// What the page shows, computed by heed: the weights of a passage of a text that is being edited.
import type { Heed } from "heed";
import {
  type Answer,
  type Built,
  HEAD_DIM,
  HEADS,
  INDUCTION,
  makeHeads,
  readBack,
  sunkAt,
  tokenCode,
  writeHeads,
} from "../read/heads.ts";

/** Called between slices of work. It yields to the page after a long one, and throws once the result is not wanted. */
export type Breathe = () => Promise<void>;

/** `size` tokens from token `start` on, and what attention over the text up to their last gave. */
export interface Passage {
  start: number;
  size: number;
  /** out [size, heads, HEAD_DIM] and lse [heads, size]. */
  answer: Answer;
}

/** One head on a passage. With `sunk` and `earlier` a row of `weights` sums to 1. */
export interface HeadWeights {
  /** [size, size]: how much each token of the passage looks at each; 0 above the diagonal. */
  weights: Float32Array;
  /** [size]: what went to keys before the passage. */
  earlier: Float32Array;
  /** [size]: what went to the sink, to nothing. */
  sunk: Float32Array;
  /** [size], nats. */
  entropy: Float32Array;
}

/** The keys that one query of one head looks at most, of the whole text. */
export interface Top {
  keys: number[];
  weights: number[];
  sunk: number;
}

const ROW = HEADS.length * HEAD_DIM;
/** Rows of q, k and v that are written at a stretch: about a millisecond. */
const ROWS_AT_A_STRETCH = 128;
/** Weights that one call returns at most: a few milliseconds, whatever the length of the text. */
const WEIGHTS_AT_A_STRETCH = 1 << 19;

/** The text as q, k and v, kept from edit to edit. */
export class Reading {
  readonly #heed: Heed;
  readonly #codes = new Map<number, Float32Array>();
  #built: Built = makeHeads(0);
  /** The tokens whose rows are written. */
  #tokens: number[] = [];

  /** How long heed took for the passage and what was asked of it since. */
  milliseconds = 0;

  constructor(heed: Heed) {
    this.#heed = heed;
  }

  /** Runs attention for the tokens `start` … `end` − 1. What follows them is not looked at, and so not computed. */
  async attend(tokens: readonly number[], start: number, end: number, breathe: Breathe): Promise<Passage> {
    await this.#write(tokens, end, breathe);
    const { q, k, v } = this.#rows(start, end);
    this.milliseconds = 0;
    const { out, lse } = this.#time(() => this.#heed.attention(q, k, v, { ...this.#options(), lse: true }));
    await breathe();
    return { start, size: end - start, answer: { out, lse } };
  }

  /** The weights of one head. */
  async weigh({ start, size, answer }: Passage, head: number, breathe: Breathe): Promise<HeadWeights> {
    const end = start + size;
    const [earlier, entropy] = [new Float32Array(size), new Float32Array(size)];
    const weights = new Float32Array(size * size);
    const { q, k } = this.#rows(start, end);
    for (const rows of stretches(size, end)) {
      const options = { ...this.#options(), lse: answer.lse, heads: [head], rows, entropy: true } as const;
      const part = this.#time(() => this.#heed.attentionWeights(q, k, options));
      rows.forEach((row, nth) => {
        const keys = part.weights.subarray(nth * end, (nth + 1) * end);
        weights.set(keys.subarray(start), row * size);
        earlier[row] = keys.subarray(0, start).reduce((sum, weight) => sum + weight, 0);
        entropy[row] = part.entropy[nth]!;
      });
      await breathe();
    }
    const sunk = Float32Array.from({ length: size }, (_, row) => sunkAt(this.#built, answer.lse, head, row));
    return { weights, earlier, sunk, entropy };
  }

  /** [size]: how much the tokens of the passage look at each of them, all queries together. */
  async importance({ start, size, answer }: Passage, head: number, breathe: Breathe): Promise<Float32Array> {
    const end = start + size;
    const sum = new Float32Array(size);
    const { q, k } = this.#rows(start, end);
    for (const rows of stretches(size, end)) {
      const options = { ...this.#options(), lse: answer.lse, heads: [head], rows, reduce: "keySum" } as const;
      const { weights } = this.#time(() => this.#heed.attentionWeights(q, k, options));
      for (let key = 0; key < size; key++) sum[key]! += weights[start + key]!;
      await breathe();
    }
    return sum;
  }

  /** The `count` keys that a token of the passage looks at most in each head. */
  top({ start, answer }: Passage, token: number, count: number): Top[] {
    const { q, k } = this.#rows(token, token + 1);
    const { weights, indices } = this.#heed.attentionWeights(q, k, { ...this.#options(), topK: count });
    const width = weights.length / HEADS.length;
    return HEADS.map((_, head) => ({
      keys: Array.from(indices.subarray(head * width, (head + 1) * width)),
      weights: Array.from(weights.subarray(head * width, (head + 1) * width)),
      sunk: sunkAt(this.#built, answer.lse, head, token - start),
    }));
  }

  /** For each token of the passage the induction head's word for the next one, undefined where it has none. */
  async guesses(passage: Passage, breathe: Breathe): Promise<(number | undefined)[]> {
    const { start, size, answer } = passage;
    const tokens = this.#tokens.slice(0, start + size);
    const guesses: (number | undefined)[] = [];
    for (const rows of stretches(size, 8 * tokens.length)) {
      const [from, to] = [rows[0]!, rows.at(-1)! + 1];
      const lse = Float32Array.from({ length: HEADS.length * rows.length }, (_, i) => {
        const head = Math.floor(i / rows.length);
        return answer.lse[head * size + from + (i % rows.length)]!;
      });
      const part = { out: answer.out.subarray(from * ROW, to * ROW), lse };
      guesses.push(...readBack(tokens, this.#built, part, INDUCTION, this.#codes));
      await breathe();
    }
    return guesses;
  }

  /** Brings the rows of the first `end` tokens up to date: those from the first change on. */
  async #write(tokens: readonly number[], end: number, breathe: Breathe): Promise<void> {
    let from = 0;
    while (from < this.#tokens.length && from < end && this.#tokens[from] === tokens[from]) from++;
    if (end * ROW > this.#built.q.length) {
      const grown = makeHeads(Math.max(end, 2 * (this.#built.q.length / ROW)));
      for (const name of ["q", "k", "v"] as const) grown[name].set(this.#built[name].subarray(0, from * ROW));
      this.#built = grown;
    }
    // What follows a change stands on other tokens: it is written anew when it is next asked for.
    if (from < end) this.#tokens.length = from;
    while (from < end) {
      const to = Math.min(from + ROWS_AT_A_STRETCH, end);
      for (let i = from; i < to; i++) {
        const token = tokens[i]!;
        if (!this.#codes.has(token)) this.#codes.set(token, tokenCode(token));
      }
      writeHeads(this.#built, tokens, from, to, this.#codes);
      this.#tokens.push(...tokens.slice(from, to));
      from = to;
      await breathe();
    }
  }

  /** The queries `from` … `to` − 1 and the keys up to them: bottom-right, as heed aligns them by itself. */
  #rows(from: number, to: number): Pick<Built, "q" | "k" | "v"> {
    const { q, k, v } = this.#built;
    return { q: q.subarray(from * ROW, to * ROW), k: k.subarray(0, to * ROW), v: v.subarray(0, to * ROW) };
  }

  #time<T>(call: () => T): T {
    const began = performance.now();
    const result = call();
    this.milliseconds += performance.now() - began;
    return result;
  }

  #options() {
    const { alibiSlopes, sinks } = this.#built;
    return { numHeads: HEADS.length, headDim: HEAD_DIM, scale: 1, causal: true, alibiSlopes, sinks };
  }
}

/** The numbers 0 … size − 1 in groups that cost about the same, for a cost of `each` a row. */
function* stretches(size: number, each: number): Generator<number[]> {
  const rows = Math.max(1, Math.floor(WEIGHTS_AT_A_STRETCH / each));
  for (let from = 0; from < size; from += rows) {
    yield Array.from({ length: Math.min(rows, size - from) }, (_, nth) => from + nth);
  }
}

/**
 * The row of [size, size] weights that puts the most on one token. A row counts more where that token is the one that
 * comes next. Of equal rows it is the last.
 */
export function tellingRow(weights: Float32Array, tokens: number[]): number {
  const size = tokens.length;
  return greatest([...Array(size).keys()].reverse(), (row) => {
    const looks = weights.subarray(row * size, (row + 1) * size);
    const most = Math.max(...looks);
    const foretells = row + 1 < size && tokens[looks.indexOf(most)] === tokens[row + 1];
    return Math.round(100 * most) + (foretells ? 50 : 0);
  });
}

/** The first of the items with the greatest worth. */
export function greatest(items: number[], worth: (item: number) => number): number {
  return items.reduce((best, item) => (worth(item) > worth(best) ? item : best));
}
