import {
  checkAbsent,
  checkChoice,
  checkInt32Array,
  checkInteger,
  checkIntegers,
  checkLength,
  checkRows,
  checkTypedArray,
  perBatch,
  wrongValue,
} from "../check.ts";
import { MAX_BATCH, MAX_DIM, MAX_ELEMENTS } from "../limits.ts";
import type { Rows } from "../memory/output.ts";
import { type Names, readOptions } from "../options.ts";
import type { BlockResult } from "./activate.ts";
import type { Site } from "./site.ts";

/** What `pool` takes besides x. @category Transformer blocks */
export interface PoolOptions<Out extends Rows | undefined = Rows | undefined> {
  /** Floats in a row. */
  dim: number;
  /** What becomes of the rows that are kept: their mean, the first ("cls") or the last of them. Default "mean". */
  pooling?: "mean" | "cls" | "last" | undefined;
  /** Sequences, of equally many rows. Default 1. */
  batch?: number | undefined;
  /** [batch], rows of each sequence that are kept, at its front. Default all. */
  lengths?: Int32Array | undefined;
  /** [sequences + 1], where packed sequences begin and the last one ends, instead of `batch` and `lengths`. */
  cuSeqlens?: Int32Array | undefined;
  /** [rows of x], not 0 where a row is kept. Default all. */
  keepMask?: Uint8Array | undefined;
  /** Where to write, [sequences, dim]. Default a fresh Float32Array. */
  out?: Out | undefined;
}

const NAMES: Names<PoolOptions> = {
  dim: 0,
  pooling: 0,
  batch: 0,
  lengths: 0,
  cuSeqlens: 0,
  keepMask: 0,
  out: 0,
};

/** The rows [first, end) of x that a sequence has. */
type Stretch = readonly [first: number, end: number];

/** See {@link Blocks.pool}: check, copy in, run, copy out, release. */
export function pool({ instance, kernels }: Site, xIn: unknown, given: unknown): BlockResult {
  const { arena, own } = instance;
  const options = readOptions<PoolOptions>("pool", given, NAMES);
  const dim = checkInteger("dim", options.dim, 1, MAX_DIM);
  const pooling = checkChoice("pooling", options.pooling ?? "mean", ["mean", "cls", "last"]);
  const x = own.checkFloats("x", xIn, arena);
  const stretches = stretchesOf(options, x.length, dim);
  const { keepMask } = options;
  let keep: Uint8Array | undefined;
  if (keepMask !== undefined) {
    keep = checkTypedArray("keepMask", keepMask, "Uint8Array", "a Uint8Array").slice();
    checkLength("keepMask", keep.length, x.length / dim, "rows of x");
  }
  const out = new own.Output(arena, "out", options.out, stretches.length * dim, "sequences × dim");
  own.checkApart(arena, { out: options.out }, { x: xIn });

  return own.withScope(arena, (scope) => {
    if (pooling === "mean") {
      const xPtr = scope.input(x);
      const keepPtr = scope.input(keep && { array: keep, length: keep.length });
      const sums = scope.reserve(Math.ceil(dim / 4) * 32);
      let outPtr = out.reserve(scope);
      for (const [first, end] of stretches) {
        kernels.meanRows(outPtr, xPtr + first * dim * 4, keepPtr && keepPtr + first, sums, end - first, dim);
        outPtr += dim * 4;
      }
      return { out: out.take()! };
    }
    const outPtr = out.reserve(scope);
    const source = x.array ?? new Float32Array(arena.buffer, x.ptr, x.length);
    const target = new Float32Array(arena.buffer, outPtr, stretches.length * dim).fill(0);
    stretches.forEach(([first, end], n) => {
      const step = pooling === "cls" ? 1 : -1;
      let row = pooling === "cls" ? first : end - 1;
      while (keep && row >= first && row < end && !keep[row]) row += step;
      if (row >= first && row < end) target.set(source.subarray(row * dim, (row + 1) * dim), n * dim);
    });
    return { out: out.take()! };
  });
}

function stretchesOf(options: PoolOptions, length: number, dim: number): Stretch[] {
  if (options.cuSeqlens === undefined) {
    const batch = checkInteger("batch", options.batch ?? 1, 1, MAX_BATCH);
    const seqLen = checkRows("x", length, batch * dim, `${perBatch(batch)}dim`);
    // However many sequences the options name, there are none without rows.
    const count = seqLen > 0 ? batch : checkInteger("batch", batch, 1, MAX_ELEMENTS);
    const { lengths } = options;
    const kept = lengths === undefined ? undefined : checkInt32Array("lengths", lengths, count, "batch", 0, seqLen);
    return Array.from({ length: count }, (_, n) => [n * seqLen, n * seqLen + (kept?.[n] ?? seqLen)]);
  }
  checkAbsent(options, ["batch", "lengths"], 'nothing beside "cuSeqlens"');
  const starts = checkIntegers("cuSeqlens", options.cuSeqlens);
  const rows = checkRows("x", length, dim, "dim");
  if (starts.length === 0) throw wrongValue("cuSeqlens", "a length of at least 1", 0);
  checkInteger("cuSeqlens[0]", starts[0], 0, 0);
  starts.forEach((start, n) => {
    const low = n === starts.length - 1 ? rows : (starts[n - 1] ?? 0);
    if (start < low || start > rows) checkInteger(`cuSeqlens[${n}]`, start, low, rows);
  });
  return Array.from({ length: starts.length - 1 }, (_, n) => [starts[n]!, starts[n + 1]!]);
}
