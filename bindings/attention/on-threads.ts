import { ATTEND_ARGS, type AttendArgs, MAX_DECODE_ROWS } from "../engine/abi.ts";
import type { Instance, Threads } from "../engine/instance.ts";
import { structBytes, writeStruct } from "../engine/kernels.ts";
import { CallScope } from "../memory/call-scope.ts";
import { MAX_ITEMS } from "../threads/control.ts";

/** Query rows of an item, at least: eight query tiles; at most: the query tiles of a pass. */
export const LEAST_ROWS = 128;
const MOST_ROWS = 768;
/** Query rows of an item are a multiple of this, as those of a query tile. */
export const TILE_ROWS = 16;

/** Fewer query rows of a KV head count as these, since reading K and V takes as long. */
export const LEAST_WORK_ROWS = 4;

/** Few query rows go through so many keys at a time (splits.ts): a multiple of those of a page. */
export const SPLIT_KEYS = 2048;

/**
 * The kernel on all threads, over all keys of one sequence. An item is a run of query rows of some KV heads: which ones
 * go together shows in no bit, since the rows of a call know nothing of each other.
 *
 * @returns false where one thread is as good, or where there is no memory for more: then nothing has been done
 */
export function attendOnThreads({ arena, kernels }: Instance, pool: Threads, args: AttendArgs): boolean {
  const { seqLenQ, seqLenKv, numKvHeads, group, headDim, valueDim } = args;
  const rows = seqLenQ * group;
  const wanted = pool.itemsFor(Math.max(LEAST_WORK_ROWS, rows) * numKvHeads * seqLenKv * (headDim + valueDim));
  if (wanted === 0) return false;
  const rowsPerItem = Math.max(LEAST_ROWS, Math.min(MOST_ROWS, (rows * numKvHeads) / wanted));
  const most = Math.max(1, Math.round(rowsPerItem / group / TILE_ROWS));
  // Runs of equal length: a thread that takes a long one when the others are done keeps them waiting.
  const tiles = Math.ceil(seqLenQ / TILE_ROWS);
  const queries = Math.ceil(tiles / Math.ceil(tiles / most)) * TILE_ROWS;
  // A rest that would go through the decode kernel, which has bits of its own, goes with the run before it.
  const rest = seqLenQ % queries;
  const runs = Math.max(1, Math.floor(seqLenQ / queries) + Number(rest * group > MAX_DECODE_ROWS));
  if (runs > MAX_ITEMS || runs * numKvHeads < 2) return false;
  // KV heads of an item: more than one where the table has no room for each.
  const heads = Math.ceil(numKvHeads / Math.floor(MAX_ITEMS / runs));

  const scope = new CallScope(arena);
  try {
    const structs = scope.reserve(runs * structBytes(ATTEND_ARGS));
    const scratchBytes = kernels.scratchBytes(headDim, valueDim, (queries + MAX_DECODE_ROWS) * group);
    const items: number[][] = [];
    // The last queries see the most keys where the call is causal, and the last items are taken first.
    for (let run = 0; run < runs; run++) {
      const struct = structs + run * structBytes(ATTEND_ARGS);
      const start = run * queries;
      const count = run === runs - 1 ? seqLenQ - start : queries;
      writeStruct(arena.buffer, struct, ATTEND_ARGS, fromQuery(args, start, count));
      const passes = kernels.workItems(struct) / numKvHeads;
      // Heads from the first on, as the processor fetches ahead.
      for (let end = numKvHeads; end > 0; end -= heads) {
        items.push([struct, -1, Math.max(0, end - heads) * passes, end * passes]);
      }
    }
    return pool.run("attend", scratchBytes, items) !== undefined;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  } finally {
    scope.release();
  }
}

/** The arguments for `count` queries from `start` on. */
export function fromQuery(args: AttendArgs, start: number, count: number): AttendArgs {
  const { out, lse, q, keepMask, bias, outRowStride, qRowStride, maskRowStride, biasRowStride } = args;
  return {
    ...args,
    out: out + start * outRowStride,
    lse: lse && lse + start * 4,
    q: q + start * qRowStride,
    keepMask: keepMask && keepMask + start * maskRowStride,
    bias: bias && bias + start * biasRowStride,
    queryOffset: args.queryOffset + start,
    seqLenQ: count,
  };
}
