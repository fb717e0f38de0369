// What the attention weights of one row of every head cost beside its attention.
import { load } from "heed";
import type { Figure } from "../harness/figure.ts";
import { type Effort, measure } from "../harness/measure.ts";
import { makeProblem, shape } from "../harness/problem.ts";
import { type Variant, loadBuilds } from "../peers/heed.ts";
import { weightsContenders } from "../peers/heed-contenders.ts";
import { WEIGHTS_CASES, WEIGHTS_SHAPES } from "./shapes.ts";

/** Time beside a decode step over the same cache, the answer copied out, and what of the memory is not the answer. */
export async function measureWeights(effort: Effort, progress: (text: string) => void): Promise<Figure[]> {
  const figures: Figure[] = [];
  const { builds } = await loadBuilds();
  for (const heed of builds) {
    const { variant } = heed;
    for (const dims of WEIGHTS_SHAPES) {
      const problem = makeProblem(shape(dims));
      for (const { what, selection } of WEIGHTS_CASES) {
        const contenders = weightsContenders(heed, problem, selection);
        const timings = await measure(contenders, effort, (text) => progress(`weights, ${variant}, ${dims}: ${text}`));
        for (const contender of contenders) contender.dispose?.();
        const best = (name: string): number => timings.find((timing) => timing.name === name)!.best;
        const value = best("weights") / best("decode");
        figures.push({
          variant,
          what: `${what} ${dims} ÷ its decode step`,
          value,
          unit: "×",
          bar: "≤ 1.5",
          holds: value <= 1.5,
        });
      }
    }
    figures.push(await measureMemory(variant));
    heed.dispose();
  }
  return figures;
}

async function measureMemory(variant: Variant): Promise<Figure> {
  const heed = await load({ variant });
  const [rows, heads, keys, headDim] = [32, 32, 16384, 64];
  const [q, k] = [rows, keys].map((length) => heed.tensor(length * heads * headDim));
  const before = heed.memory.used;
  const { weights } = heed.attentionWeights(q!, k!, { numHeads: heads, headDim });
  const value = (heed.memory.peak - before - weights.byteLength) / 1024;
  heed.dispose();
  const what = `weights of ${rows} rows of ${heads} heads × ${keys} keys: peak memory beyond the answer`;
  return { variant, what, value, unit: "KiB", bar: "≤ 1024", holds: value <= 1024 };
}
