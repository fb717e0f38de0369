/** The most that a position of a cache may be, and the least with a minus: all that follow from it are integers of 32 bits. */
export const MAX_POSITION = 2 ** 29;

/** Tokens whose positions follow each other. */
export interface Run {
  /** The position of the first one. */
  readonly position: number;
  readonly count: number;
}

/** The positions of `count` queries that stand at the tokens of sequence `b` from `token` on, run by run. */
export type RunsOf = (b: number, token: number, count: number) => readonly Run[];

/**
 * The positions of the tokens of one sequence, for rotary embedding. They follow each other until others are given, or
 * tokens between them go.
 */
export class TokenPositions {
  /** The position of the first token of a sequence, unless another is given. */
  readonly #first: number;
  /** The position of token 0, as long as the others follow it. */
  #start: number;
  /** The position of each token, once they do not. There may be more than tokens. */
  #list: Int32Array | undefined;

  constructor(first: number) {
    this.#first = first;
    this.#start = first;
  }

  /**
   * The position of a query that stands at token `token` of `length`, or would stand there: before the first token and
   * behind the last one positions go on by ones.
   */
  at(token: number, length: number): number {
    if (length === 0) return this.#first + token;
    if (!this.#list) return this.#start + token;
    const nearest = Math.min(Math.max(token, 0), length - 1);
    return this.#list[nearest]! + token - nearest;
  }

  /** The positions of `count` queries from token `token` on, run by run. */
  runs(token: number, count: number, length: number): Run[] {
    if (!this.#list) return [{ position: this.at(token, length), count }];
    const runs: Run[] = [];
    for (let n = 0; n < count;) {
      const position = this.at(token + n, length);
      let next = n + 1;
      while (next < count && this.at(token + next, length) === position + next - n) next++;
      runs.push({ position, count: next - n });
      n = next;
    }
    return runs;
  }

  /** Takes the positions of `count` tokens that follow the first `length`: `given`, or those that follow. */
  append(length: number, count: number, given: Int32Array | undefined): void {
    const next = this.at(length, length);
    if (length === 0) {
      this.#list = undefined;
      this.#start = given?.[0] ?? next;
    }
    if (!this.#list && (given?.every((position, n) => position === this.#start + length + n) ?? true)) return;
    const list = this.#room(length, length + count);
    for (let n = 0; n < count; n++) list[length + n] = given?.[n] ?? next + n;
  }

  /** Lets token `token`, which comes next, have a position. Those before it will not be asked for. */
  startAt(token: number, position: number): void {
    this.#start = position - token;
    this.#list = undefined;
  }

  /** Keeps those of `tokens`, as the first ones. */
  keep(tokens: Int32Array, length: number): void {
    const kept = tokens.map((token) => this.at(token, length));
    this.#start = kept[0] ?? this.#first;
    this.#list = kept.every((position, n) => position === this.#start + n) ? undefined : kept;
  }

  /** The positions of the first `length` tokens; undefined where they follow each other from the first one on. */
  list(length: number): Int32Array | undefined {
    const list = Int32Array.from({ length }, (_, token) => this.at(token, length));
    return list.every((position, token) => position === this.#first + token) ? undefined : list;
  }

  /** The same positions for one more sequence. */
  share(): TokenPositions {
    const other = new TokenPositions(this.#first);
    other.#start = this.#start;
    other.#list = this.#list?.slice();
    return other;
  }

  /** The list, with room for `count` positions, of which the first `length` are there. */
  #room(length: number, count: number): Int32Array {
    if (this.#list && this.#list.length >= count) return this.#list;
    const list = new Int32Array(Math.max(count, 2 * length));
    if (this.#list) list.set(this.#list.subarray(0, length));
    else for (let token = 0; token < length; token++) list[token] = this.#start + token;
    return (this.#list = list);
  }
}
