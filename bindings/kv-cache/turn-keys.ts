import { PAGE_KEYS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { TYPES } from "../engine/kernels.ts";
import { floatsAt } from "../memory/arena.ts";
import type { CallScope } from "../memory/call-scope.ts";
import type { CacheRotary } from "./cache-rotary.ts";
import type { PageRows } from "./page-layout.ts";
import { readRow } from "./stored-row.ts";

/** Turns stored K from the positions that its tokens have to others, in memory of a call. */
export class KeyTurner {
  readonly #instance: Instance;
  readonly #rotary: CacheRotary;
  readonly #rows: PageRows;
  readonly #sizes: { numKvHeads: number; headDim: number };
  /** One row of cosines and one of sines, and the number of that row, 0, for each token of a page. */
  readonly #angles: number;
  readonly #zeros: number;
  /** [numKvHeads, PAGE_KEYS, headDim]: K as floats, where it is stored otherwise. */
  readonly #stage: number;

  /** @throws RangeError where memory cannot grow */
  constructor(
    scope: CallScope,
    instance: Instance,
    rotary: CacheRotary,
    rows: PageRows,
    { numKvHeads, headDim }: { numKvHeads: number; headDim: number },
  ) {
    this.#instance = instance;
    this.#rotary = rotary;
    this.#rows = rows;
    this.#sizes = { numKvHeads, headDim };
    this.#angles = scope.reserve(rotary.bytesAt(1));
    this.#zeros = scope.integers(new Int32Array(PAGE_KEYS));
    const isStaged = rows.type !== TYPES.f32.number;
    this.#stage = isStaged ? scope.reserve(numKvHeads * PAGE_KEYS * headDim * 4) : 0;
  }

  /**
   * Turns K of `count` tokens, from row `row` on of the page at `page`. `from` are the positions of the first one on
   * each axis, and `to` is the position that it gets on all of them; those of the others follow on either side.
   */
  turn(page: number, row: number, count: number, from: readonly number[], to: number): void {
    const { numKvHeads: heads, headDim: dim } = this.#sizes;
    const { offset, rowStride, headStride } = this.#rows;
    const ptr = page + offset + row * rowStride;
    const stage = this.#stage;
    if (stage) this.#copyIn(page, row, count);
    const x = stage
      ? { ptr: stage, rowStride: dim * 4, headStride: count * dim * 4, heads, dim }
      : { ptr, rowStride, headStride, heads, dim };
    this.#rotary.turn(x, count, from, to, this.#angles, this.#zeros);
    if (stage) this.#copyBack(page, row, count);
  }

  #copyIn(page: number, row: number, count: number): void {
    const { numKvHeads, headDim } = this.#sizes;
    const { arena } = this.#instance;
    const floats = floatsAt(arena, this.#stage, numKvHeads * count * headDim);
    for (let n = 0; n < numKvHeads * count; n++) {
      const [ptr, scale] = this.#placeOf(page, Math.floor(n / count), row + (n % count));
      readRow(arena.buffer, this.#rows.type, ptr, scale, floats.subarray(n * headDim, (n + 1) * headDim));
    }
  }

  #copyBack(page: number, row: number, count: number): void {
    const { numKvHeads, headDim } = this.#sizes;
    const { rowStride, type } = this.#rows;
    const rowBytes = headDim * 4;
    for (let head = 0; head < numKvHeads; head++) {
      const [ptr, scale] = this.#placeOf(page, head, row);
      const from = this.#stage + head * count * rowBytes;
      this.#instance.kernels.storeRows(ptr, scale, from, count, headDim, rowStride, rowBytes, type);
    }
  }

  /** The addresses of a row of K and of its scale, or 0. */
  #placeOf(page: number, head: number, row: number): [number, number] {
    const { offset, rowStride, headStride, scales } = this.#rows;
    const scale = scales && page + scales + (head * PAGE_KEYS + row) * 4;
    return [page + offset + head * headStride + row * rowStride, scale];
  }
}
