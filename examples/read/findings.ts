// What there is to say about an answer: numbers and choices, nothing of how they are shown.
import {
  type Answer,
  type Built,
  HEAD_DIM,
  HEADS,
  INDUCTION,
  PREVIOUS,
  readBack,
  sunkAt,
  tokenCode,
  weightAt,
} from "./heads.ts";

/** A text after attention. */
export interface Attended {
  tokens: readonly number[];
  labels: string[];
  built: Built;
  answer: Answer;
  /** guesses[i]: the induction head's word for token i + 1, undefined where it has none. */
  guesses: (number | undefined)[];
}

/** How many guesses were possible, made and right. */
export interface Score {
  possible: number;
  made: number;
  right: number;
}

/** A query that looked at a key, and how hard. */
export interface Look {
  from: number;
  to: number;
  weight: number;
}

/** Reads the induction head's guesses out of an answer. Tells before each token how many are done. */
export function attended(
  tokens: readonly number[],
  labels: string[],
  built: Built,
  answer: Answer,
  tell?: (done: number) => void,
): Attended {
  return { tokens, labels, built, answer, guesses: readBack(tokens, built, answer, INDUCTION, undefined, tell) };
}

/**
 * Whether the induction head standing on token i foretold token i + 1; undefined where it said nothing or nothing
 * follows.
 */
export function guessedRight({ tokens, guesses }: Attended, i: number): boolean | undefined {
  if (guesses[i] === undefined || i + 1 >= tokens.length) return undefined;
  return guesses[i] === tokens[i + 1];
}

/** The score over the tokens from `start` up to, not including, `end`. */
export function scoreOf(text: Attended, start: number, end: number): Score {
  const score = { possible: 0, made: 0, right: 0 };
  for (let i = start; i < Math.min(end, text.tokens.length - 1); i++) {
    const right = guessedRight(text, i);
    score.possible++;
    if (right !== undefined) score.made++;
    if (right) score.right++;
  }
  return score;
}

/** How often "the commonest token so far" would have been right: what a guess is worth that looks at nothing. */
export function commonestTokenRight(tokens: readonly number[]): number {
  const counts = new Map<number, number>();
  let commonest: number | undefined;
  let right = 0;
  for (const token of tokens) {
    if (token === commonest) right++;
    const count = (counts.get(token) ?? 0) + 1;
    counts.set(token, count);
    if (commonest === undefined || count > counts.get(commonest)!) commonest = token;
  }
  return right;
}

/**
 * How many outputs of the previous-token head are the code of the token before, to 0.001: all but the first should be.
 */
export function previousTokenRight({ tokens, answer }: Attended): number {
  return tokens.filter((_, i) => {
    if (i === 0) return false;
    const at = (i * HEADS.length + PREVIOUS) * HEAD_DIM;
    return tokenCode(tokens[i - 1]!).every((value, d) => Math.abs(answer.out[at + d]! - value) < 1e-3);
  }).length;
}

/**
 * Where to show `size` tokens: the window where the induction head looks hardest at earlier tokens of the same window
 * and guesses right, at the start of a sentence if that costs little.
 */
