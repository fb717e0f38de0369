// The tables of attention: what each peer takes for a shape, and heed beside onnxruntime-web.
import type { Timing } from "../harness/measure.ts";
import { formatTable, gflops, milliseconds } from "../harness/report.ts";

/** One entrant's line in the table of a shape. */
export interface Row {
  name: string;
  form: string;
  kind: Timing["kind"];
  /** Milliseconds a call. */
  median: number;
  best: number;
  calls: number;
  gflops: number;
  /** Of the limit measured in the same rounds, medians of both. */
  percentOfLimit: number;
  /** Times of the fastest wasm peer, of onnxruntime-web and of the native peer over this one's: above 1 is faster. */
  overWasm: number | undefined;
  overOnnxruntimeWeb: number | undefined;
  overNative: number | undefined;
  /** Largest absolute error of the rows that were compared with f64. */
  maxError: number;
}

export interface ShapeResult {
  shape: string;
  gflop: number;
  /** What 128-bit SIMD could do in the same rounds, in GFLOP/s, and by which instruction. */
  limit: number;
  limitBest: number;
  limitForm: string;
  rows: Row[];
  /** Peers that did not take part, with the reason. */
  skipped: string[];
}

/** The lines of one shape from its timings, the limit's among them. */
export function resultOf(
  shape: string,
  { flops, limitFlops }: { flops: number; limitFlops: number },
  timings: readonly Timing[],
  errors: ReadonlyMap<string, number>,
  skipped: string[] = [],
): ShapeResult {
  const limit = timings.find(({ kind }) => kind === "limit");
  if (!limit) throw new RangeError(`"timings" expected one of kind "limit", got none`);
  const peers = timings.filter(({ kind }) => kind !== "limit");
  const fastest = (pick: (timing: Timing) => boolean): number =>
    Math.min(...peers.filter(pick).map(({ median }) => median));
  const wasm = fastest(({ kind }) => kind === "wasm");
  const web = fastest(({ name }) => name === "onnxruntime-web");
  const native = fastest(({ kind }) => kind === "native");
  const limitGflops = gflops(limitFlops, limit.median);
  const over = (other: number, median: number): number | undefined =>
    Number.isFinite(other) ? other / median : undefined;
  return {
    shape,
    gflop: flops / 1e9,
    limit: limitGflops,
    limitBest: gflops(limitFlops, limit.best),
    limitForm: limit.form,
    rows: peers.map((timing) => ({
      ...timing,
      gflops: gflops(flops, timing.median),
      percentOfLimit: (100 * gflops(flops, timing.median)) / limitGflops,
      overWasm: over(wasm, timing.median),
      overOnnxruntimeWeb: over(web, timing.median),
      overNative: over(native, timing.median),
      maxError: errors.get(timing.name) ?? NaN,
    })),
    skipped,
  };
}

/** The table of one shape. */
export function formatShape({ shape, gflop, limit, limitForm, rows, skipped }: ShapeResult): string {
  const table = formatTable(
    ["", "GFLOP/s", "median ms", "best ms", "% of limit", "× wasm peer", "× native", "error", "form"],
    rows.map((row) => [
      row.name,
      row.gflops.toFixed(1),
      milliseconds(row.median),
      milliseconds(row.best),
      row.percentOfLimit.toFixed(0),
      row.overWasm?.toFixed(2) ?? "–",
      row.overNative?.toFixed(2) ?? "–",
      row.maxError.toExponential(0),
      row.form,
    ]),
  );
  const head = `${shape}   ${gflop.toPrecision(3)} GFLOP, limit ${limit.toFixed(1)} GFLOP/s (${limitForm})`;
  return [head, ...[table, ...skipped].map((text) => text.replaceAll(/^/gm, "  "))].join("\n");
}

/** For each shape heed's time against onnxruntime-web's, beside the bar that the project sets itself. */
export function formatRatios(results: readonly (ShapeResult & { isSquareAndWide: boolean })[]): string {
  const lines: string[][] = [];
  for (const { shape, rows, isSquareAndWide } of results) {
    for (const { name, kind, overOnnxruntimeWeb, percentOfLimit } of rows) {
      if (kind !== "heed" || overOnnxruntimeWeb === undefined) continue;
      const bar = isSquareAndWide ? (name.includes("relaxed") ? 2 : 1.6) : 1.3;
      const verdict = overOnnxruntimeWeb >= bar ? "ok" : "below";
      lines.push([shape, name, percentOfLimit.toFixed(0), overOnnxruntimeWeb.toFixed(2), `≥ ${bar}`, verdict]);
    }
  }
  return formatTable(["", "", "% of limit", "× onnxruntime-web", "bar", ""], lines, 2);
}
