import type { Arena } from "../memory/arena.ts";
import type { Instance } from "../attention/attention.ts";
import {
  type Floats,
  checkChoice,
  checkFloats,
  checkFloatsOf,
  checkInteger,
  checkRows,
  wrongKind,
  wrongValue,
} from "../check.ts";
import { keysOfArray } from "../attention/kv-source.ts";
import {
  type AttentionOptions,
  type Dims,
  type Keys,
  type Problem,
  UNLIMITED,
  checkProblem,
} from "../attention/options.ts";
import type { Written } from "../memory/output.ts";
import type { Tensor } from "../memory/tensor.ts";
import { type PlainWeights, weigh } from "./attention-weights.ts";

/** How far the computation goes: scale·q·k, then softcap, then ALiBi, bias and masks, then the softmax. */
export type Stage = "scores" | "softcap" | "masked" | "softmax";

/** What `attentionWeights` takes besides q and k: every option of `attention` that says what is computed, and what to return of it. */
export interface WeightsOptions extends Omit<AttentionOptions, "out" | "lse"> {
  /** [batch, numHeads, seqLenQ], whole, as `attention` returned it: settles the denominators. Default computed, for the rows alone. */
  lse?: Float32Array | Tensor | undefined;
  /** Query rows, in the order in which they are returned, of 0 … seqLenQ − 1 (totalQ − 1 if packed). Default all. */
  rows?: Int32Array | readonly number[] | undefined;
  /** Query heads, likewise. Default all. */
  heads?: Int32Array | readonly number[] | undefined;
  /** "mean" averages the heads, [batch, rows, seqLenKv]; "keySum" adds up the rows, [batch, heads, seqLenKv]. */
  reduce?: "mean" | "keySum" | undefined;
  /** Only the n largest weights of what would be returned, and where they stand; at most seqLenKv of them. */
  topK?: number | undefined;
  /** Also the entropy of each row in nats, −Σ w·ln w over its keys, [batch, heads, rows]; true = a fresh array. */
  entropy?: boolean | Float32Array | Tensor | undefined;
  /** Returns what the scores are after a step instead; see {@link Stage}. Without lse, reduce, topK and entropy. Default "softmax". */
  stage?: Stage | undefined;
  /** Where to write the weights. Default a fresh Float32Array. */
  weights?: Float32Array | Tensor | undefined;
  /** Where to write the indices of topK. Default a fresh Int32Array. */
  indices?: Int32Array | undefined;
}

/** What `attentionWeights` returns. */
export type WeightsResult<O extends Results = Results> = {
  /** [batch, heads, rows, seqLenKv] (packed: totalKv), or as `reduce` says; with `topK` the last dimension is min(topK, seqLenKv). */
  weights: Written<O["weights"]>;
} & (O["topK"] extends number
  ? {
      /** The keys of the weights, largest weight first; of equal ones the first key first. */
      indices: Int32Array;
    }
  : { indices?: Int32Array }) &
  (O["entropy"] extends true | Float32Array | Tensor
    ? {
        /** [batch, heads, rows] */
        entropy: Written<O["entropy"]>;
      }
    : { entropy?: Written<O["entropy"]> });

/** Where results go. */
export type Results = Pick<WeightsOptions, "weights" | "topK" | "indices" | "entropy">;

/** The options that do not say what the weights are, but which, and what of them. */
export type Choice = Results & Pick<WeightsOptions, "lse" | "rows" | "heads" | "reduce" | "stage">;

/** A checked call but for its problem: which rows, and what of them. */
export interface Selection {
  rows: Int32Array;
  heads: Int32Array;
  lse: Floats | undefined;
  reduce: "mean" | "keySum" | undefined;
  /** At most rowsKv; undefined = all keys. */
  topK: number | undefined;
  stage: Stage;
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

export function checkStage({ stage = "softmax" }: Choice): Stage {
  return checkChoice("stage", stage, ["scores", "softcap", "masked", "softmax"]);
}

/** The problem without the steps after `stage`. Before the masks a query sees every key, but for those left of `reach`. */
export function upTo(stage: Stage, problem: Problem, reach: number): Problem {
  if (stage === "masked" || stage === "softmax") return problem;
  const softcap = stage === "softcap" ? problem.softcap : 0;
  const left = Math.min(reach, UNLIMITED);
  return { ...problem, softcap, left, right: UNLIMITED, keepMask: undefined, bias: undefined, alibiSlopes: undefined };
}

/** Checks every option that says what is returned. */
export function checkSelection(arena: Arena, problem: Problem, options: Choice): Selection {
  const { rowsQ, rowsKv, numHeads, lseLength } = problem;
  const { lse, reduce, topK } = options;
  const stage = checkStage(options);
  for (const [title, value] of Object.entries({ lse, reduce, topK, entropy: options.entropy || undefined })) {
    if (stage !== "softmax" && value !== undefined) {
      throw wrongValue("stage", `"softmax" beside ${title}`, stage);
    }
  }
  if ("out" in options && options.out !== undefined) {
    throw wrongKind("out", 'nothing, since weights go to "weights"', options.out);
  }
  if (topK === undefined && options.indices !== undefined) {
    throw wrongKind("topK", "an integer beside indices", undefined);
  }
  return {
    rows: checkChosen("rows", options.rows, rowsQ, "rows of q"),
    heads: checkChosen("heads", options.heads, numHeads, "numHeads"),
    lse: lse === undefined ? undefined : checkFloatsOf("lse", lse, arena, lseLength, "batch × numHeads × seqLenQ"),
    reduce: reduce === undefined ? undefined : checkChoice("reduce", reduce, REDUCTIONS),
    topK: topK === undefined ? undefined : Math.min(checkInteger("topK", topK, 1), rowsKv),
    stage,
  };
}

const REDUCTIONS = ["mean", "keySum"] as const;

/** Integers of [0, count), or all of them. */
function checkChosen(title: string, value: unknown, count: number, what: string): Int32Array {
  if (value === undefined) return Int32Array.from({ length: count }, (_, i) => i);
  if (!(value instanceof Int32Array) && !Array.isArray(value)) {
    throw wrongKind(title, "an Int32Array or an array of integers", value);
  }
  for (const [i, chosen] of value.entries()) {
    if (typeof chosen !== "number") throw wrongKind(`${title}[${i}]`, "an integer", chosen);
    if (!Number.isInteger(chosen) || chosen < 0 || chosen >= count) {
      throw wrongValue(`${title}[${i}]`, `an integer from 0 to ${count - 1} (${what} − 1)`, chosen);
    }
  }
  return Int32Array.from(value as ArrayLike<number>);
}
