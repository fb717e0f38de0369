import { PAGE_KEYS } from "../engine/abi.ts";

/** The most that a position of a cache may be, and the least with a minus: all that follow from it are integers of 32 bits. */
export const MAX_POSITION = 2 ** 29;

/** Tokens whose positions follow each other, the same on every axis; or any tokens, with `mixed`. */
export interface Run {
  /** The position of the first one. */
  readonly position: number;
  readonly count: number;
  /** [axes, count]: the positions of tokens that stand at different ones on different axes. */
  readonly mixed?: Int32Array;
}

/** Kept tokens, from the n-th on, whose positions change by as much. */
export interface Turn {
  readonly n: number;
  readonly count: number;
  /** [axes]: the position of the first one. */
  readonly from: readonly number[];
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
  /** Axes of a position. */
  readonly #axes: number;
  /** The position of token 0, as long as the others follow it. */
  #start: number;
  /** [tokens, axes]: the position of each token, once they do not. There may be more than tokens. */
  #list: Int32Array | undefined;

  constructor(first: number, axes: number) {
    this.#first = first;
    this.#axes = axes;
    this.#start = first;
  }

  /**
   * The position of a query that stands at token `token` of `length`, or would stand there: before the first token and
   * behind the last one positions go on by ones, there from the largest of its axes.
   */
  at(token: number, length: number, axis = 0): number {
    if (length === 0) return this.#first + token;
    if (!this.#list) return this.#start + token;
    const nearest = Math.min(Math.max(token, 0), length - 1);
    const at = nearest * this.#axes;
    if (token < length) return this.#list[at + axis]! + token - nearest;
    return this.#list.subarray(at, at + this.#axes).reduce((most, one) => Math.max(most, one)) + token - nearest;
  }

  /** The positions of `count` queries from token `token` on, run by run. */
  runs(token: number, count: number, length: number): Run[] {
    if (!this.#list) return [{ position: this.at(token, length), count }];
    const runs: Run[] = [];
    const isMixed = (n: number): boolean => {
      for (let axis = 1; axis < this.#axes; axis++) {
        if (this.at(token + n, length, axis) !== this.at(token + n, length)) return true;
      }
      return false;
    };
    for (let n = 0; n < count;) {
      const position = this.at(token + n, length);
      const mixed = isMixed(n);
      let next = n + 1;
      const follows = (): boolean => mixed || this.at(token + next, length) === position + next - n;
      while (next < count && isMixed(next) === mixed && follows()) next++;
      const run = { position, count: next - n };
      const first = token + n;
      runs.push(mixed ? { ...run, mixed: this.#byAxes(first, next - n, length) } : run);
      n = next;
    }
    return runs;
  }

  /** Takes the positions of `count` tokens that follow the first `length`: `given`, [count, axes], or those that follow. */
  append(length: number, count: number, given: Int32Array | undefined): void {
    const axes = this.#axes;
    const next = this.at(length, length);
    if (length === 0) {
      this.#list = undefined;
      this.#start = given?.[0] ?? next;
    }
    const follows = (position: number, n: number) => position === this.#start + length + Math.floor(n / axes);
    if (!this.#list && (given?.every(follows) ?? true)) return;
    const list = this.#room(length, length + count);
    for (let n = 0; n < count * axes; n++) list[length * axes + n] = given?.[n] ?? next + Math.floor(n / axes);
  }

  /** Lets token `token`, which comes next, have a position. Those before it will not be asked for. */
  startAt(token: number, position: number): void {
    this.#start = position - token;
    this.#list = undefined;
  }

  /** Keeps those of `tokens`, as the first ones. */
  keep(tokens: Int32Array, length: number): void {
    const axes = this.#axes;
    const kept = Int32Array.from({ length: tokens.length * axes }, (_, n) =>
      this.at(tokens[Math.floor(n / axes)]!, length, n % axes),
    );
    this.#start = kept[0] ?? this.#first;
    this.#list = kept.every((position, n) => position === this.#start + Math.floor(n / axes)) ? undefined : kept;
  }

  /** [tokens, axes] of the tokens [from, length); undefined where all follow each other from the first one on. */
  list(from: number, length: number): Int32Array | undefined {
    const axes = this.#axes;
    const list = Int32Array.from({ length: (length - from) * axes }, (_, n) =>
      this.at(from + Math.floor(n / axes), length, n % axes),
    );
    return list.every((position, n) => position === this.#first + from + Math.floor(n / axes)) ? undefined : list;
  }

  /**
   * Of the tokens from the n-th on of `kept`, `count` of them: stretches on one page that have to turn by as much, so that
   * all follow each other from the first position on.
   */
  turns(kept: Int32Array, n: number, count: number, length: number): Turn[] {
    const turns: Turn[] = [];
    const offsetsOf = (at: number): number[] =>
      Array.from({ length: this.#axes }, (_, axis) => this.at(kept[at]!, length, axis) - at);
    for (let at = n; at < n + count;) {
      const offsets = offsetsOf(at);
      const end = Math.min(n + count, (Math.floor(at / PAGE_KEYS) + 1) * PAGE_KEYS);
      let next = at + 1;
      while (next < end && offsetsOf(next).every((one, axis) => one === offsets[axis])) next++;
      const stays = offsets.every((one) => one === this.#first);
      if (!stays) turns.push({ n: at, count: next - at, from: offsets.map((one) => one + at) });
      at = next;
    }
    return turns;
  }

  /** Lets the tokens follow each other from the first position on. */
  reset(): void {
    this.startAt(0, this.#first);
  }

  /** The same positions for one more sequence. */
  share(): TokenPositions {
    const other = new TokenPositions(this.#first, this.#axes);
    other.#start = this.#start;
    other.#list = this.#list?.slice();
    return other;
  }

  /** [axes, count]: the positions from token `token` on. */
  #byAxes(token: number, count: number, length: number): Int32Array {
    return Int32Array.from({ length: this.#axes * count }, (_, n) =>
      this.at(token + (n % count), length, Math.floor(n / count)),
    );
  }

  /** The list, with room for `count` tokens, of which the first `length` are there. */
  #room(length: number, count: number): Int32Array {
    const axes = this.#axes;
    if (this.#list && this.#list.length >= count * axes) return this.#list;
    const list = new Int32Array(Math.max(count, 2 * length) * axes);
    if (this.#list) list.set(this.#list.subarray(0, length * axes));
    else for (let n = 0; n < length * axes; n++) list[n] = this.#start + Math.floor(n / axes);
    return (this.#list = list);
  }
}
