// Reads the options, prepares what they need, and runs what they ask for. The rest is imported on demand: `--help` and
// `--list` need neither heed compiled nor a peer installed.
import { join } from "node:path";
import { formatList } from "./list.ts";
import { HELP, type Options, parseOptions } from "./options.ts";
import { BENCH, compileHeed, findBuild, installPeers, measureColdStarts } from "./prepare.ts";

async function main(options: Options): Promise<void> {
  const results = (name: string): string => options.json ?? join(BENCH, "results", name);
  if (options.help) process.stdout.write(HELP);
  else if (options.list) process.stdout.write(formatList());
  else if (options.cold) measureColdStarts();
  else if (options.chart !== undefined) {
    installPeers();
    const { drawChart } = await import("./chart.ts");
    await drawChart(results("latest.json"), options.chart);
  } else if (options.baseline !== undefined) {
    const old = findBuild(options.baseline);
    if (old === undefined) {
      fail(`--baseline expected the folder of an index.js, got ${options.baseline}`);
      return;
    }
    compileHeed();
    const { runBaseline } = await import("./baseline.ts");
    const slower = await runBaseline(old, options, results("baseline.json"));
    if (slower > 0) process.exitCode = 1;
  } else if (options.threads !== undefined) {
    compileHeed();
    installPeers();
    const { runThreads } = await import("./threads.ts");
    await runThreads(options, results("threads.json"));
  } else if (options.async) {
    compileHeed();
    installPeers();
    const { runAsync } = await import("./async.ts");
    await runAsync(options, results("async.json"));
  } else if (options.micro) {
    compileHeed();
    installPeers();
    const { runMicro } = await import("./micro.ts");
    await runMicro(options, results("micro.json"));
  } else if (options["weights-dtype"]) {
    compileHeed();
    const { runDtypes } = await import("./weights-dtype.ts");
    await runDtypes(options, results("weights-dtype.json"));
  } else if (options.caches) {
    compileHeed();
    const { runCaches } = await import("./caches.ts");
    await runCaches(options, results("caches.json"));
  } else if (options.precision) {
    compileHeed();
    const { runPrecision } = await import("./precision.ts");
    await runPrecision(options, results("precision.json"));
  } else {
    compileHeed();
    installPeers();
    const { runTables } = await import("./run.ts");
    await runTables(options, results("latest.json"));
  }
}

/** The options, or undefined after having said what is wrong with them. */
function readOptions(): Options | undefined {
  try {
    return parseOptions(process.argv.slice(2));
  } catch (error) {
    const [first] = (error as Error).message.split(/\. |\n/);
    fail(`${first!} (--help lists the options)`);
    return undefined;
  }
}

function fail(message: string): void {
  console.error(`bench: ${message}`);
  process.exitCode = 2;
}

const options = readOptions();
if (options) await main(options);
