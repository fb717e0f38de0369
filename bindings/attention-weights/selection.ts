import { LSE_SHAPE, type Problem } from "../attention/problem.ts";
import { checkChoice, checkInteger, checkIntegers, wrongKind, wrongValue } from "../check.ts";
import { UNLIMITED } from "../engine/abi.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, checkFloatsOf } from "../memory/data.ts";
import type { Stage, WeightsOptions } from "./options.ts";

/** Which rows of which heads a checked call returns, and how they are summed up. */
export interface Selection {
  /** Query rows and query heads, in the order in which they are returned. */
  readonly rows: Int32Array;
  readonly heads: Int32Array;
  /** The lse of the call that computed the attention: [batch, numHeads, rowsQ]. */
  readonly lse: Floats | undefined;
  readonly reduce: "mean" | "keySum" | undefined;
  /** At most rowsKv; undefined for all keys. */
  readonly topK: number | undefined;
  readonly stage: Stage;
}

/** Checks the option `stage`. */
export function checkStage({ stage = "softmax" }: WeightsOptions): Stage {
  return checkChoice("stage", stage, ["scores", "softcap", "masked", "softmax"]);
}

/**
 * The problem without the steps that come after `stage`. Before the masks are applied, a query sees every key; only
 * keys more than `windowLeft` to the left of its position stay unseen, since a cache may have given them back.
 */
export function throughStage(stage: Stage, problem: Problem, windowLeft: number): Problem {
  if (stage === "masked" || stage === "softmax") return problem;
  return {
    ...problem,
    softcap: stage === "softcap" ? problem.softcap : 0,
    left: Math.min(windowLeft, UNLIMITED),
    right: UNLIMITED,
    keepMask: undefined,
    bias: undefined,
    alibiSlopes: undefined,
  };
}

/** Checks every option that says which weights are returned and in what form. */
export function checkSelection(arena: Arena, problem: Problem, options: WeightsOptions): Selection {
  const { rowsQ, rowsKv, numHeads, lseLength } = problem;
  const { lse, reduce, topK } = options;
  const stage = checkStage(options);
  for (const title of ["lse", "reduce", "topK", "entropy"] as const) {
    if (stage !== "softmax" && options[title]) throw wrongValue("stage", `"softmax" beside ${title}`, stage);
  }
  if (topK === undefined && options.indices !== undefined) {
    throw wrongKind("topK", "an integer beside indices", undefined);
  }
  return {
    rows: checkSubset("rows", options.rows, rowsQ),
    heads: checkSubset("heads", options.heads, numHeads),
    lse: lse === undefined ? undefined : checkFloatsOf("lse", lse, arena, lseLength, LSE_SHAPE),
    reduce: reduce === undefined ? undefined : checkChoice<"mean" | "keySum">("reduce", reduce, ["mean", "keySum"]),
    topK: topK === undefined ? undefined : Math.min(checkInteger("topK", topK, 1), rowsKv),
    stage,
  };
}

/** Some of the integers 0 … count − 1, in any order and as often as they are given; all of them by default. */
function checkSubset(title: string, value: unknown, count: number): Int32Array {
  if (value === undefined) return Int32Array.from({ length: count }, (_, i) => i);
  const elements = Array.isArray(value)
    ? (value as unknown[])
    : checkIntegers(title, value, "an Int32Array or an array of integers");
  return Int32Array.from(elements as ArrayLike<number>, (element, i) =>
    // The title of each element would cost more than the check.
    Number.isInteger(element) && element >= 0 && element < count
      ? element
      : checkInteger(`${title}[${i}]`, element, 0, count - 1),
  );
}
