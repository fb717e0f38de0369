// The table of what the machine can do and how close heed comes to it.
import type { Timing } from "../harness/measure.ts";
import { type Bar, formatTable, gflops, milliseconds } from "../harness/report.ts";

/** One line: registers alone, a bare tile, or heed. */
export interface MicroRow {
  what: string;
  kind: "limit" | "tile" | "heed";
  /** GFLOP/s of the median and of the best run; products of integers count as such. */
  rate: number;
  best: number;
  percentOfLimit: number;
  /** The bare tile that this build of heed uses here, and how much of it heed reaches. */
  tile: string | undefined;
  percentOfTile: number | undefined;
  /** Milliseconds of a run, median. */
  median: number;
}

/** What is known of an entrant before it runs. */
export interface MicroEntry {
  what: string;
  kind: MicroRow["kind"];
  flops: number;
  tile?: string;
}

/** The lines in the order of the entries; the first one is the limit. */
export function microRows(entries: readonly MicroEntry[], timings: readonly Timing[]): MicroRow[] {
  const medianOf = (what: string): Timing => timings.find(({ name }) => name === what)!;
  const rateOf = (entry: MicroEntry): number => gflops(entry.flops, medianOf(entry.what).median);
  const limit = rateOf(entries[0]!);
  return entries.map((entry) => {
    const { what, kind, flops, tile } = entry;
    const { median, best } = medianOf(what);
    const rate = rateOf(entry);
    const bare = entries.find((one) => one.kind === "tile" && one.what === tile);
    return {
      what,
      kind,
      rate,
      best: gflops(flops, best),
      percentOfLimit: (100 * rate) / limit,
      tile,
      percentOfTile: bare && (100 * rate) / rateOf(bare),
      median,
    };
  });
}

export function formatMicro(rows: readonly MicroRow[]): string {
  return formatTable(
    ["", "GFLOP/s", "best", "% of limit", "% of bare tile", "median ms", "bare tile"],
    rows.map(({ what, rate, best, percentOfLimit, percentOfTile, median, tile }) => [
      what,
      rate.toFixed(1),
      best.toFixed(1),
      percentOfLimit.toFixed(0),
      percentOfTile?.toFixed(0) ?? "",
      milliseconds(median),
      tile ?? "",
    ]),
  );
}

/** heed must reach this much of its bare tile. */
export const TILE_SHARE = 0.88;

export function microBars(rows: readonly MicroRow[]): Bar[] {
  return rows.flatMap(({ what, percentOfTile }) =>
    percentOfTile === undefined
      ? []
      : [{ what: `${what} ÷ its bare tile`, value: percentOfTile / 100, atLeast: TILE_SHARE }],
  );
}
