import { stageKeys } from "../attention/kv-source.ts";
import type { Operands } from "../attention/operands.ts";
import { type Problem, checkKeys, checkProblem, checkQueries } from "../attention/problem.ts";
import { wrongKind, wrongValue } from "../check.ts";
import { UNLIMITED } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { CallScope } from "../memory/call-scope.ts";
import { Output } from "../memory/output.ts";
import type { WeightsOptions, WeightsOutputOptions, WeightsResult } from "./options.ts";
import { planCall } from "./plan.ts";
import { runPlan } from "./run.ts";
import { type Selection, checkSelection, checkStage, throughStage } from "./selection.ts";

/** The attention weights of q over the array or Tensor k; see `Heed.attentionWeights` for shapes and errors. */
export function attentionWeights(instance: Instance, q: unknown, k: unknown, options: WeightsOptions): WeightsResult {
  const { arena } = instance;
  const queries = checkQueries(arena, q, options);
  const keys = checkKeys(arena, k, queries);
  const checked = checkProblem(arena, options, queries, keys.rowsKv);
  const problem = throughStage(checkStage(options), checked, UNLIMITED);
  const selection = checkSelection(arena, problem, options);
  return computeWeights(instance, problem, selection, options, {
    k: keys.k,
    place: (scope) => ({ q: problem.q, kv: stageKeys(arena, scope, problem, keys.k) }),
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
  options: WeightsOutputOptions,
  operands: Operands,
): WeightsResult {
  const { arena } = instance;
  const { q, batch, bias, alibiSlopes, sinks, rowsKv } = problem;
  const { rows, heads, lse, reduce, topK } = selection;
  const rowHeads = batch * heads.length * rows.length;
  const [resultRows, shape] = {
    none: [rowHeads, "batch × heads × rows"] as const,
    mean: [batch * rows.length, "batch × rows"] as const,
    keySum: [batch * heads.length, "batch × heads"] as const,
  }[reduce ?? "none"];
  const length = resultRows * (topK ?? rowsKv);
  const what = `${shape} × ${topK === undefined ? "seqLenKv" : "topK"}`;
  const weights = Output.required(arena, "weights", options.weights, length, what);
  const entropy = Output.optional(arena, "entropy", options.entropy, rowHeads, "batch × heads × rows");
  const inputs = { q, k: operands.k, bias: bias?.data, alibiSlopes, sinks, lse };
  weights.checkApartFrom({ ...inputs, entropy: entropy.place });
  entropy.checkApartFrom(inputs);
  checkIndices(options.indices, length, what);

  const scope = new CallScope(arena);
  try {
    const indices = topK === undefined ? 0 : scope.reserve(length * 4);
    const outputs = { weights: weights.reserve(scope), indices, entropy: entropy.reserve(scope) };
    runPlan(planCall(instance, problem, selection, scope, operands.place(scope), outputs));
    const written: WeightsResult = { weights: weights.take()! };
    const writtenEntropy = entropy.take();
    if (writtenEntropy) written.entropy = writtenEntropy;
    if (topK !== undefined) {
      written.indices = options.indices ?? new Int32Array(length);
      written.indices.set(new Int32Array(arena.buffer, indices, length));
    }
    return written;
  } finally {
    scope.release();
  }
}

function checkIndices(indices: unknown, length: number, what: string): void {
  if (indices === undefined) return;
  if (!(indices instanceof Int32Array)) throw wrongKind("indices", "an Int32Array", indices);
  if (indices.length !== length) throw wrongValue("indices", `a length of ${length} (${what})`, indices.length);
}
