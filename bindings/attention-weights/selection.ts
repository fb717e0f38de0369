import type { Problem } from "../attention/problem.ts";
import { checkChoice, checkInteger, wrongKind, wrongValue } from "../check.ts";
import { UNLIMITED } from "../engine/abi.ts";
import type { Arena } from "../memory/arena.ts";
import { type Floats, checkFloatsOf } from "../memory/data.ts";
import type { Choice, Stage } from "./options.ts";

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
