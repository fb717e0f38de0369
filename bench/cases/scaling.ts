// How heed grows, beside itself: what masks save, what copying costs, how time and memory grow, and the smallest call.
import { type AttentionOptions, type Heed, type Tensor, load } from "heed";
import type { Entrant } from "../harness/entrant.ts";
import type { Figure } from "../harness/figure.ts";
import { type Effort, type Timing, measure, median } from "../harness/measure.ts";
import { type Floats, mulberry32, uniform } from "../harness/random.ts";
import { type Variant, loadBuilds } from "../peers/heed.ts";

type Progress = (text: string) => void;
type Options = Omit<AttentionOptions, "out" | "lse">;

/**
 * `quick` measures the faster build alone. Ratios of long calls compare the best times, which other programs on the
 * machine disturb least.
 */
export async function measureScaling(effort: Effort, quick: boolean, progress: Progress): Promise<Figure[]> {
  const figures: Figure[] = [];
  const { builds } = await loadBuilds();
  for (const heed of quick ? builds.slice(0, 1) : builds) {
    const { variant } = heed;
    const say: Progress = (text) => progress(`scaling, ${variant}: ${text}`);
    const add = (what: string, value: number, unit: string, atMost?: number): void => {
      const bar = atMost === undefined ? "" : `≤ ${atMost}`;
      figures.push({ variant, what, value, unit, bar, holds: atMost === undefined || value <= atMost });
    };
    await measureMasks(heed, effort, say, add);
    await measureCopies(heed, effort, say, add);
    await measureSmallCall(heed, effort, say, add);
    const lengths = quick ? [512, 1024, 2048, 4096] : [512, 1024, 2048, 4096, 8192, 16384];
    await measureGrowth("seqLenKv", heed, lengths, effort, say, add);
    await measureGrowth("seqLenQ", heed, lengths, effort, say, add);
    await measureMemory(variant, lengths, add);
  }
  for (const heed of builds) heed.dispose();
  return figures;
}

type Add = (what: string, value: number, unit: string, atMost?: number) => void;

async function measureMasks(heed: Heed, effort: Effort, say: Progress, add: Add): Promise<void> {
  const ratio = async (seqLen: number, headDim: number, options: Partial<Options>, without: Partial<Options> = {}) => {
    const base = { numHeads: 8, headDim };
    using all = resident(heed, "without", seqLen, seqLen, { ...base, ...without });
    using part = resident(heed, "with", seqLen, seqLen, { ...base, ...without, ...options });
    const times = byName(await measure([all, part], effort, say));
    return times("with").best / times("without").best;
  };
  const causal = { causal: true };
  add("causal 1×8×2048×2048×64 ÷ without", await ratio(2048, 64, causal), "×", 0.58);
  add("causal 1×8×2048×2048×128 ÷ without", await ratio(2048, 128, causal), "×", 0.58);
  const both = { window: { left: 256, right: 256 } };
  add("window 256 + 256 at 1×8×4096×4096×64 ÷ without", await ratio(4096, 64, both), "×", 0.16);
  const left = { window: { left: 256 } };
  add("causal window 256 at 1×8×4096×4096×64 ÷ causal", await ratio(4096, 64, left, causal), "×", 0.16);
}

async function measureCopies(heed: Heed, effort: Effort, say: Progress, add: Add): Promise<void> {
  const options = { numHeads: 12, headDim: 64 };
  const [q, k, v, out] = [1, 2, 3, 4].map((seed) => uniform(512 * 12 * 64, mulberry32(seed))) as [
    Floats,
    Floats,
    Floats,
    Floats,
  ];
  using inPlace = resident(heed, "resident", 512, 512, options);
  const times = byName(
    await measure(
      [
        inPlace,
        { name: "copied", form: "", kind: "heed", run: () => heed.attention(q, k, v, options) },
        { name: "copied to out", form: "", kind: "heed", run: () => heed.attention(q, k, v, { ...options, out }) },
      ],
      { ...effort, budget: 2 * effort.budget },
      say,
    ),
  );
  const cost = (name: string): number => 100 * (times(name).median / times("resident").median - 1);
  add("copying in and out at 1×12×512×512×64", cost("copied"), "%", 6);
  add("the same with a reused out", cost("copied to out"), "%", 6);
}

