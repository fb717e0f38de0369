import { stageKeys } from "../attention/kv-source.ts";
import type { Operands } from "../attention/operands.ts";
import { type Problem, checkKeys, checkProblem, checkQueries } from "../attention/problem.ts";
import { checkLength, checkTypedArray, wrongKind } from "../check.ts";
import { UNLIMITED } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { withScope } from "../memory/call-scope.ts";
import { type Arena, integersAt } from "../memory/arena.ts";
import { halves } from "../memory/data.ts";
import { Output, checkApart, freshArray, optionalOutput } from "../memory/output.ts";
import { readOptions } from "../options.ts";
import { WEIGHTS_NAMES, type WeightsOptions, type WeightsResult } from "./options.ts";
import { planCall } from "./plan.ts";
import { runPlan } from "./run.ts";
import { type Selection, checkSelection, checkStage, throughStage } from "./selection.ts";

/** The attention weights of q over the array or Tensor k; see `Heed.attentionWeights` for shapes and errors. */
export function attentionWeights(
  instance: Instance,
  qGiven: unknown,
  kGiven: unknown,
  given: WeightsOptions,
): WeightsResult {
  const { arena } = instance;
  const options = readOptions("attentionWeights", given, WEIGHTS_NAMES);
  const [q, k] = [halves(qGiven), halves(kGiven)];
  const queries = checkQueries(arena, q, options);
  const keys = checkKeys(arena, k, queries);
  const checked = checkProblem(arena, options, queries, keys.rowsKv);
  const problem = throughStage(checkStage(options), checked, UNLIMITED);
  const selection = checkSelection(arena, problem, options);
  return computeWeights(instance, problem, selection, options, {
    given: { q, k },
    place: (scope) => ({ q: problem.q, kv: stageKeys(arena, scope, problem, keys.k, instance.pool !== undefined) }),
  });
}

/**
 * A checked call: places the operands, runs the kernels and hands the outputs over. Whatever happens, the memory of the
 * call is given back. Operands.v is not used.
 *
 * @throws as `Heed.attentionWeights` for the options weights, entropy and indices, and where memory cannot grow
 */
export function computeWeights(
  instance: Instance,
  problem: Problem,
  selection: Selection,
  options: WeightsOptions,
  operands: Operands,
): WeightsResult {
  const { arena } = instance;
  const { batch, rowsKv } = problem;
  const { rows, heads, reduce, topK } = selection;
  const rowHeads = batch * heads.length * rows.length;
  const [resultRows, shape] = {
    none: [rowHeads, "batch × heads × rows"] as const,
    mean: [batch * rows.length, "batch × rows"] as const,
    keySum: [batch * heads.length, "batch × heads"] as const,
  }[reduce ?? "none"];
  const length = resultRows * (topK ?? rowsKv);
  const what = `${shape} × ${topK === undefined ? "seqLenKv" : "topK"}`;
  const weights = new Output(arena, "weights", options.weights, length, what);
  const entropy = optionalOutput(arena, "entropy", options.entropy, rowHeads, "batch × heads × rows");
  const target = options.indices === undefined ? undefined : checkIndices(arena, options.indices, length, what);
  const keys = target ?? (topK === undefined ? undefined : freshArray(Int32Array, "indices", length));
  const outputs = { weights: options.weights, entropy: options.entropy, indices: options.indices };
  checkApart(arena, outputs, options, operands.given);

  return withScope(arena, (scope) => {
    const indices = topK === undefined ? 0 : scope.reserve(length * 4);
    const pointers = { weights: weights.reserve(scope), rows: resultRows, indices, entropy: entropy.reserve(scope) };
    // Without rows and without a result there is nothing to do, however many batch entries and heads the options name.
    if (rowHeads > 0 || length > 0) {
      runPlan(planCall(instance, problem, selection, scope, operands.place(scope), pointers));
    }
    const written: WeightsResult = { weights: weights.take()! };
    const writtenEntropy = entropy.take();
    if (writtenEntropy) written.entropy = writtenEntropy;
    if (keys) {
      keys.set(integersAt(arena, indices, length));
      written.indices = options.indices ?? keys;
    }
    return written;
  });
}

/** Checks where the indices are to be written. The caller's array is no place of the kernels, so it is not in memory. */
function checkIndices(arena: Arena, indices: unknown, length: number, what: string): Int32Array {
  const target = checkTypedArray("indices", indices, "Int32Array", "an Int32Array");
  checkLength("indices", target.length, length, what);
  if (arena.owns(target.buffer)) {
    throw wrongKind("indices", "an Int32Array outside the instance's memory", indices);
  }
  return target;
}
