// heed.linear over packed weights of each dtype, beside f32.
import type { Heed } from "heed";
import { type LinearProblem, makeLinearProblem } from "../harness/layer-problems.ts";
import type { Entrant } from "../harness/entrant.ts";
import { type Effort, measure } from "../harness/measure.ts";
import { type Bar, formatBars, formatTable, gflops, milliseconds } from "../harness/report.ts";
import { loadBuilds } from "../peers/heed.ts";
import { nameOfProduct } from "./shapes.ts";

const DTYPES = ["f32", "int8", "q4"] as const;

/** Products, and how many times as fast as f32 int8 must be, where that is asked for. */
export const DTYPE_PRODUCTS: readonly { product: readonly [number, number, number]; atLeast?: number }[] = [
  { product: [512, 768, 3072], atLeast: 1.5 },
  { product: [512, 768, 768] },
  { product: [1, 4096, 4096], atLeast: 3 },
  { product: [4, 4096, 4096] },
  { product: [1, 768, 768] },
];

/** A line of the table. */
export interface DtypeRow {
  what: string;
  name: string;
  dtype: (typeof DTYPES)[number];
  /** Milliseconds a call, median. */
  median: number;
  gflops: number;
  /** Gigabytes of the weight a second. */
  rate: number;
  /** Times as fast as f32 in the same build. */
  ratio: number;
}

export async function measureDtypes(
  effort: Effort,
  progress: (text: string) => void,
): Promise<{ rows: DtypeRow[]; bars: Bar[] }> {
  const { builds, skipped } = await loadBuilds();
  for (const text of skipped) console.log(text);
  const rows: DtypeRow[] = [];
  const bars: Bar[] = [];
  for (const { product, atLeast } of DTYPE_PRODUCTS) {
    const problem = makeLinearProblem(product);
    const what = nameOfProduct(product);
    for (const heed of builds) {
      const name = `heed ${heed.variant}`;
      const { entrants, bytes, dispose } = entrantsOf(heed, problem);
      const timings = await measure(entrants, effort, (text) => progress(`${what}: ${text}`));
      dispose();
      const medians = DTYPES.map((dtype) => timings.find((timing) => timing.name === dtype)!.median);
      DTYPES.forEach((dtype, n) => {
        const median = medians[n]!;
        const ratio = medians[0]! / median;
        const rate = bytes[n]! / median / 1e6;
        rows.push({
          what,
          name,
          dtype,
          median,
          gflops: gflops(2 * product[0] * product[1] * product[2], median),
          rate,
          ratio,
        });
        if (atLeast && dtype === "int8") bars.push({ what: `${what}, ${name}, int8 × f32`, value: ratio, atLeast });
      });
    }
  }
  for (const heed of builds) heed.dispose();
  return { rows, bars };
}

/** Resident calls with the weight in each dtype. */
function entrantsOf(
  heed: Heed,
  { rows, inFeatures, outFeatures, x, weight, bias }: LinearProblem,
): { entrants: Entrant[]; bytes: number[]; dispose: () => void } {
  const [xIn, out] = [heed.tensor(x.length), heed.tensor(rows * outFeatures)];
  xIn.data.set(x);
  const shaped = { data: weight, shape: [outFeatures, inFeatures] };
  const packed = DTYPES.map((dtype) => heed.packLinear(shaped, bias, { dtype }));
  return {
    entrants: packed.map((linear) => ({
      name: linear.dtype,
      form: heed.variant,
      kind: "heed",
      run: () => heed.linear(xIn, linear, undefined, { out }),
    })),
    bytes: packed.map(({ bytes }) => bytes),
    dispose: () => {
      for (const one of [xIn, out, ...packed]) one.dispose();
    },
  };
}

export function formatDtypes({ rows, bars }: Awaited<ReturnType<typeof measureDtypes>>): string {
  const table = formatTable(
    ["", "", "weights", "ms", "GFLOP/s", "GB/s of W", "× f32"],
    rows.map((row) => [
      row.what,
      row.name,
      row.dtype,
      milliseconds(row.median),
      row.gflops.toFixed(1),
      row.rate.toFixed(1),
      row.ratio.toFixed(2),
    ]),
    3,
  );
  return [table, "", formatBars(bars)].join("\n");
}
