// `--async`: what a page notices of a long call.
import { availableParallelism } from "node:os";
import { type AsyncResult, measureAsync } from "./cases/async.ts";
import { formatFigures } from "./harness/figure.ts";
import { progress } from "./harness/report.ts";
import { type Options, matches } from "./options.ts";
import { headOf, print, writeRun } from "./results.ts";

const SHAPE = "1×8×8192×8192×64";
const QUICK_SHAPE = "1×8×2048×2048×64";

export async function runAsync(options: Options, file: string): Promise<void> {
  const started = performance.now();
  const processors = availableParallelism();
  console.log(headOf(`1 and ${processors} threads on ${processors} logical processors`));
  const shape = options.quick ? QUICK_SHAPE : SHAPE;
  const results: AsyncResult[] = [];
  for await (const result of measureAsync(shape, processors, (name) => matches(name, options.peer), progress)) {
    const { title, figures, notes } = result;
    print(title, [...(figures.length > 0 ? [formatFigures(figures)] : []), ...notes].join("\n"));
    results.push(result);
  }
  await writeRun(file, started, { quick: options.quick, processors, results });
}
