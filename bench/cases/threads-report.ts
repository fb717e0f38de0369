// The tables of several threads: what each entrant gains by them, and heed beside onnxruntime-web with as many.
import type { Timing } from "../harness/measure.ts";
import { type Bar, formatTable, milliseconds } from "../harness/report.ts";
import type { ThreadCase } from "./shapes.ts";

/** What an entrant took with a number of threads. */
export interface Measured extends Timing {
  threads: number;
  /** The calls of one thread, made by as many instances side by side: a figure of the machine, and no line of its own. */
  isBeside?: boolean;
}

/** One line. */
export interface ThreadRow extends Measured {
  /** GFLOP/s, or GB/s of K and V. */
  rate: number;
  /** Of what the machine does on as many threads, medians of both. */
  percentOfLimit: number;
  /** How many times as fast as the same with one thread, by the medians and by the best calls. */
  overOne: number;
  overOneBest: number;
  /** How many calls as many instances make side by side in the time of one alone: what the machine lets threads gain. */
  besideOne: number | undefined;
  /** How many times as fast as onnxruntime-web with as many threads. */
  overWeb: number | undefined;
  maxError: number;
}

/** The lines of one case. */
export interface ThreadResult {
  what: string;
  unit: "GFLOP/s" | "GB/s";
  /** What the machine does on each number of threads, in the same unit, and by what: "limit" or "streaming read". */
  limits: { name: string; threads: number; rate: number }[];
  rows: ThreadRow[];
}

/**
 * @param amount floating-point operations or bytes of one call
 * @param limits what the machine does, for every number of threads that was measured, 1 among them
 */
export function threadResult(
  { what, kind }: Pick<ThreadCase, "what" | "kind">,
  amount: number,
  measured: readonly Measured[],
  limits: ThreadResult["limits"],
  errors: ReadonlyMap<string, number>,
): ThreadResult {
  const find = (name: string, threads: number): Measured | undefined =>
    measured.find((one) => one.name === name && one.threads === threads && !one.isBeside);
  const rows = measured
    .filter(({ isBeside }) => !isBeside)
    .map((one): ThreadRow => {
      const { name, threads, median, best } = one;
      const rate = amount / median / 1e6;
      const alone = find(name, 1);
      const beside = measured.find((other) => other.isBeside && other.name === name && other.threads === threads);
      const web = find("onnxruntime-web", threads);
      return {
        ...one,
        rate,
        percentOfLimit: (100 * rate) / limits.find((limit) => limit.threads === threads)!.rate,
        overOne: alone ? alone.median / median : NaN,
        overOneBest: alone ? alone.best / best : NaN,
        besideOne: alone && beside && (threads * alone.median) / beside.median,
        overWeb: web && web.median / median,
        maxError: errors.get(`${name}, ${threads}`) ?? NaN,
      };
    });
  return { what, unit: kind === "decode" ? "GB/s" : "GFLOP/s", limits, rows };
}

/** The table of one case. */
export function formatThreads({ what, unit, limits, rows }: ThreadResult): string {
  const [one] = limits;
  const each = limits.map(({ threads, rate }) => {
    const gain = threads === 1 ? "" : ` (${(rate / one!.rate).toFixed(2)}×)`;
    return `${rate.toFixed(1)}${gain} on ${threads}`;
  });
  const table = formatTable(
    [
      "",
      "threads",
      "median ms",
      "best ms",
      unit,
      "% of limit",
      "× one thread",
      "by best",
      "side by side",
      "× ort-web",
      "error",
      "form",
    ],
    rows.map((row) => [
      row.name,
      String(row.threads),
      milliseconds(row.median),
      milliseconds(row.best),
      row.rate.toFixed(1),
      row.percentOfLimit.toFixed(0),
      row.overOne.toFixed(2),
      row.overOneBest.toFixed(2),
      row.besideOne?.toFixed(2) ?? "",
      row.overWeb?.toFixed(2) ?? "–",
      row.maxError.toExponential(0),
      row.form,
    ]),
  );
  return `${what}   ${one!.name}: ${each.join(", ")} threads, ${unit}\n${table.replaceAll(/^/gm, "  ")}`;
}

/**
 * What heed promises itself: a gain by two threads, no loss by more, and beside onnxruntime-web no ratio that is lower
 * than with one. Of the two estimates of a gain the better one counts, since noise rarely deceives both.
 */
export function threadBars(results: readonly ThreadResult[], cases: readonly ThreadCase[]): Bar[] {
  const bars: Bar[] = [];
  for (const { what, rows } of results) {
    const { atLeast } = cases.find((one) => one.what === what)!;
    for (const { name, kind, threads, overOne, overOneBest, overWeb, besideOne } of rows) {
      if (kind !== "heed" || threads === 1 || Number.isNaN(overOne)) continue;
      const label = `${what}, ${name}, ${threads} threads`;
      const bar = threads === 2 ? atLeast : Math.min(atLeast, 0.97);
      const machine = besideOne === undefined ? "" : ` (side by side ${besideOne.toFixed(2)})`;
      bars.push({ what: `${label} × one${machine}`, value: Math.max(overOne, overOneBest), atLeast: bar });
      const alone = rows.find((row) => row.name === name && row.threads === 1)?.overWeb;
      if (overWeb === undefined || alone === undefined) continue;
      bars.push({ what: `${label} × onnxruntime-web ÷ the same of one`, value: overWeb / alone, atLeast: 1 });
    }
  }
  return bars;
}
