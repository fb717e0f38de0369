import type { KvCacheOptions } from "../../bindings/kv-cache/options.ts";
import type { Heed } from "../../bindings/heed.ts";
import { ULP, expectClose, floorOf, largest } from "./budget.ts";
import { naive } from "./naive.ts";
import { type PlainOptions, reference } from "./reference.ts";

export type Cache = ReturnType<Heed["createKvCache"]>;
export type Dtype = "f32" | "f16" | "int8";

/** The nearest binary16, ties to even; beyond ±65504 that. */
export function roundF16(x: number): number {
  const magnitude = Math.min(Math.abs(x), 65504);
  const ulp = 2 ** (Math.max(Math.floor(Math.log2(magnitude)), -14) - 10);
  return Math.sign(x) * roundEven(magnitude / ulp) * ulp;
}

/** byte·scale of every value; scale, in f32, is the largest magnitude / 127. */
export function roundInt8(row: readonly number[]): number[] {
  const scale = Math.fround(row.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127);
  if (scale === 0) return row.map(() => 0);
  return row.map((x) => roundEven(Math.fround(x / scale)) * scale);
}

function roundEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/** A row of one head as it comes back from storage, in f64. */
function stored(row: Float32Array, dtype: Dtype): number[] {
  if (dtype === "int8") return roundInt8(Array.from(row));
  return Array.from(row, dtype === "f16" ? roundF16 : (x) => x);
}

/** One token: its rows of k and v, [numKvHeads][dim]. */
interface Token {
  k: number[][];
  v: number[][];
}

/** Tokens before those of the latest append that a window's cache lets one take back. */
const ROLLBACK = 32;

/** What a cache must hold, in plain arrays. */
export class Model {
  readonly dims: { numKvHeads: number; headDim: number; valueDim: number; batch: number };
  readonly dtype: { k: Dtype; v: Dtype };
  readonly window: number | undefined;
  tokens: Token[][];
  /**
   * With a window: the position before which the sequence must not be queried, since pages that only it sees may be
   * gone.
   */
  horizon: number[];

  constructor({ numKvHeads, headDim, valueDim = headDim, batch = 1, dtype = "f32", window }: KvCacheOptions) {
    this.dims = { numKvHeads, headDim, valueDim, batch };
    this.dtype = typeof dtype === "string" ? { k: dtype, v: dtype } : dtype;
    this.window = window;
    this.tokens = Array.from({ length: batch }, () => []);
    this.horizon = this.tokens.map(() => 0);
  }

  get lengths(): Int32Array {
    return Int32Array.from(this.tokens, ({ length }) => length);
  }

  get length(): number {
    return Math.max(0, ...this.lengths);
  }

  /** The oldest token of a sequence that is there for certain. */
  oldest(b: number): number {
    return this.window === undefined ? 0 : Math.max(0, this.horizon[b]! - this.window);
  }

  /** k and v as [batch, newTokens, numKvHeads, dim]. */
  append(k: Float32Array, v: Float32Array, lengths?: Int32Array): void {
    const { numKvHeads, headDim, valueDim, batch } = this.dims;
    const newTokens = k.length / (batch * numKvHeads * headDim);
    this.tokens.forEach((tokens, b) => {
      for (let n = 0; n < (lengths?.[b] ?? newTokens); n++) {
        const rowsOf = (rows: Float32Array, dim: number, dtype: Dtype) =>
          Array.from({ length: numKvHeads }, (_, head) => {
            const at = ((b * newTokens + n) * numKvHeads + head) * dim;
            return stored(rows.subarray(at, at + dim), dtype);
          });
        tokens.push({ k: rowsOf(k, headDim, this.dtype.k), v: rowsOf(v, valueDim, this.dtype.v) });
      }
      if (newTokens > 0) this.horizon[b] = Math.max(0, tokens.length - newTokens - ROLLBACK);
    });
  }

  truncate(lengths: Int32Array): void {
    this.tokens = this.tokens.map((tokens, b) => tokens.slice(0, lengths[b]));
    // A sequence that was emptied starts anew.
    this.horizon = this.horizon.map((position, b) => (lengths[b] === 0 ? 0 : position));
  }

  reset(): void {
    this.truncate(new Int32Array(this.dims.batch));
  }

  reorder(indices: Int32Array): void {
    this.tokens = Array.from(indices, (from) => this.tokens[from]!.slice());
    this.horizon = Array.from(indices, (from) => this.horizon[from]!);
  }

  keep(lists: readonly (Int32Array | undefined)[]): void {
    this.tokens = this.tokens.map((tokens, b) => (lists[b] ? Array.from(lists[b], (n) => tokens[n]!) : tokens));
    // What is kept is there.
    this.horizon = this.horizon.map((position, b) => (lists[b] ? 0 : position));
  }

