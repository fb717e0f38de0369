// The table of heed beside a program that takes the second-level cache away.
import { formatTable, milliseconds } from "../harness/report.ts";

/** One line: a call of heed beside a walker. */
export interface CacheRow {
  what: string;
  /** KiB of the second-level cache that the walker leaves. */
  leftKib: number;
  /** KiB that the walker reads. */
  walkedKib: number;
  /** Milliseconds of processor time a call, medians: beside a walker of the first-level cache alone, and beside this one. */
  aloneMs: number;
  besideMs: number;
  walksPerMs: number;
}

/** What a small cache costs, in per cent. */
export function costOf({ aloneMs, besideMs }: CacheRow): number {
  return 100 * (besideMs / aloneMs - 1);
}

/** The caches to emulate on a machine with `kib` of second-level cache: what the walker leaves, and what it reads. */
export function cachesBelow(kib: number): Pick<CacheRow, "leftKib" | "walkedKib">[] {
  const some = [512, 256].filter((left) => left < kib).map((leftKib) => ({ leftKib, walkedKib: kib - leftKib }));
  // Four times as much leaves nothing, whatever the cache gives up first.
  return [...some, { leftKib: 0, walkedKib: 4 * kib }];
}

export function formatCaches(rows: readonly CacheRow[]): string {
  return formatTable(
    ["", "KiB left", "KiB walked", "walks a ms", "ms alone", "ms beside", "costs %", ""],
    rows.map((row) => [
      row.what,
      String(row.leftKib),
      String(row.walkedKib),
      row.walksPerMs.toFixed(1),
      milliseconds(row.aloneMs),
      milliseconds(row.besideMs),
      costOf(row).toFixed(1),
      "",
    ]),
  );
}
