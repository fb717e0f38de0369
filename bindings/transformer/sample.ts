import {
  checkFinite,
  checkInt32Array,
  checkInteger,
  checkLength,
  checkRows,
  checkTypedArray,
  mismatch,
  wrongKind,
  wrongValue,
} from "../check.ts";
import type { Instance } from "../engine/instance.ts";
import { MAX_DIM, MAX_ROWS } from "../limits.ts";
import type { Floats } from "../memory/data.ts";
import { type Names, readOptions } from "../options.ts";
import type { Site } from "./site.ts";

/** What `sample` takes besides the logits. @category Transformer blocks */
export interface SampleOptions<Tokens extends Int32Array | undefined = Int32Array | undefined> {
  /** Floats in a row of logits: the number of tokens that there are. */
  vocabSize: number;
  /** What logits are divided by; 0 takes the largest one, and the first of several. Default 1. */
  temperature?: number | undefined;
  /** Draws from the topK most probable tokens alone. Default all. */
  topK?: number | undefined;
  /** Draws from the fewest tokens that have this share of what topK leaves, the most probable first. Default 1. */
  topP?: number | undefined;
  /** What is drawn depends on this, on `step`, and on the number of the row; or [rows], and not on the number. */
  seed?: number | Int32Array | undefined;
  /** Which draw of a seed it is, such as the number of the token. Default 0. */
  step?: number | undefined;
  /** Where to write, [rows]. Default a fresh Int32Array. */
  tokens?: Tokens | undefined;
}

/** What `sample` returns. @category Transformer blocks */
export interface SampleResult<Tokens = Int32Array | undefined> {
  /** [rows] */
  tokens: Tokens extends Int32Array ? Tokens : Int32Array<ArrayBuffer>;
}

const NAMES: Names<SampleOptions> = {
  vocabSize: 0,
  temperature: 0,
  topK: 0,
  topP: 0,
  seed: 0,
  step: 0,
  tokens: 0,
};

/** See {@link Blocks.sample}. */
export function sample({ instance, kernels }: Site, logitsIn: unknown, given: unknown): SampleResult {
  const { arena, constants, own } = instance;
  const options = readOptions<SampleOptions>("sample", given, NAMES);
  const logits = own.checkFloats("logits", logitsIn, arena);
  const size = checkInteger("vocabSize", options.vocabSize, 1, MAX_DIM);
  const rows = checkRows("logits", logits.length, size, "vocabSize");
  const { temperature = 1, topP = 1, seed, step = 0 } = options;
  if (temperature !== 0) checkFinite("temperature", temperature, 0);
  const topK = Math.min(size, checkInteger("topK", options.topK ?? size, 1));
  if (checkFinite("topP", topP, 0) > 1) throw wrongValue("topP", "a share of at most 1", topP);
  checkInteger("step", step, 0, MAX_ROWS);
  const seeds = typeof seed === "object" ? checkInt32Array("seed", seed, rows, "rows", -(2 ** 31), 2 ** 31 - 1) : seed;
  if (typeof seeds !== "object" && (seeds !== undefined || temperature !== 0)) checkInteger("seed", seeds, 0);
  const tokens = tokensOf(instance, options.tokens, rows);

  const found = new Int32Array(rows);
  own.withScope(arena, (scope) => {
    if (temperature === 0) {
      for (let row = 0; row < rows; row++) found[row] = largestOf(rowOf(instance, logits, row, size), row);
      return;
    }
    const ptr = scope.reserve(size * 4);
    const scratch = scope.reserve(kernels.softmaxBytes());
    // The most probable tokens, and their numbers.
    const isFew = topK < size;
    const [top, numbers] = isFew ? [scope.reserve(topK * 4), scope.reserve(topK * 4)] : [0, 0];
    for (let row = 0; row < rows; row++) {
      let p = new Float32Array(arena.buffer, ptr, size);
      p.set(rowOf(instance, logits, row, size));
      kernels.softmaxRows(ptr, ptr, scratch, 1, size, 1 / temperature, constants);
      if (Number.isNaN(p[0])) throw noLargest(row);
      if (isFew) {
        instance.kernels.topOfRow(top, numbers, ptr, size, topK);
        p = new Float32Array(arena.buffer, top, topK);
      }
      if (topP < 1) keepShare(p, topP);
      const place = draw(p, typeof seeds === "object" ? uniform(seeds[row]!, 0, step) : uniform(seeds!, row, step));
      found[row] = isFew ? new Int32Array(arena.buffer, numbers, topK)[place]! : place;
    }
  });
  if (!tokens) return { tokens: found };
  tokens.set(found);
  return { tokens: options.tokens! };
}

