import { type Heed, load } from "heed";
import { type Effort, type Entrant, measure } from "../harness/measure.ts";
import type { Figure } from "./scaling.ts";
import { makeProblem, shape } from "./shapes.ts";

/** One query against resident keys: a cache that fits the processor's, one that does not, and groups of query heads. */
const SHAPES = ["1×12×1×1024×64", "1×32×1×4096×128", "1×32/8×1×4096×128"];

/** What the weights of one row of every head cost beside its attention, and what of their memory is not the answer. */
export async function measureWeights(effort: Effort, progress: (text: string) => void): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const variant of ["relaxed", "simd"] as const) {
    let heed: Heed;
    try {
      heed = await load({ variant });
    } catch {
      continue; // This engine does not run the build.
    }
    for (const dims of SHAPES) {
      for (const { what, run, attend, dispose } of casesOf(heed, dims)) {
        const entrants: Entrant[] = [
          { name: "weights", form: "", kind: "heed", run },
          { name: "decode", form: "", kind: "heed", run: attend },
        ];
        const timings = await measure(entrants, effort, (text) => progress(`weights, ${variant}, ${dims}: ${text}`));
        const [weights, decode] = ["weights", "decode"].map((name) => timings.find((timing) => timing.name === name)!);
        const value = weights!.best / decode!.best;
        figures.push({
          variant,
          what: `${what} ${dims} ÷ its decode step`,
          value,
          unit: "×",
          bar: "≤ 1.5",
          holds: value <= 1.5,
        });
        dispose();
      }
    }
    heed.dispose();
    figures.push(await measureMemory(variant));
  }
  return figures;
}

/** From a cache of f32, with the answer copied out, as the call gives it. */
function* casesOf(heed: Heed, dims: string) {
  const { q, k, v, shape: sizes } = makeProblem(shape(dims));
  const { numHeads, numKvHeads, headDim, seqLenKv } = sizes;
  const cases = [
    ["weights of one row", {}],
    ["10 largest of the mean of", { reduce: "mean", topK: 10 }],
  ] as const;
  for (const [what, options] of cases) {
    const cache = heed.createKvCache({ numKvHeads, headDim, capacity: seqLenKv });
    cache.append(k, v);
    yield {
      what,
      run: () => cache.attentionWeights(q, { numHeads, ...options }),
      attend: () => cache.attention(q, { numHeads }),
      dispose: () => cache.dispose(),
    };
  }
}

async function measureMemory(variant: "relaxed" | "simd"): Promise<Figure> {
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
