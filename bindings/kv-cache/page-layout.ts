import { PAGE_KEYS } from "../engine/abi.ts";
import { TYPES } from "../engine/kernels.ts";
import { wrongValue } from "../check.ts";
import { MAX_MEMORY } from "../limits.ts";

/**
 * How K or V is stored. "f16" is IEEE binary16; "int8" is one byte a value, with one f32 scale for each head and token.
 *
 * @category KV cache
 */
export type Dtype = keyof typeof TYPES;

/** What the layout of a page depends on. */
interface PageSizes {
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly dtype: Readonly<{ k: Dtype; v: Dtype }>;
}

/**
 * Where K, or V, lies in a page, and in which stored type. Offsets are bytes from the start of the page, strides are
 * bytes.
 */
export interface PageRows {
  /** The number of the stored type, as the kernels have it. */
  type: number;
  /** From one token's row of a head to the next: the row, rounded up to whole eights of values. */
  rowStride: number;
  /** The bytes of a row that have values, or zeros. */
  usedBytes: number;
  /** From one head to the next: PAGE_KEYS rows. */
  headStride: number;
  /** Where head 0 starts. */
  offset: number;
  /** Where the scales of head 0 start, [PAGE_KEYS] f32 for each head; 0 where the type has no scales. */
  scales: number;
}

/** The layout of a page of PAGE_KEYS tokens: K of every head, V of every head, the scales of K, the scales of V. */
export class PageLayout {
  readonly k: PageRows;
  readonly v: PageRows;
  /** Bytes of a page. */
  readonly bytes: number;
  readonly #heads: number;
  #parts: readonly PagePart[] | undefined;

  /** @throws RangeError where no memory can hold a page */
  constructor({ numKvHeads, headDim, valueDim, dtype }: PageSizes) {
    let end = 0;
    const placeBehind = (bytes: number): number => (end += bytes) - bytes;
    const place = (type: Dtype, dim: number): PageRows => {
      const rowStride = Math.ceil(dim / 8) * 8 * TYPES[type].bytes;
      // f16 and int8 are stored with zeros behind the values.
      const usedBytes = type === "f32" ? dim * 4 : rowStride;
      const headStride = rowStride * PAGE_KEYS;
      const offset = placeBehind(numKvHeads * headStride);
      return { type: TYPES[type].number, rowStride, usedBytes, headStride, offset, scales: 0 };
    };
    this.k = place(dtype.k, headDim);
    this.v = place(dtype.v, valueDim);
    for (const name of ["k", "v"] as const) {
      if (dtype[name] === "int8") this[name].scales = placeBehind(numKvHeads * PAGE_KEYS * 4);
    }
    this.bytes = end;
    this.#heads = numKvHeads;
    const most = Math.floor(MAX_MEMORY / (end / numKvHeads));
    if (numKvHeads > most) {
      throw wrongValue("numKvHeads", `at most ${most} (a page of ${PAGE_KEYS} tokens in 4 GiB)`, numKvHeads);
    }
  }

  /** The stretches of a page, in their order; together they are the page. */
  get parts(): readonly PagePart[] {
    if (this.#parts) return this.#parts;
    const parts: PagePart[] = [];
    const add = (start: number, rowBytes: number, usedBytes: number) => {
      for (let head = 0; head < this.#heads; head++) {
        parts.push({ start: start + head * PAGE_KEYS * rowBytes, rowBytes, usedBytes });
      }
    };
    for (const { offset, rowStride, usedBytes } of [this.k, this.v]) add(offset, rowStride, usedBytes);
    for (const { scales } of [this.k, this.v]) if (scales) add(scales, 4, 4);
    return (this.#parts = parts);
  }

  /** Bytes of one token. */
  get tokenBytes(): number {
    return this.bytes / PAGE_KEYS;
  }

  /**
   * Copies the rows of `count` tokens, from row `row` on of the page at `page`, to `to` from byte `at` on: part by part,
   * with zeros where a row has no values.
   */
  readRows(memory: Uint8Array, page: number, row: number, count: number, to: Uint8Array, at: number): void {
    for (const { start, rowBytes, usedBytes } of this.parts) {
      const from = page + start + row * rowBytes;
      to.set(memory.subarray(from, from + count * rowBytes), at);
      const end = at + count * rowBytes;
      for (; at < end && usedBytes < rowBytes; at += rowBytes) to.fill(0, at + usedBytes, at + rowBytes);
      at = end;
    }
  }

  /**
   * The reverse of {@link readRows}, for the first `kept` of the `count` tokens whose rows stand from byte `at` of `from`
   * on.
   */
  writeRows(
    memory: Uint8Array,
    page: number,
    row: number,
    kept: number,
    from: Uint8Array,
    at: number,
    count: number,
  ): void {
    for (const { start, rowBytes } of this.parts) {
      memory.set(from.subarray(at, at + kept * rowBytes), page + start + row * rowBytes);
      at += count * rowBytes;
    }
  }

  /**
   * Copies the rows of `count` tokens, from row `fromRow` on of the page at `from`, to the rows from `toRow` on of the
   * page at `to`, which may be the same page.
   */
  copyRows(memory: Uint8Array, to: number, toRow: number, from: number, fromRow: number, count: number): void {
    if (count === PAGE_KEYS) {
      memory.copyWithin(to, from, from + this.bytes);
      return;
    }
    for (const { start, rowBytes } of this.parts) {
      const source = from + start + fromRow * rowBytes;
      memory.copyWithin(to + start + toRow * rowBytes, source, source + count * rowBytes);
    }
  }
}

/** The rows of one head in a page, or their scales: PAGE_KEYS of `rowBytes` bytes, `start` bytes behind the page's start. */
interface PagePart {
  readonly start: number;
  readonly rowBytes: number;
  /** How many of the bytes of a row have values. */
  readonly usedBytes: number;
}
