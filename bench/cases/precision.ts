// Half precision beside full: the same calls in turns, and how far their results are apart.
import { load } from "heed";
import type { Figure } from "../harness/figure.ts";
import { median } from "../harness/measure.ts";
import { mulberry32 } from "../harness/random.ts";

/** heads, rows of q, of k and of v, dims. */
const SHAPES = [
  { name: "1×12×512×512×64", heads: 12, length: 512, dim: 64 },
  { name: "1×8×1024×1024×64", heads: 8, length: 1024, dim: 64 },
  { name: "1×8×1024×1024×64 causal", heads: 8, length: 1024, dim: 64, causal: true },
  { name: "1×8×2048×2048×128", heads: 8, length: 2048, dim: 128 },
  { name: "1×12×128×128×64", heads: 12, length: 128, dim: 64 },
] as const;
/** Pairs of calls. */
const [PAIRS, QUICK_PAIRS] = [41, 7];

export async function measurePrecision(quick: boolean, say: (text: string) => void): Promise<Figure[]> {
  const figures: Figure[] = [];
  const { variant } = await load();
  for (const build of new Set([variant, "simd" as const])) {
    using heed = await load({ variant: build });
    for (const { name, heads, length, dim, ...rest } of SHAPES) {
      say(`${build}, ${name}`);
      const next = normal(mulberry32(7));
      const tensors = Array.from({ length: 4 }, (_, n) => {
        const tensor = heed.tensor(length * heads * dim);
        if (n < 3) tensor.data.forEach((_, i, data) => (data[i] = next()));
        return tensor;
      });
      const [q, k, v, out] = tensors as [
        (typeof tensors)[0],
        (typeof tensors)[0],
        (typeof tensors)[0],
        (typeof tensors)[0],
      ];
      const options = { numHeads: heads, headDim: dim, causal: "causal" in rest, out };
      const run = (precision: "full" | "half"): number => {
        const start = performance.now();
        heed.attention(q, k, v, { ...options, precision });
        return performance.now() - start;
      };
      run("half");
      const half = out.data.slice();
      run("full");
      const difference = out.data.reduce((most, x, i) => Math.max(most, Math.abs(x - half[i]!)), 0);
      const times = { full: [] as number[], half: [] as number[] };
      const ratios: number[] = [];
      for (let n = 0; n < (quick ? QUICK_PAIRS : PAIRS); n++) {
        // Neighbours are compared, the one first and the other first.
        const order = n % 2 === 0 ? (["full", "half"] as const) : (["half", "full"] as const);
        for (const precision of order) times[precision].push(run(precision));
        ratios.push(times.full.at(-1)! / times.half.at(-1)!);
      }
      const flops = 4 * heads * length * length * dim * ("causal" in rest ? 0.5 : 1);
      const add = (what: string, value: number, unit: string, bar?: number): void => {
        const holds = bar === undefined || value >= bar;
        figures.push({ variant: build, what: `${name}: ${what}`, value, unit, bar: bar ? `≥ ${bar}` : "", holds });
      };
      add("full", flops / median(times.full) / 1e6, "GFLOP/s");
      add("half", flops / median(times.half) / 1e6, "GFLOP/s");
      const isJudged = length >= 512;
      const bar = !isJudged ? undefined : build === "simd" ? 1.7 : 1;
      add(`half ÷ full, median of ${ratios.length} pairs`, median(ratios), "×", bar);
      add("largest difference of out, in millionths", difference * 1e6, "");
      for (const tensor of tensors) tensor.dispose();
    }
  }
  return figures;
}

/** Normal numbers of mean 0 and variance 1. */
function normal(next: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}
