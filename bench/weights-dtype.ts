// `--weights-dtype`: the linear layer over weights in int8 and int4 beside f32.
import { formatDtypes, measureDtypes } from "./cases/weights-dtype.ts";
import { FULL, QUICK } from "./harness/measure.ts";
import { progress } from "./harness/report.ts";
import type { Options } from "./options.ts";
import { headOf, print, writeRun } from "./results.ts";

export async function runDtypes(options: Options, file: string): Promise<void> {
  const started = performance.now();
  const effort = { ...(options.quick ? QUICK : FULL) };
  if (options.seconds !== undefined) effort.budget = 1000 * options.seconds;
  console.log(headOf("one thread"));
  const { rows, bars } = await measureDtypes(effort, progress);
  print(
    "heed.linear over weights in f32, int8 and int4 (rows × inFeatures × outFeatures)",
    formatDtypes({ rows, bars }),
  );
  await writeRun(file, started, { quick: options.quick, rows });
}
