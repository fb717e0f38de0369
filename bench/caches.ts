// `--caches`: what sharing and saving a KV cache cost.
import { measureCaches } from "./cases/caches.ts";
import { formatFigures } from "./harness/figure.ts";
import { progress } from "./harness/report.ts";
import type { Options } from "./options.ts";
import { headOf, print, writeRun } from "./results.ts";

export async function runCaches(options: Options, file: string): Promise<void> {
  const started = performance.now();
  console.log(headOf("one thread"));
  const figures = await measureCaches(options.quick, progress);
  print("KV caches: shared pages and saved bytes", formatFigures(figures));
  await writeRun(file, started, { quick: options.quick, figures });
}
