// The linear layer beside MatMul and Add of onnxruntime.
import type { Heed } from "heed";
import { type LinearProblem, makeLinearProblem } from "../harness/layer-problems.ts";
import { linearContenders } from "../peers/heed-contenders.ts";
import { linearForms } from "../peers/linear-forms.ts";
import type { OnnxRuntime } from "../peers/onnxruntime.ts";
import { type Race, toleranceOf } from "./race.ts";
import { nameOfProduct } from "./shapes.ts";

export async function linearRace(
  builds: readonly Heed[],
  runtimes: readonly OnnxRuntime[],
  product: readonly [number, number, number],
): Promise<Race> {
  const problem = makeLinearProblem(product);
  const { rows, inFeatures, outFeatures } = problem;
  const entrants = builds.flatMap((heed) => linearContenders(heed, problem));
  for (const runtime of runtimes) {
    for (const form of linearForms(problem)) entrants.push(await runtime.prepare(form));
  }
  const flops = 2 * rows * inFeatures * outFeatures;
  const exact = exactValues(problem);
  return { what: nameOfProduct(product), flops, entrants, exact, tolerance: toleranceOf(inFeatures) };
}

/** 512 values of the result in f64, the first and the last among them. */
function exactValues({ rows, inFeatures, outFeatures, x, weight, bias }: LinearProblem): Map<number, number> {
  const exact = new Map<number, number>();
  for (let n = 0, at = 0; n < 512; n++, at = Math.floor((n * (rows * outFeatures - 1)) / 511)) {
    const [row, o] = [Math.floor(at / outFeatures), at % outFeatures];
    let sum = bias[o]!;
    for (let t = 0; t < inFeatures; t++) sum += x[row * inFeatures + t]! * weight[o * inFeatures + t]!;
    exact.set(at, sum);
  }
  return exact;
}
