// `--threads`: heed beside both onnxruntimes with as many threads, and what threads cost by themselves.
import { availableParallelism } from "node:os";
import { measureLatency } from "./cases/latency.ts";
import { THREAD_CASES } from "./cases/shapes.ts";
import { closeField, openField, raceThreads } from "./cases/threads.ts";
import { type ThreadResult, formatThreads, threadBars } from "./cases/threads-report.ts";
import { type Figure, formatFigures } from "./harness/figure.ts";
import { FULL, QUICK } from "./harness/measure.ts";
import { formatBars, progress } from "./harness/report.ts";
import { type Options, matches, threadCounts } from "./options.ts";
import { headOf, print, writeRun } from "./results.ts";

/** After each turn of several threads of onnxruntime they are waited for: longer turns waste less of a run. */
const TURN = 60;

export async function runThreads(options: Options, file: string): Promise<void> {
  const started = performance.now();
  const effort = { ...(options.quick ? QUICK : FULL), turn: TURN };
  if (options.seconds !== undefined) effort.budget = 1000 * options.seconds;
  const processors = availableParallelism();
  const threads = threadCounts(options.threads!, processors);
  console.log(headOf(`${threads.join(", ")} threads on ${processors} logical processors`));
  const most = Math.max(...threads);
  if (most > processors) console.log(`more threads than logical processors: what ${most} do here says little`);

  const cases = THREAD_CASES.filter((one) => matches(one.what, options.shape) && (one.quick || !options.quick));
  const field = await openField(threads, (name) => matches(name, options.peer));
  const versions = Object.fromEntries(field.remotes.map(({ name, remote }) => [name, remote.version]));
  const names = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  console.log([...names, ...field.skipped].join("; "));
  const results: ThreadResult[] = [];
  for (const [n, one] of cases.entries()) {
    const say = (text: string): void => progress(`[${n + 1}/${cases.length}] ${one.what}: ${text}`);
    const { result, skipped } = await raceThreads(one, field, effort, say);
    progress("");
    console.log(`\n${[formatThreads(result), ...skipped.map((text) => `  ${text}`)].join("\n")}`);
    results.push(result);
  }
  closeField(field);

  const latency: Figure[] = [];
  for (const count of threads.filter((one) => one > 1)) {
    const { figures, notes } = await measureLatency(count, options.quick, progress);
    print(`what ${count} threads cost`, [formatFigures(figures), ...notes].join("\n"));
    latency.push(...figures);
  }
  const bars = threadBars(results, cases);
  if (bars.length > 0) print("heed on several threads", formatBars(bars));
  await writeRun(file, started, { quick: options.quick, peers: versions, processors, results, latency, bars });
}
