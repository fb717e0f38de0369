// `--precision`: attention at half precision beside full.
import { measurePrecision } from "./cases/precision.ts";
import { formatFigures } from "./harness/figure.ts";
import { progress } from "./harness/report.ts";
import type { Options } from "./options.ts";
import { headOf, print, writeRun } from "./results.ts";

export async function runPrecision(options: Options, file: string): Promise<void> {
  const started = performance.now();
  console.log(headOf("one thread"));
  const figures = await measurePrecision(options.quick, progress);
  print("attention at half precision beside full, resident", formatFigures(figures));
  await writeRun(file, started, { quick: options.quick, figures });
}
