// A call of attention goes through four steps:
//
//     checkQueries, checkKeysAndValues, checkProblem   the arguments become a Problem, which never changes   problem.ts
//     Operands.place(scope)                            q, K and V come to where the kernels read them       operands.ts
//     run(…)                                           one kernel call for each sequence, or some of it     call.ts
//     or attendInSteps(…)                              many small ones, for an asynchronous call            in-steps.ts
//     Output.take(), scope.release()                   the caller gets the outputs, memory is given back    ../memory/
//
// `heed.attention` places the caller's arrays. A KV cache places q, which it may rotate first, and its page tables.

import { ATTEND_ARGS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { structBytes } from "../engine/kernels.ts";
import { inputAsF32 } from "../engine/widen.ts";
import { CallScope } from "../memory/call-scope.ts";
import { type FloatRows, checkAnyFloats, halves } from "../memory/data.ts";
import { Output, type Rows, type Written, checkApart, optionalOutput } from "../memory/output.ts";
import { holdTensors } from "../memory/tensor.ts";
import { type Names, readOptions } from "../options.ts";
import { type AsyncOptions, ASYNC_NAMES, runAsync } from "../steps/run-async.ts";
import { type Share, type Steps, WHOLE, finish } from "../steps/steps.ts";
import { run } from "./call.ts";
import { attendInSteps } from "./in-steps.ts";
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
import { partsBytes } from "./splits.ts";

/** What `attention` returns; `Out` and `Lse` are the types of these two options. @category Attention */
export type AttentionResult<Out = FloatRows | undefined, Lse = boolean | Rows | undefined> = {
  /** [batch, seqLenQ, numHeads, valueDim] in the layout of the call. */
  out: Written<Out>;
} & ([Lse] extends [true | Rows]
  ? {
      /** Natural logarithm of each softmax denominator, [batch, numHeads, seqLenQ]; packed [numHeads, totalQ]. */
      lse: Written<Lse>;
    }
  : { lse?: Written<Lse> });

/** The options of an asynchronous call of attention. */
export const ASYNC_ATTENTION_NAMES: Names<AttentionOptions & AsyncOptions> = { ...ATTENTION_NAMES, ...ASYNC_NAMES };

/** Exact attention over the arrays or Tensors k and v; see `Heed.attention` for shapes and errors. */
export function attention(
  instance: Instance,
  q: unknown,
  k: unknown,
  v: unknown,
  given: AttentionOptions,
): AttentionResult {
  const options = readOptions("attention", given, ATTENTION_NAMES);
  return finish(attentionSteps(instance, halves(q), halves(k), halves(v), options));
}

/** {@link attention} that gives the thread back between its steps; see `Heed.attentionAsync`. */
export async function attentionAsync(
  instance: Instance,
  qGiven: unknown,
  kGiven: unknown,
  vGiven: unknown,
  given: AttentionOptions & AsyncOptions,
): Promise<AttentionResult> {
  const { arena } = instance;
  const options = readOptions("attentionAsync", given, ASYNC_ATTENTION_NAMES);
  const [q, k, v] = [halves(qGiven), halves(kGiven), halves(vGiven)];
  const steps = attentionSteps(instance, q, k, v, options, WHOLE);
  return runAsync(arena, steps, options, () => holdTensors([q, k, v, options]));
}

/**
 * The steps of {@link attention} with options that have been read: all at once, or those of a call that is done in steps
 * where its `share` is given.
 */
export function attentionSteps(
  instance: Instance,
  q: unknown,
  k: unknown,
  v: unknown,
  options: AttentionOptions,
  share?: Share,
): Steps<AttentionResult> {
  const { arena } = instance;
  const queries = checkQueries(arena, q, options);
  const kv = checkKeysAndValues(arena, k, v, queries);
  const problem = checkProblem(arena, options, queries, kv.rowsKv);
  const operands: Operands = {
    given: { q, k, v },
    place: (scope) => ({ q: problem.q, kv: stageKeysAndValues(instance, scope, problem, kv) }),
  };
  return computeAttention(instance, problem, options, operands, share);
}

/**
 * A checked call: places the operands, runs the kernels and hands the outputs over. Whatever happens, the memory of the
 * call is given back. With a `share` it does so in steps, of which the first one copies what the caller may change.
 *
 * @throws as `Heed.attention` for the options out and lse, and where memory cannot grow
 */
export function* computeAttention(
  instance: Instance,
  problem: Problem,
  options: AttentionOptions,
  operands: Operands,
  share?: Share,
): Steps<AttentionResult> {
  const { arena, kernels } = instance;
  const { headDim, valueDim, numKvHeads, keepMask, bias, outLength, lseLength } = problem;
  const what = "batch × seqLenQ × numHeads × valueDim";
  const out = new Output<FloatRows>(arena, "out", options.out, outLength, what, checkAnyFloats);
  const lse = optionalOutput(arena, "lse", options.lse, lseLength, LSE_SHAPE);
  checkApart(arena, { out: options.out, lse: options.lse }, options, operands.given);

  const scope = new CallScope(arena, share !== undefined);
  try {
    const { q, kv } = operands.place(scope);
    const dims = [headDim, valueDim, maxRowsPerKvHead(problem)] as const;
    const inPieces = kv.maxKeys < Infinity;
    // Sequences come one after the other; in steps their parts wait for each other.
    const parts = problem.sequences.reduce((bytes, sequence) => {
      const own = partsBytes(problem, sequence);
      return share ? bytes + own : Math.max(bytes, own);
    }, 0);
    const pointers = {
      args: scope.reserve(structBytes(ATTEND_ARGS)),
      scratch: scope.reserve(kernels.scratchBytes(...dims)),
      tiles: inPieces ? scope.reserve(numKvHeads * kernels.pieceTileBytes(...dims)) : 0,
      parts: parts && scope.reserve(parts),
      q: scope.input(q),
      qType: q.type,
      outType: out.type,
      keepMask: scope.input(keepMask?.data),
      bias: inputAsF32(instance, scope, bias?.data),
      alibiSlopes: inputAsF32(instance, scope, problem.alibiSlopes),
      sinks: inputAsF32(instance, scope, problem.sinks),
      out: out.reserve(scope),
      lse: lse.reserve(scope),
    };
    if (share) {
      yield* attendInSteps(instance, problem, pointers, kv, scope, share);
      out.checkAgain();
      lse.checkAgain();
    } else {
      run(instance, problem, pointers, kv);
    }
    const written: AttentionResult = { out: out.take()! };
    const writtenLse = lse.take();
    if (writtenLse) written.lse = writtenLse;
    return written;
  } finally {
    scope.release();
  }
}