/** A view of the caller's array. */
function tokensOf({ arena }: Instance, given: unknown, rows: number): Int32Array | undefined {
  if (given === undefined) return undefined;
  const tokens = checkTypedArray("tokens", given, "Int32Array", "an Int32Array");
  checkLength("tokens", tokens.length, rows, "rows");
  if (arena.owns(tokens.buffer)) throw wrongKind("tokens", "an array outside the instance's memory", given);
  return tokens;
}

/** A row of the logits, in the caller's array or in linear memory. */
function rowOf({ arena }: Instance, { array, ptr, length }: Floats, row: number, size: number): Float32Array {
  const all = (array as Float32Array | undefined) ?? new Float32Array(arena.buffer, ptr, length);
  return all.subarray(row * size, (row + 1) * size);
}

function largestOf(logits: Float32Array, row: number): number {
  let best = 0;
  let top = -Infinity;
  for (let n = 0; n < logits.length; n++) {
    const value = logits[n]!;
    if (value <= top) continue;
    // What is not larger is NaN.
    if (!(value > top)) throw noLargest(row);
    [best, top] = [n, value];
  }
  if (!Number.isFinite(top)) throw noLargest(row);
  return best;
}

function noLargest(row: number): RangeError {
  return new RangeError(mismatch("logits", "rows without NaN whose largest value is finite", `another row ${row}`));
}

/** Bits of a float that tell its bucket: those of the exponent, and three of the fraction. */
const BUCKET_SHIFT = 20;

/**
 * Sets to 0 all but the fewest of the largest that have together the share `topP` of all; of equal ones the first stay.
 * Where the border lies is found by the sums of buckets: the bits of floats that are not negative have their order.
 */
function keepShare(p: Float32Array, topP: number): void {
  const bits = new Int32Array(p.buffer, p.byteOffset, p.length);
  const sums = new Float64Array(2 ** (31 - BUCKET_SHIFT));
  for (let n = 0; n < p.length; n++) sums[bits[n]! >> BUCKET_SHIFT]! += p[n]!;
  const goal = topP * sums.reduce((a, b) => a + b);
  let bucket = sums.length - 1;
  let sum = 0;
  while (bucket > 0 && sum + sums[bucket]! < goal) sum += sums[bucket--]!;
  const border = new Float32Array(p.length);
  let at = 0;
  for (let n = 0; n < p.length; n++) if (bits[n]! >> BUCKET_SHIFT === bucket) border[at++] = p[n]!;
  border.subarray(0, at).sort();
  while (at > 0 && sum < goal) sum += border[--at]!;
  const least = border[at]!;
  let equal = border.lastIndexOf(least) + 1 - at;
  for (let n = 0; n < p.length; n++) if (p[n]! < least || (p[n] === least && equal-- <= 0)) p[n] = 0;
}

/** The place that `random` of [0, 1) leads to among weights: none that has no weight. */
function draw(weights: Float32Array, random: number): number {
  let total = 0;
  for (let n = 0; n < weights.length; n++) total += weights[n]!;
  let left = random * total;
  let last = 0;
  for (let n = 0; n < weights.length; n++) {
    if (weights[n] === 0) continue;
    last = n;
    left -= weights[n]!;
    if (left < 0) break;
  }
  return last;
}

/** A number of [0, 1) that depends on a seed and on what else is given, mixed as MurmurHash3 ends (A. Appleby). */
function uniform(seed: number, ...others: number[]): number {
  let hash = 0;
  const mix = (word: number): number => {
    hash = (hash ^ word) + 0x9e3779b9;
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^= hash >>> 16) >>> 0;
  };
  mix(seed);
  mix(seed / 2 ** 32);
  for (const word of others) mix(word);
  return mix(0) / 2 ** 32 + (mix(1) >>> 11) / 2 ** 53;
}