export function bestWindow(text: Attended, size: number): number {
  const { tokens, labels } = text;
  const lastStart = Math.max(0, tokens.length - size);
  // Each link adds its worth to all windows that hold both of its ends, as a difference of running sums.
  const change = new Float64Array(tokens.length + 1);
  const lastAfter = new Map<string, number>();
  for (let i = 0; i + 1 < tokens.length; i++) {
    const pair = `${tokens[i]!},${tokens[i + 1]!}`;
    const earlier = lastAfter.get(pair);
    lastAfter.set(pair, i);
    if (!guessedRight(text, i) || earlier === undefined || i + 2 - earlier > size) continue;
    // A link between words shows more than one between a comma and what follows it.
    const isWord = /^\s?\p{L}/u.test(labels[i]!);
    const worth = weightAt(text.built, text.answer.lse, INDUCTION, i, earlier + 1) * (isWord ? 1 : 0.25);
    change[Math.max(0, i + 2 - size)]! += worth;
    change[earlier + 1]! -= worth;
  }
  let [best, bestWorth, links] = [0, -Infinity, 0];
  for (let start = 0; start <= lastStart; start++) {
    links += change[start]!;
    const opensSentence = start === 0 || (/[.!?⏎;]["”’)]*$/u.test(labels[start - 1]!) && /\p{L}/u.test(labels[start]!));
    const worth = links + (opensSentence ? 0.5 : 0);
    if (worth > bestWorth) [best, bestWorth] = [start, worth];
  }
  return best;
}

/** Weights [row][column ≤ row] of a head among the tokens of a window, each row recomputed from q, k and lse. */
export function windowWeights({ built, answer }: Attended, head: number, start: number, size: number): number[][] {
  return Array.from({ length: size }, (_, row) => {
    const i = start + row;
    return Array.from({ length: row + 1 }, (_, column) => weightAt(built, answer.lse, head, i, start + column));
  });
}

/** The induction head's strongest looks inside a window, right guesses first. */
export function strongestLooks(text: Attended, start: number, size: number, count: number): Look[] {
  const looks: Look[] = [];
  for (const [row, weights] of windowWeights(text, INDUCTION, start, size).entries()) {
    const weight = Math.max(...weights);
    if (weight >= 0.2) looks.push({ from: row, to: weights.indexOf(weight), weight });
  }
  const worth = ({ from, weight }: Look): number => weight + (guessedRight(text, start + from) ? 1 : 0);
  return looks.sort((a, b) => worth(b) - worth(a)).slice(0, count);
}

/** Up to three tokens of a window to put in words: one guessed rightly from, one wrongly, one new to the head. */
export function tellingTokens(text: Attended, start: number, size: number): number[] {
  const indices = Array.from({ length: size }, (_, i) => start + i);
  const right = strongestLooks(text, start, size, size)
    .map(({ from }) => start + from)
    .find((i) => guessedRight(text, i));
  const isWord = (i: number): boolean => /\p{L}/u.test(text.labels[i]!);
  const wrong = indices.filter((i) => isWord(i) && guessedRight(text, i) === false).at(-1);
  const unseen = indices.filter((i) => isWord(i) && text.guesses[i] === undefined).at(-1);
  const chosen = [right, wrong, unseen].filter((i) => i !== undefined);
  return chosen.length > 0 ? chosen : [start + size - 1];
}

/**
 * What a query of a head looked at, by token: `places` keys that are that token, together `weight`; the nearest is
 * `back` before it.
 */
export interface Seen {
  token: number;
  weight: number;
  places: number;
  back: number;
}

/** Everything a query gave a share of at least 2 % to, the largest first, and the share that went to the sink. */
export function lookedAt(text: Attended, head: number, i: number): { seen: Seen[]; sunk: number } {
  const { built, answer } = text;
  const byToken = new Map<number, Seen>();
  for (let j = i; j >= 0; j--) {
    const weight = weightAt(built, answer.lse, head, i, j);
    if (weight < 1e-4) continue;
    const token = text.tokens[j]!;
    const seen = byToken.get(token) ?? { token, weight: 0, places: 0, back: i - j };
    seen.weight += weight;
    seen.places++;
    byToken.set(token, seen);
  }
  const seen = [...byToken.values()].filter(({ weight }) => weight >= 0.02).sort((a, b) => b.weight - a.weight);
  return { seen, sunk: sunkAt(built, answer.lse, head, i) };
}

/**
 * Floating-point operations of the call: two products of a row by headDim for each pair that the causal mask lets
 * through.
 */
export function flopOf(tokens: number, headDim: number): number {
  return (4 * HEADS.length * tokens * tokens * headDim) / 2;
}
