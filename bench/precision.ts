// `--precision`: attention at half precision beside full, and over rows of 16 bits beside f32.
import { measureHalves } from "./cases/halves.ts";
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
  const halves = await measureHalves(options.quick, progress);
  print("attention over rows of 16 bits beside f32", formatFigures(halves));
  await writeRun(file, started, { quick: options.quick, figures: [...figures, ...halves] });
}