async function measureSmallCall(heed: Heed, effort: Effort, say: Progress, add: Add): Promise<void> {
  const options = { numHeads: 1, headDim: 64 };
  const [q, k, v] = [1, 2, 3].map((seed) => uniform(16 * 64, mulberry32(seed))) as [Floats, Floats, Floats];
  const small: Entrant = { name: "small", form: "", kind: "heed", run: () => heed.attention(q, k, v, options) };
  const times = byName(await measure([small], effort, say));
  add("1×1×16×16×64 with Float32Arrays", 1000 * times("small").median, "µs", 25);
}

/** The largest departure of the time per query and key from its median over all lengths. */
async function measureGrowth(
  along: "seqLenQ" | "seqLenKv",
  heed: Heed,
  lengths: number[],
  effort: Effort,
  say: Progress,
  add: Add,
): Promise<void> {
  const entrants = lengths.map((length) => {
    const [seqLenQ, seqLenKv] = along === "seqLenQ" ? [length, 512] : [512, length];
    return resident(heed, String(length), seqLenQ, seqLenKv, { numHeads: 2, headDim: 64 });
  });
  const times = byName(await measure(entrants, effort, say));
  for (const entrant of entrants) entrant[Symbol.dispose]();
  const each = lengths.map((length) => times(String(length)).best / length);
  const middle = median(each);
  const departures = each.map((time) => time / middle - 1);
  const worst = departures.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
  const what = `time per ${along === "seqLenQ" ? "query" : "key"}, ${lengths[0]!} … ${lengths.at(-1)!}, off the median`;
  const where = `${lengths[departures.indexOf(worst)]!}, ${worst > 0 ? "slower" : "faster"}`;
  add(`${what}, most at ${where}`, 100 * Math.abs(worst), "%", 10);
}

/** Bytes for each float passed and returned, at the longest call, and what of the peak is neither. */
async function measureMemory(variant: Variant, lengths: number[], add: Add): Promise<void> {
  const scratch: number[] = [];
  // From 1024 rows on the scratch is that of the most blocks that share a pass.
  for (const length of [1024, lengths.at(-1)!]) {
    const heed = await load({ variant });
    const floats = length * 64;
    const q = uniform(floats, mulberry32(1));
    heed.attention(q, q, q, { numHeads: 1, headDim: 64 });
    scratch.push(heed.memory.peak - 4 * 4 * floats);
    heed.dispose();
  }
  add(`peak memory beyond q, k, v and out at ${lengths.at(-1)!}²`, scratch[1]! / 1024, "KiB");
  add("the same, less that at 1024²", (scratch[1]! - scratch[0]!) / 1024, "KiB", 1);
}

/** An entrant with q, k, v and out in linear memory. */
function resident(heed: Heed, name: string, seqLenQ: number, seqLenKv: number, options: Options): Entrant & Disposable {
  const row = options.numHeads * options.headDim;
  const tensors = [seqLenQ, seqLenKv, seqLenKv, seqLenQ].map((length, n) => {
    const tensor = heed.tensor(length * row);
    tensor.data.set(uniform(length * row, mulberry32(n)));
    return tensor;
  });
  const [q, k, v, out] = tensors as [Tensor, Tensor, Tensor, Tensor];
  return {
    name,
    form: "",
    kind: "heed",
    run: () => heed.attention(q, k, v, { ...options, out }),
    [Symbol.dispose]: () => tensors.forEach((tensor) => tensor.dispose()),
  };
}

function byName(timings: readonly Timing[]): (name: string) => Timing {
  return (name) => timings.find((timing) => timing.name === name)!;
}
