import type { Arena } from "./arena.ts";
import type { CallScope } from "./call-scope.ts";
import { type Floats, floatsOf } from "./data.ts";
import { type Layout, stridesOf } from "./layout.ts";

/**
 * Rows of k or v of all heads on their way to the kernels, some of them at a time: read where they stand in linear memory, or copied to a
 * stage that the scope holds.
 */
export class StagedRows {
  readonly heads: number;
  readonly dim: number;
  /** Head 0 of the first row that was taken, and the bytes from a head and from a row to the next. */
  ptr = 0;
  head = 0;
  row = 0;
  readonly #floats: Floats;
  readonly #layout: Layout;
  readonly #tokens: number;
  /** 0 where nothing is copied. */
  readonly #stage: number;

  /**
   * `floats`: [batch, tokens, heads, dim], or as `layout` says. `most`: how many rows are taken at once. `changes`: they will be written to,
   * so they are copied in any case.
   */
  constructor(
    scope: CallScope,
    floats: Floats,
    layout: Layout,
    tokens: number,
    heads: number,
    dim: number,
    most: number,
    changes = false,
  ) {
    this.heads = heads;
    this.dim = dim;
    this.#floats = floats;
    this.#layout = layout;
    this.#tokens = tokens;
    this.#stage = floats.array || changes ? scope.reserve(most * heads * dim * 4) : 0;
  }

  /** Sets `ptr`, `head` and `row` for `count` rows of sequence `b` from row `first` on. */
  take(arena: Arena, b: number, first: number, count: number): this {
    const of = stridesOf(this.#layout, this.#stage ? count : this.#tokens, this.heads, this.dim);
    this.head = of.head;
    this.row = of.row;
    this.ptr = this.#stage || this.#floats.ptr! + b * of.batch + first * of.row;
    if (this.#stage) this.#copy(arena, b, first, count);
    return this;
  }

  /** Copies these rows to the stage, in the same layout. */
  #copy(arena: Arena, b: number, first: number, count: number): void {
    const [tokens, heads, dim] = [this.#tokens, this.heads, this.dim];
    const array = floatsOf(arena, this.#floats);
    const stage = new Float32Array(arena.buffer, this.#stage, count * heads * dim);
    if (this.#layout === "blhd") {
      const start = (b * tokens + first) * heads * dim;
      stage.set(array.subarray(start, start + stage.length));
      return;
    }
    for (let head = 0; head < heads; head++) {
      const start = ((b * heads + head) * tokens + first) * dim;
      stage.set(array.subarray(start, start + count * dim), head * count * dim);
    }
  }
}
