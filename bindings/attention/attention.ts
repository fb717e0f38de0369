// A call of attention goes through four steps:
//
//     checkQueries, checkKeysAndValues, checkProblem   the arguments become a Problem, which never changes   problem.ts
//     Operands.place(scope)                            q, K and V come to where the kernels read them       operands.ts
//     run(…)                                           one kernel call for each sequence, or piece of it    call.ts
//     Output.take(), scope.release()                   the caller gets the outputs, memory is given back    ../memory/
//
// `heed.attention` places the caller's arrays. A KV cache places q, which it may rotate first, and its page tables.

import { ATTEND_ARGS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { structBytes } from "../engine/kernels.ts";
import { CallScope } from "../memory/call-scope.ts";
import { Output, type Rows, type Written, checkApart } from "../memory/output.ts";
import { readOptions } from "../options.ts";
import { run } from "./call.ts";
import { stageKeysAndValues } from "./kv-source.ts";
import type { Operands } from "./operands.ts";
import { ATTENTION_NAMES, type AttentionOptions } from "./options.ts";
import {
  LSE_SHAPE,
  type Problem,
  checkKeysAndValues,
  checkProblem,
  checkQueries,
  maxRowsPerKvHead,
} from "./problem.ts";

/** What `attention` returns; `Out` and `Lse` are the types of these two options. @category Attention */
export type AttentionResult<Out = Rows | undefined, Lse = boolean | Rows | undefined> = {
  /** [batch, seqLenQ, numHeads, valueDim] in the layout of the call. */
  out: Written<Out>;
} & ([Lse] extends [true | Rows]
  ? {
      /** Natural logarithm of each softmax denominator, [batch, numHeads, seqLenQ]; packed [numHeads, totalQ]. */
      lse: Written<Lse>;
    }
  : { lse?: Written<Lse> });

/** Exact attention over the arrays or Tensors k and v; see `Heed.attention` for shapes and errors. */
export function attention(
  instance: Instance,
  q: unknown,
  k: unknown,
  v: unknown,
  given: AttentionOptions,
): AttentionResult {
  const { arena } = instance;
  const options = readOptions("attention", given, ATTENTION_NAMES);
  const queries = checkQueries(arena, q, options);
  const kv = checkKeysAndValues(arena, k, v, queries);
  const problem = checkProblem(arena, options, queries, kv.rowsKv);
  return computeAttention(instance, problem, options, {
    given: { q, k, v },
    place: (scope) => ({ q: problem.q, kv: stageKeysAndValues(instance, scope, problem, kv) }),
  });
}

/**
 * A checked call: places the operands, runs the kernels and hands the outputs over. Whatever happens, the memory of the
 * call is given back.
 *
 * @throws as `Heed.attention` for the options out and lse, and where memory cannot grow
 */
export function computeAttention(
  instance: Instance,
  problem: Problem,
  options: AttentionOptions,
  operands: Operands,
): AttentionResult {
  const { arena, kernels } = instance;
  const { headDim, valueDim, numKvHeads, keepMask, bias, outLength, lseLength } = problem;
  const out = Output.required(arena, "out", options.out, outLength, "batch × seqLenQ × numHeads × valueDim");
  const lse = Output.optional(arena, "lse", options.lse, lseLength, LSE_SHAPE);
  checkApart(arena, { out: options.out, lse: options.lse }, options, operands.given);

  const scope = new CallScope(arena);
  try {
    const { q, kv } = operands.place(scope);
    const dims = [headDim, valueDim, maxRowsPerKvHead(problem)] as const;
    const inPieces = kv.maxKeys < Infinity;
    const pointers = {
      args: scope.reserve(structBytes(ATTEND_ARGS)),
      scratch: scope.reserve(kernels.scratchBytes(...dims)),
      tiles: inPieces ? scope.reserve(numKvHeads * kernels.pieceTileBytes(...dims)) : 0,
      q: scope.input(q),
      keepMask: scope.input(keepMask?.data),
      bias: scope.input(bias?.data),
      alibiSlopes: scope.input(problem.alibiSlopes),
      sinks: scope.input(problem.sinks),
      out: out.reserve(scope),
      lse: lse.reserve(scope),
    };
    run(instance, problem, pointers, kv);
    const written: AttentionResult = { out: out.take()! };
    const writtenLse = lse.take();
    if (writtenLse) written.lse = writtenLse;
    return written;
  } finally {
    scope.release();
  }
}
