import { ATTEND_ARGS } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { structBytes } from "../engine/kernels.ts";
import { CallScope } from "../memory/call-scope.ts";
import { Output, type Written } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";
import { run } from "./call.ts";
import { type KeySource, keysAndValues } from "./kv-source.ts";
import type { AttentionOptions } from "./options.ts";
import { type Problem, checkKeys, checkProblem, rowsOf } from "./problem.ts";

/** What `attention` returns. */
export type AttentionResult<O extends Pick<AttentionOptions, "out" | "lse"> = AttentionOptions> = {
  /** [batch, seqLenQ, numHeads, valueDim] in the layout of the call. */
  out: Written<O["out"]>;
} & (O["lse"] extends true | Float32Array | Tensor
  ? {
      /** Natural logarithm of each softmax denominator, [batch, numHeads, seqLenQ]; packed [numHeads, totalQ]. */
      lse: Written<O["lse"]>;
    }
  : { lse?: Written<O["lse"]> });

/** Exact attention over the arrays k and v. */
export function attention(
  instance: Instance,
  q: unknown,
  k: unknown,
  v: unknown,
  options: AttentionOptions,
): PlainResult {
  const { arena } = instance;
  const problem = checkProblem(arena, q, options, (dims) => checkKeys(arena, k, v, dims));
  return solve(instance, problem, options, (scope) => keysAndValues(arena, problem, scope));
}

/** `out`, and `lse` where it was asked for. */
export interface PlainResult {
  out: Float32Array | Tensor;
  lse?: Float32Array | Tensor;
}

/** A checked problem: copy in, run, copy out, release. */
export function solve(
  instance: Instance,
  problem: Problem,
  options: AttentionOptions,
  keysIn: (scope: CallScope) => KeySource,
  queriesIn = (scope: CallScope) => scope.input(problem.q),
): PlainResult {
  const { arena, kernels } = instance;
  const { q, k, v, bias, outLength, lseLength } = problem;
  const out = new Output("out", options.out, "when absent", arena, outLength, OUT_SHAPE);
  const lse = new Output("lse", options.lse, "when true", arena, lseLength, "batch × numHeads × seqLenQ");
  out.checkApartFrom({ q, k, v, bias: bias?.data, lse: lse.place });
  lse.checkApartFrom({ q, k, v, bias: bias?.data });

  const scope = new CallScope(arena);
  try {
    const queries = queriesIn(scope);
    const source = keysIn(scope);
    const dims = [problem.headDim, problem.valueDim, rowsOf(problem)] as const;
    const inPieces = source.atOnce < Infinity;
    const places = {
      args: scope.reserve(structBytes(ATTEND_ARGS)),
      scratch: scope.reserve(kernels.scratchBytes(...dims)),
      tiles: inPieces ? scope.reserve(problem.numKvHeads * kernels.pieceTileBytes(...dims)) : 0,
      q: queries,
      keepMask: scope.input(problem.keepMask?.data),
      bias: scope.input(bias?.data),
      alibiSlopes: scope.input(problem.alibiSlopes),
      sinks: scope.input(problem.sinks),
      out: out.reserve(scope),
      lse: lse.reserve(scope),
    };
    run(instance, problem, places, source);
    const written = out.take()!;
    const writtenLse = lse.take();
    return writtenLse ? { out: written, lse: writtenLse } : { out: written };
  } finally {
    scope.release();
  }
}

const OUT_SHAPE = "batch × seqLenQ × numHeads × valueDim";
