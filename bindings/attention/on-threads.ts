import { ATTEND_ARGS, type AttendArgs, MAX_DECODE_ROWS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { structBytes, writeStruct } from "../engine/kernels.ts";
import { CallScope } from "../memory/call-scope.ts";
import { MAX_ITEMS } from "../threads/control.ts";

/** Multiply-adds of a call from which threads pay: about 0.3 ms on one. */
const LEAST_WORK = 2 ** 22;
/** Query rows of an item, at least: eight query tiles; at most: the query tiles of a pass. */
const LEAST_ROWS = 128;
const MOST_ROWS = 768;
/** Items for each thread, so that none waits long for the last one. */
const ITEMS_PER_THREAD = 4;
/** Query rows of an item are a multiple of this, as those of a query tile. */
const TILE_ROWS = 16;

/**
 * The kernel on all threads, over all keys of one sequence. An item is a run of query rows of some KV heads: which ones
 * go together shows in no bit, since the rows of a call know nothing of each other.
 *
 * @returns false where one thread is as good, or where there is no memory for more: then nothing has been done
 */
export function attendOnThreads(instance: Instance, args: AttendArgs): boolean {
  const { arena, kernels, pool } = instance;
  const { seqLenQ, seqLenKv, numKvHeads, group, headDim, valueDim } = args;
  const rows = seqLenQ * group;
  if (!pool || pool.threads < 2 || rows * numKvHeads * seqLenKv * (headDim + valueDim) < LEAST_WORK) return false;

  const wanted = pool.threads * ITEMS_PER_THREAD;
  const rowsPerItem = Math.min(MOST_ROWS, Math.max(LEAST_ROWS, (rows * numKvHeads) / wanted));
  const queries = Math.max(1, Math.round(rowsPerItem / group / TILE_ROWS)) * TILE_ROWS;
  // A rest that would go through the decode kernel, which has bits of its own, goes with the run before it.
  const rest = seqLenQ % queries;
  const runs = Math.max(1, Math.floor(seqLenQ / queries) + Number(rest * group > MAX_DECODE_ROWS));
  const heads = Math.ceil((numKvHeads * runs) / MAX_ITEMS);
  if (runs > MAX_ITEMS || Math.ceil(numKvHeads / heads) * runs < 2) return false;

  const scope = new CallScope(arena);
  try {
    const structs = scope.reserve(runs * structBytes(ATTEND_ARGS));
    const scratchBytes = kernels.scratchBytes(headDim, valueDim, (queries + MAX_DECODE_ROWS) * group);
    const scratch = Array.from({ length: pool.threads }, () => scope.reserve(scratchBytes));
    const items: number[][] = [];
    // The last queries see the most keys where the call is causal, and the last items are taken first.
    for (let run = 0; run < runs; run++) {
      const struct = structs + run * structBytes(ATTEND_ARGS);
      const start = run * queries;
      const count = run === runs - 1 ? seqLenQ - start : queries;
      writeStruct(arena.buffer, struct, ATTEND_ARGS, fromQuery(args, start, count));
      const passes = kernels.workItems(struct) / numKvHeads;
      for (let head = 0; head < numKvHeads; head += heads) {
        items.push([struct, 0, head * passes, Math.min(head + heads, numKvHeads) * passes]);
      }
    }
    pool.run("attend", 1, scratch, items);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  } finally {
    scope.release();
  }
}

/** The arguments for `count` queries from `start` on. */
function fromQuery(args: AttendArgs, start: number, count: number): AttendArgs {
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
