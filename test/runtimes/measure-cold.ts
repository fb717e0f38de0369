// `npm run bench -- --cold`: what the first answer costs in every host that is here, the median of several fresh
// starts.
import type { Miniflare } from "miniflare";
import { median } from "../../bench/harness/measure.ts";
import { formatTable } from "../../bench/harness/report.ts";
import type { Cold } from "./cold.ts";
import { openFunction } from "./edge-light/edge-light.ts";
import { type BrowserName, PAGES, buildPages, isInstalled, launch, serveFolder, textOf } from "./page/pages.ts";
import { answerOf, installed, project } from "./project.ts";
import { WebKit, isWebKitInstalled } from "./webkit/webkit.ts";
import { bundleWorker, gzippedBytes, serve } from "./workerd/workerd.ts";

const STARTS = 7;

const rows: string[][] = [];

async function measure(host: string, start: () => Promise<Cold>): Promise<void> {
  const colds: Cold[] = [];
  for (let n = 0; n < STARTS; n++) colds.push(await start());
  const middle = (of: (cold: Cold) => number) => median(colds.map(of)).toFixed(1);
  const total = middle((cold) => cold.import + cold.load + cold.call);
  rows.push([host, middle((cold) => cold.import), middle((cold) => cold.load), middle((cold) => cold.call), total]);
  console.error(`${host} …`);
}

for (const major of [20, 22, 24, 26]) {
  await measure(`Node ${major}`, () => answerOf(installed(`node-${major}/bin/node`), ["node/cold.js"]));
}
await measure("Deno", () => answerOf(installed(".bin/deno"), ["run", "--no-prompt", "node/cold.js"]));
await measure("Bun", () => answerOf(installed(".bin/bun"), ["run", "node/cold.js"]));
await measure("Vercel Edge", async () => {
  const runtime = await openFunction("edge-light/cold.js");
  return (await (await runtime.dispatchFetch("http://heed/")).json()) as Cold;
});

await buildPages();
const site = await serveFolder(project);
const page = `${site.url}/${PAGES}/cold.html`;
for (const [name, title] of Object.entries({ chromium: "Chromium", firefox: "Firefox" }) as [BrowserName, string][]) {
  if (!isInstalled(name)) continue;
  const browser = await launch(name);
  await measure(title, async () => {
    const context = await browser.newContext();
    const cold = JSON.parse(await textOf(context, page)) as Cold;
    await context.close();
    return cold;
  });
  await browser.close();
}
if (isWebKitInstalled) {
  const webkit = await WebKit.launch();
  await measure("WebKitGTK", async () => JSON.parse(await webkit.textOf(page)) as Cold);
  await webkit.close();
}
await site.close();

// The clock of workerd stands still while a request computes, so that it is measured from outside, beside a Worker
// without heed.
const folder = await bundleWorker("workerd/attend.js");
const empty = await bundleWorker("workerd/empty.js");

async function startWorker(of: string): Promise<{ ready: number; answer: number }> {
  const start = performance.now();
  const workerd: Miniflare = serve(of);
  await workerd.ready;
  const ready = performance.now();
  const text = await (await workerd.dispatchFetch("http://heed/")).text();
  const answered = performance.now();
  await workerd.dispose();
  if (text !== "0.5") throw new Error(`workerd answered ${text}`);
  return { ready: ready - start, answer: answered - ready };
}

const pairs: { own: Awaited<ReturnType<typeof startWorker>>; none: Awaited<ReturnType<typeof startWorker>> }[] = [];
for (let n = 0; n < STARTS; n++) pairs.push({ none: await startWorker(empty), own: await startWorker(folder) });
const ready = median(pairs.map(({ own, none }) => own.ready - none.ready));
const answer = median(pairs.map(({ own, none }) => own.answer - none.answer));
rows.push(["workerd", ready.toFixed(1), "", answer.toFixed(1), (ready + answer).toFixed(1)]);

console.log(`\nms from the first line to the first answer, 1×12×128×128×64, median of ${STARTS} starts`);
console.log(formatTable(["", "import", "load", "first call", "together"], rows));
console.log(
  "workerd: import as it starts, load and call as the first request; beside a Worker without heed. " +
    `${kB(gzippedBytes(folder))} gzipped`,
);

function kB(bytes: number): string {
  return `${(bytes / 1000).toFixed(1)} kB`;
}
