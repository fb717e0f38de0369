// Rows of 16 bits beside f32: the same calls in turns, and the memory of a call.
import { load } from "heed";
import type { Figure } from "../harness/figure.ts";
import { median } from "../harness/measure.ts";
import { mulberry32 } from "../harness/random.ts";

const [HEADS, LENGTH, DIM] = [12, 512, 64];
const NAME = "1×12×512×512×64";
/** Pairs of calls. */
const [PAIRS, QUICK_PAIRS] = [61, 9];

type Heed = Awaited<ReturnType<typeof load>>;
type Dtype = "f32" | "f16" | "bf16";
type Rows = Parameters<Heed["attention"]>[0];

/** q, k, v and out in arrays or Tensors; the values do not matter for the time, but are finite and of unit size. */
function operands(heed: Heed, dtype: Dtype, inTensors: boolean): [Rows, Rows, Rows, Rows] {
  const length = HEADS * LENGTH * DIM;
  const next = mulberry32(7);
  const rows = Array.from({ length: 4 }, (): Rows => {
    const floats = Float32Array.from({ length }, () => 4 * next() - 2);
    // The upper half of an f32 is bf16. As f16 the bits are numbers from 0.5 to 2.
    const words = new Uint32Array(floats.buffer);
    const bits = Uint16Array.from(words, (word) =>
      dtype === "bf16" ? word >>> 16 : ((word >>> 16) & 0x8000) | 0x3800 | ((word >>> 13) & 0x7ff),
    );
    if (!inTensors) return dtype === "f32" ? floats : { data: bits, dtype };
    const tensor = heed.tensor(length, dtype);
    tensor.data.set(dtype === "f32" ? floats : bits);
    return tensor;
  });
  return rows as [Rows, Rows, Rows, Rows];
}

/** A call with operands of a type. */
function callOf(heed: Heed, dtype: Dtype, inTensors: boolean): () => void {
  const [q, k, v, out] = operands(heed, dtype, inTensors);
  return () => {
    heed.attention(q, k, v, { numHeads: HEADS, headDim: DIM, out });
  };
}

/** The most bytes that an instance has held, its operands among them where they are Tensors. */
async function peakOf(variant: "simd" | "relaxed", dtype: Dtype, inTensors: boolean): Promise<number> {
  using heed = await load({ variant });
  callOf(heed, dtype, inTensors)();
  return heed.memory.peak;
}

export async function measureHalves(quick: boolean, say: (text: string) => void): Promise<Figure[]> {
  const figures: Figure[] = [];
  const { variant } = await load();
  for (const build of new Set([variant, "simd" as const])) {
    for (const inTensors of [false, true]) {
      const place = inTensors ? "Tensors" : "arrays";
      const widePeak = await peakOf(build, "f32", inTensors);
      for (const dtype of ["f16", "bf16"] as const) {
        say(`${build}, ${dtype} in ${place}`);
        using heed = await load({ variant: build });
        const calls = { wide: callOf(heed, "f32", inTensors), half: callOf(heed, dtype, inTensors) };
        const time = (call: () => void): number => {
          const start = performance.now();
          call();
          return performance.now() - start;
        };
        for (let n = 0; n < 5; n++) for (const call of Object.values(calls)) call();
        const ratios: number[] = [];
        for (let n = 0; n < (quick ? QUICK_PAIRS : PAIRS); n++) {
          // Neighbours are compared, the one first and the other first.
          if (n % 2 === 0) {
            const wide = time(calls.wide);
            ratios.push(time(calls.half) / wide);
          } else {
            const half = time(calls.half);
            ratios.push(half / time(calls.wide));
          }
        }
        const add = (what: string, value: number, unit: string, most: number): void => {
          const shown = { variant: build, what: `${NAME}: q, k, v and out of ${dtype} in ${place}, ${what}` };
          figures.push({ ...shown, value, unit, bar: `≤ ${most}`, holds: value <= most });
        };
        add(`time ÷ f32, median of ${ratios.length} pairs`, median(ratios), "×", 1.05);
        add("peak memory ÷ f32", (await peakOf(build, dtype, inTensors)) / widePeak, "×", 0.6);
      }
    }
  }
  return figures;
}
