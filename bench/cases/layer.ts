// The table of the linear layer and of the whole multi-head layer, beside the same graphs in onnxruntime.
import { check } from "../harness/check.ts";
import type { Entrant } from "../harness/entrant.ts";
import { type Effort, type Timing, measure } from "../harness/measure.ts";
import { type Bar, formatBars, formatTable, gflops, milliseconds } from "../harness/report.ts";
import { loadBuilds } from "../peers/heed.ts";
import type { OnnxRuntime } from "../peers/onnxruntime.ts";
import { layerRace } from "./layer-race.ts";
import { linearRace } from "./linear-race.ts";
import { errorAt } from "./race.ts";
import { PRODUCTS } from "./shapes.ts";

/** A line of the table. */
export interface LayerRow {
  what: string;
  name: string;
  form: string;
  /** Milliseconds a call, median. */
  median: number;
  gflops: number;
  percentOfLimit: number;
  maxError: number;
}

export async function measureLayer(
  effort: Effort,
  runtimes: readonly OnnxRuntime[],
  limit: { entrant: Entrant; flops: number },
  progress: (text: string) => void,
): Promise<{ rows: LayerRow[]; bars: Bar[]; skipped: string[] }> {
  const { builds, skipped } = await loadBuilds();
  const rows: LayerRow[] = [];
  const races = [
    ...PRODUCTS.map((dims) => () => linearRace(builds, runtimes, dims)),
    () => layerRace(builds, runtimes),
  ];
  for (const make of races) {
    const { what, flops, entrants, exact, tolerance } = await make();
    const say = (text: string): void => progress(`${what}: ${text}`);
    const judge = (out: Float32Array) => ({ error: errorAt(exact, out), atMost: tolerance });
    const { right, errors, skipped: wrong } = await check(entrants, judge, say);
    skipped.push(...wrong.map((text) => `${what}: ${text}`));
    const timings = await measure([...right, limit.entrant], effort, say);
    const most = gflops(limit.flops, timings.find(({ kind }) => kind === "limit")!.median);
    for (const timing of timings) {
      if (timing.kind !== "limit") rows.push(rowOf(what, timing, flops, most, errors.get(timing.name)!));
    }
    for (const entrant of entrants) await entrant.dispose?.();
  }
  for (const heed of builds) heed.dispose();
  return { rows, bars: barsOf(rows), skipped };
}

function rowOf(what: string, { name, form, median }: Timing, flops: number, most: number, maxError: number): LayerRow {
  const rate = gflops(flops, median);
  return { what, name, form, median, gflops: rate, percentOfLimit: (100 * rate) / most, maxError };
}

function barsOf(rows: readonly LayerRow[]): Bar[] {
  const bars: Bar[] = [];
  const what = new Set(rows.map((row) => row.what));
  for (const one of what) {
    const web = rows.find((row) => row.what === one && row.name === "onnxruntime-web");
    for (const { name, median } of rows.filter((row) => row.what === one && row.name.startsWith("heed"))) {
      if (!web || name.includes("resident")) continue;
      bars.push({ what: `${one}, ${name} × onnxruntime-web`, value: web.median / median, atLeast: barOf(one, name) });
    }
  }
  return bars;
}

/** A single row is a stream of the weight for everyone; it only must not be slower. */
function barOf(what: string, name: string): number {
  if (what.startsWith("linear 1×")) return 1;
  return name.includes("relaxed") ? 1.5 : 1.2;
}

export function formatLayer({ rows, bars, skipped }: Awaited<ReturnType<typeof measureLayer>>): string {
  const table = formatTable(
    ["", "", "ms", "GFLOP/s", "% of limit", "error", "form"],
    rows.map((row) => [
      row.what,
      row.name,
      milliseconds(row.median),
      row.gflops.toFixed(1),
      row.percentOfLimit.toFixed(0),
      row.maxError.toExponential(0),
      row.form,
    ]),
    2,
  );
  return [table, ...skipped, "", formatBars(bars)].join("\n");
}
