// Asynchronous calls on the main thread of a page: how long they hold it, how soon they stop, what they cost.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Browser, type Page, chromium, firefox } from "playwright-core";
import type { Figure } from "../harness/figure.ts";
import { median } from "../harness/measure.ts";
import { servePage } from "../harness/site.ts";
import { TRACE_CATEGORIES, type TraceEvent, tasksBetween } from "../harness/trace.ts";
import { type Aborted, type AsyncPage, type Call, MARKS } from "../pages/async.ts";

const QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"];

/** The browsers of the system. */
const BROWSERS: { name: string; path: string; launch(path: string): Promise<Browser> }[] = [
  {
    name: "Chromium",
    path: "/usr/bin/chromium",
    launch: (executablePath) => chromium.launch({ executablePath, args: QUIET }),
  },
  {
    name: "Firefox",
    path: "/usr/bin/firefox-esr",
    launch: (executablePath) => firefox.launch({ channel: "moz-firefox", executablePath }),
  },
];

/** Aborts, each somewhere else in its call. */
const ABORTS = 11;
/** Calls of each kind that are compared. */
const PAIRS = 5;
/** Calls that are watched, since another program may take the processor from one. */
const WATCHED = 3;

/** Figures of one browser with a number of threads. */
export interface AsyncResult {
  title: string;
  figures: Figure[];
  notes: string[];
}

/** In every browser that is there and that `isMeant`, on one thread and on `threads`. */
export async function* measureAsync(
  dims: string,
  threads: number,
  isMeant: (name: string) => boolean,
  say: (text: string) => void,
): AsyncGenerator<AsyncResult> {
  const site = await servePage({
    "/page.js": join(import.meta.dirname, "page.js"),
    "/heed.js": join(import.meta.dirname, "../../dist/index.js"),
  });
  try {
    for (const { name, path, launch } of BROWSERS.filter(({ name }) => isMeant(name))) {
      if (!existsSync(path)) {
        yield { title: name, figures: [], notes: [`nothing measured: there is no ${path}`] };
        continue;
      }
      say(`starting ${name}`);
      const browser = await launch(path);
      try {
        for (const count of new Set([1, threads])) {
          const page = await browser.newPage();
          await page.goto(site.url);
          const title = `${name} ${browser.version()}, ${dims}, ${count} thread${count > 1 ? "s" : ""}`;
          yield await measurePage(browser, page, { title, dims, threads: count }, say);
          await page.close();
        }
      } finally {
        await browser.close();
      }
    }
  } finally {
    site.close();
  }
}

async function measurePage(
  browser: Browser,
  page: Page,
  { title, dims, threads }: { title: string; dims: string; threads: number },
  say: (text: string) => void,
): Promise<AsyncResult> {
  await page.waitForFunction(() => "page" in globalThis);
  const remote = await page.evaluateHandle(() => (globalThis as unknown as { page: AsyncPage }).page);
  const opened = await remote.evaluate((own, [dims, threads]) => own.open(dims, threads), [dims, threads] as const);
  const notes: string[] = [];
  const figures: Figure[] = [];
  const add = (what: string, value: number, unit: string, atMost?: number): void => {
    const bar = atMost === undefined ? "" : `≤ ${atMost}`;
    figures.push({ variant: opened.variant, what, value, unit, bar, holds: atMost === undefined || value <= atMost });
  };
  if (opened.threads !== threads) notes.push(`${opened.threads} thread: ${opened.reason}`);
  const call = (how: "attention" | "attentionAsync", watched = false): Promise<Call> => {
    say(`${title}: ${how}`);
    return remote.evaluate((own, [how, watched]) => own.call(how, watched), [how, watched] as const);
  };
  /** A call with a trace of its tasks, where the browser makes traces. */
  const watch = async (how: "attention" | "attentionAsync"): Promise<{ call: Call; tasks: number[] }> => {
    const traced = browser.browserType().name() === "chromium";
    if (traced) await browser.startTracing(page, { categories: TRACE_CATEGORIES });
    const watched = await call(how, true);
    if (!traced) return { call: watched, tasks: [] };
    const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
    return { call: watched, tasks: tasksBetween(traceEvents, MARKS.start, MARKS.end) };
  };

  // The first call is compiled as it runs.
  await call("attention");
  const together = { attention: [] as number[], attentionAsync: [] as number[] };
  const ratios: number[] = [];
  for (let n = 0; n < PAIRS; n++) {
    // Neighbours are compared, since the speed of a machine may change from one minute to the next.
    const pair = { attention: 0, attentionAsync: 0 };
    const order = ["attention", "attentionAsync"] as const;
    for (const how of n % 2 === 0 ? order : (["attentionAsync", "attention"] as const)) {
      pair[how] = (await call(how)).ms;
      together[how].push(pair[how]);
    }
    ratios.push(pair.attentionAsync / pair.attention);
  }
  const blocked = await watch("attention");
  add("attention: time in all", median(together.attention), "ms");
  if (blocked.tasks.length > 0) add("attention: longest task", Math.max(...blocked.tasks), "ms");
  const watched: Awaited<ReturnType<typeof watch>>[] = [];
  while (watched.length < WATCHED) watched.push(await watch("attentionAsync"));
  const addLongest = (what: string, of: (one: (typeof watched)[number]) => number, atMost?: number): void => {
    const longest = watched.map(of);
    add(`attentionAsync: longest ${what}, median of ${WATCHED} calls`, median(longest), "ms", atMost);
  };
  if (watched[0]!.tasks.length > 0) addLongest("task", ({ tasks }) => Math.max(...tasks), 16);
  const idle = await remote.evaluate((own, ms) => own.idle(ms), median(together.attentionAsync));
  addLongest("time without a message", ({ call }) => call.messageGap);
  add("a loop without heed: longest time without a message", idle.messageGap, "ms");
  addLongest("time without a frame", ({ call }) => call.frameGap);
  add("attentionAsync: slices", median(watched.map(({ call }) => call.slices)), "");
  add(`attentionAsync ÷ attention, time in all, median of ${PAIRS} pairs`, median(ratios), "×", 1.05);
  add(
    "attentionAsync ÷ attention, least of them",
    ratios.reduce((a, b) => Math.min(a, b)),
    "×",
  );
  add("a loop without heed: time in all ÷ in the loop", idle.overLoop, "×");
  say(`${title}: aborts`);
  const aborts: Aborted[] = [];
  for (let n = 1; n <= ABORTS; n++) {
    const after = (n / (ABORTS + 1)) * Math.min(1000, median(together.attentionAsync));
    aborts.push(await remote.evaluate((own, after) => own.abort(after), after));
  }
  const late = aborts.filter(({ rejected }) => !rejected).length;
  if (late > 0) notes.push(`${late} of ${ABORTS} aborts came to nothing: the call had ended before they were heard`);
  const waits = aborts.map(({ ms }) => ms);
  add(`attentionAsync: from abort to end, median of ${ABORTS}`, median(waits), "ms");
  add("attentionAsync: from abort to end, longest", Math.max(...waits), "ms", 20);
  await remote.evaluate((own) => own.close());
  return { title, figures, notes };
}