  add(count: number): void {
    this.dims.batch += count;
    for (let n = 0; n < count; n++) {
      this.tokens.push([]);
      this.horizon.push(0);
    }
  }

  remove(b: number): void {
    this.dims.batch--;
    this.tokens.splice(b, 1);
    this.horizon.splice(b, 1);
  }

  fork(): Model {
    const fork = new Model({ ...this.dims, dtype: this.dtype, window: this.window, capacity: 0 });
    fork.tokens = this.tokens.map((tokens) => tokens.slice());
    fork.horizon = this.horizon.slice();
    return fork;
  }

  /** The most queries that end at the last token of every sequence. */
  get mostQueries(): number {
    return this.window === undefined ? Infinity : Math.min(...this.lengths.map((n, b) => n - this.horizon[b]!));
  }

  /** k or v, [batch, length, numKvHeads, dim] or with layout "bhld" [batch, numKvHeads, length, dim], in f64. */
  rows(of: "k" | "v", layout: PlainOptions["layout"]): Float64Array {
    const { numKvHeads, headDim, valueDim, batch } = this.dims;
    const dim = of === "k" ? headDim : valueDim;
    const { length } = this;
    const rows = new Float64Array(batch * length * numKvHeads * dim);
    this.tokens.forEach((tokens, b) =>
      tokens.forEach((token, j) =>
        token[of].forEach((row, head) => {
          const at = layout === "bhld" ? (b * numKvHeads + head) * length + j : (b * length + j) * numKvHeads + head;
          rows.set(row, at * dim);
        }),
      ),
    );
    return rows;
  }

  /** The options of the same attention without a cache. */
  optionsOf(options: Omit<PlainOptions, "headDim">): PlainOptions {
    const plain = { ...options, ...this.dims, kvLengths: this.lengths };
    if (this.window === undefined) return plain;
    return { ...plain, window: { ...options.window, left: Math.min(options.window?.left ?? Infinity, this.window) } };
  }
}

/**
 * Expects attention over the cache to be that over the model's rows, within twice the error of plain f32 on rows
 * rounded to f32.
 *
 * On top of the floor comes the sum q·k, which f32 rounds by half an ulp of Σ|q·k|·scale at least, in whatever order: a
 * problem of few keys may find the plain one lucky. Σ|q·k| is at most the product of two lengths of rows.
 *
 * byte·scale of int8 is a product that f32 must round, before or after the sum: by half an ulp of each k·q, of each v.
 * On top of the floor that is ½ ulp of the largest Σ|q·k|·scale in every score, and of the largest |v| in out.
 */
export function expectRight(
  cache: Cache,
  model: Model,
  q: Float32Array<ArrayBuffer>,
  given: Omit<PlainOptions, "headDim">,
): void {
  expectRightAnswer(cache.attention(q, { ...given, lse: true }), model, q, given);
}

/** The largest Euclidean length of the rows of `dim` floats. */
function longestRow(rows: ArrayLike<number>, dim: number): number {
  let most = 0;
  for (let start = 0; start < rows.length; start += dim) {
    let squares = 0;
    for (let d = start; d < start + dim; d++) squares += rows[d]! ** 2;
    most = Math.max(most, squares);
  }
  return Math.sqrt(most);
}

/** The same for an answer that is there already. */
export function expectRightAnswer(
  got: { out: ArrayLike<number>; lse: ArrayLike<number> },
  model: Model,
  q: Float32Array<ArrayBuffer>,
  given: Omit<PlainOptions, "headDim">,
): void {
  const options = model.optionsOf(given);
  // The reference computes in f64 whatever it is given.
  const k = model.rows("k", options.layout) as unknown as Float32Array<ArrayBuffer>;
  const v = model.rows("v", options.layout) as unknown as Float32Array<ArrayBuffer>;
  const exact = reference(q, k, v, options);
  const floor = floorOf({ q, k, v, options }, exact);
  const { headDim, scale = headDim ** -0.5 } = options;
  const sum = longestRow(q, headDim) * longestRow(k, headDim) * Math.abs(scale);
  floor.lse += 0.5 * ULP * sum;
  floor.out += 0.5 * ULP * sum * largest(v);
  if (model.dtype.k === "int8") {
    const score = largest(q) * largest(k) * options.headDim * Math.abs(options.scale ?? options.headDim ** -0.5);
    floor.lse += 0.5 * ULP * score;
    floor.out += 0.5 * ULP * score * largest(v);
  }
  if (model.dtype.v === "int8") floor.out += 0.5 * ULP * largest(v);
  expectClose(got, exact, naive(q, Float32Array.from(k), Float32Array.from(v), options), floor);
}
