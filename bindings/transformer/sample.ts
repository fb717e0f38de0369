import {
  checkFinite,
  checkInt32Array,
  checkInteger,
  checkRows,
  checkTypedArray,
  mismatch,
  wrongKind,
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

/** How many of the most probable tokens are looked at first where topP alone says how many there are. */
const FIRST_LOOK = 256;

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
  if (checkFinite("topP", topP, 0) > 1) throw new RangeError(mismatch("topP", "a share of at most 1", String(topP)));
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
    const isWhole = topK === size && topP === 1;
    // The most probable tokens, and their numbers.
    const [top, numbers] = isWhole ? [0, 0] : [scope.reserve(topK * 4), scope.reserve(topK * 4)];
    for (let row = 0; row < rows; row++) {
      const p = new Float32Array(arena.buffer, ptr, size);
      p.set(rowOf(instance, logits, row, size));
      kernels.softmaxRows(ptr, ptr, scratch, 1, size, 1 / temperature, constants);
      if (Number.isNaN(p[0])) throw noLargest(row);
      const random = typeof seeds === "object" ? uniform(seeds[row]!, 0, step) : uniform(seeds!, row, step);
      if (isWhole) {
        found[row] = draw(p, sumOf(p), random);
        continue;
      }
      const goal = topK === size ? topP * sumOf(p) : undefined;
      for (let count = goal === undefined ? topK : Math.min(topK, FIRST_LOOK); ; count = Math.min(topK, 8 * count)) {
        instance.kernels.topOfRow(top, numbers, ptr, size, count);
        const best = new Float32Array(arena.buffer, top, count);
        const kept = keepShare(best, goal ?? topP * sumOf(best));
        if (kept === undefined && count < topK) continue;
        const few = best.subarray(0, kept ?? count);
        found[row] = new Int32Array(arena.buffer, numbers, count)[draw(few, sumOf(few), random)]!;
        break;
      }
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
  if (tokens.length !== rows)
    throw new RangeError(mismatch("tokens", `a length of ${rows} (rows)`, String(tokens.length)));
  if (arena.owns(tokens.buffer)) throw wrongKind("tokens", "an array outside the instance's memory", given);
  return tokens;
}

/** A row of the logits, in the caller's array or in linear memory. */
function rowOf({ arena }: Instance, { array, ptr, length }: Floats, row: number, size: number): Float32Array {
  const all = (array as Float32Array | undefined) ?? new Float32Array(arena.buffer, ptr!, length);
  return all.subarray(row * size, (row + 1) * size);
}

function largestOf(logits: Float32Array, row: number): number {
  let best = 0;
  let sum = 0;
  for (let n = 0; n < logits.length; n++) {
    if (logits[n]! > logits[best]!) best = n;
    sum += logits[n]! * 0;
  }
  if (!Number.isFinite(logits[best]) || (Number.isNaN(sum) && logits.some(Number.isNaN))) throw noLargest(row);
  return best;
}

function noLargest(row: number): RangeError {
  return new RangeError(mismatch("logits", "rows without NaN whose largest value is finite", `another row ${row}`));
}

function sumOf(p: Float32Array): number {
  let sum = 0;
  for (let n = 0; n < p.length; n++) sum += p[n]!;
  return sum;
}

/** How many of the first have the sum `goal`; undefined where all of them have less. */
function keepShare(p: Float32Array, goal: number): number | undefined {
  let sum = 0;
  for (let n = 0; n < p.length; n++) {
    sum += p[n]!;
    if (sum >= goal) return n + 1;
  }
  return undefined;
}

/** The place that `random` of [0, 1) leads to among weights with a sum of `total`: none that has no weight. */
function draw(weights: Float32Array, total: number, random: number): number {
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
