// `--micro`: what the machine can do, and how close heed comes to it, with its second-level cache and without.
import { measureMicro } from "./cases/micro.ts";
import { formatMicro, microBars } from "./cases/micro-report.ts";
import { measureSmallCaches } from "./cases/small-caches.ts";
import { formatCaches } from "./cases/small-caches-report.ts";
import { FULL, QUICK } from "./harness/measure.ts";
import { formatBars, progress } from "./harness/report.ts";
import type { Options } from "./options.ts";
import { headOf, print, writeRun } from "./results.ts";

export async function runMicro(options: Options, file: string): Promise<void> {
  const started = performance.now();
  const effort = { ...(options.quick ? QUICK : FULL) };
  if (options.seconds !== undefined) effort.budget = 1000 * options.seconds;
  console.log(headOf("one thread"));

  const { rows, skipped } = await measureMicro(effort, progress);
  print("registers, bare tiles and heed", [formatMicro(rows), ...skipped].join("\n"));
  const bars = microBars(rows);
  print("heed beside its bare tile", formatBars(bars));

  progress("small second-level caches");
  const caches = await measureSmallCaches(options.quick);
  const title = "heed beside a program that takes the second-level cache";
  print(title, typeof caches === "string" ? `nothing measured: ${caches}` : formatCaches(caches));
  await writeRun(file, started, { quick: options.quick, rows, bars, caches });
}
