import { type KeySource, keysOfArray } from "../attention/kv-source.ts";
import { type Dims, type Keys, type Problem, checkProblem } from "../attention/problem.ts";
import { checkRows, wrongKind, wrongValue } from "../check.ts";
import { UNLIMITED } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import type { Arena } from "../memory/arena.ts";
import { CallScope } from "../memory/call-scope.ts";
import { checkFloats } from "../memory/data.ts";
import { Output } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";
import type { Results, WeightsOptions } from "./options.ts";
import { type Answer, Weighing, batchOf } from "./plan.ts";
import { type Selection, checkSelection, checkStage, upTo } from "./selection.ts";

/** What a call returns, whatever its options. */
export interface PlainWeights {
  weights: Float32Array | Tensor;
  indices?: Int32Array;
  entropy?: Float32Array | Tensor;
}

/** The weights of q over the array k. */
export function attentionWeights(instance: Instance, q: unknown, k: unknown, options: WeightsOptions): PlainWeights {
  const { arena } = instance;
  const checked = checkProblem(arena, q, options, (dims) => checkKeyRows(arena, k, dims));
  const problem = upTo(checkStage(options), checked, UNLIMITED);
  const selection = checkSelection(arena, problem, options);
  return weigh(instance, problem, selection, options, (scope) => keysOfArray(arena, problem, scope));
}

/** Checks k alone. */
function checkKeyRows(arena: Arena, kIn: unknown, { batch, numKvHeads, headDim }: Dims): Keys {
  const k = checkFloats("k", kIn, arena);
  const what = `${batch > 1 ? "batch × " : ""}numKvHeads × headDim`;
  return { k, v: { ptr: 0, length: 0 }, rowsKv: checkRows("k", k.length, batch * numKvHeads * headDim, what) };
}

/** A checked call: reserve, weigh, copy out, release. */
export function weigh(
  instance: Instance,
  problem: Problem,
  selection: Selection,
  options: Results,
  keysIn: (scope: CallScope) => KeySource,
): PlainWeights {
  const { arena } = instance;
  const { q, k, bias, rowsKv } = problem;
  const { rows, heads, lse, reduce, topK } = selection;
  const batch = batchOf(problem);
  const [length, shape] = {
    none: [batch * heads.length * rows.length, "batch × heads × rows"] as const,
    mean: [batch * rows.length, "batch × rows"] as const,
    keySum: [batch * heads.length, "batch × heads"] as const,
  }[reduce ?? "none"];
  const kept = topK ?? rowsKv;
  const title = `${shape} × ${topK === undefined ? "seqLenKv" : "topK"}`;
  const weights = new Output("weights", options.weights, "when absent", arena, length * kept, title);
  const rowCount = batch * heads.length * rows.length;
  const entropy = new Output("entropy", options.entropy, "when true", arena, rowCount, "batch × heads × rows");
  const inputs = { q, k, bias: bias?.data, alibiSlopes: problem.alibiSlopes, sinks: problem.sinks, lse };
  weights.checkApartFrom({ ...inputs, entropy: entropy.place });
  entropy.checkApartFrom(inputs);
  checkIndices(options.indices, length * kept, title);

  const scope = new CallScope(arena);
  try {
    const indices = topK === undefined ? 0 : scope.reserve(length * kept * 4);
    const answer: Answer = { weights: weights.reserve(scope), indices, entropy: entropy.reserve(scope) };
    new Weighing(instance, problem, selection, scope, keysIn(scope), answer).run();
    const written: PlainWeights = { weights: weights.take()! };
    const writtenEntropy = entropy.take();
    if (writtenEntropy) written.entropy = writtenEntropy;
    if (topK !== undefined) {
      written.indices = options.indices ?? new Int32Array(length * kept);
      written.indices.set(new Int32Array(arena.buffer, indices, length * kept));
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
