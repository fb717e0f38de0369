import type { Browser } from "playwright";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeHost } from "../host.ts";
import { project } from "../project.ts";
import {
  type BrowserName,
  type Site,
  CSP,
  ISOLATION,
  PAGES,
  buildPages,
  isInstalled,
  launch,
  parseReport,
  serveFolder,
  textOf,
} from "./pages.ts";

const browsers: Record<BrowserName, string> = { chromium: "Chromium", firefox: "Firefox" };
const places = { page: "page", worker: "worker", "service-worker": "service worker" };

/** Where workers may come from, beside the policy of all pages. */
const workersFrom = (sources: string) => `${CSP}; worker-src ${sources}`;

let site: Site;
/** Cross-origin isolated: workers from text are allowed, or files alone. */
let isolated: Site;
let isolatedFiles: Site;
beforeAll(async () => {
  await buildPages();
  site = await serveFolder(project);
  isolated = await serveFolder(project, workersFrom("'self' blob:"), ISOLATION);
  isolatedFiles = await serveFolder(project, workersFrom("'self'"), ISOLATION);
});
afterAll(() => Promise.all([site, isolated, isolatedFiles].map((served) => served.close())));

for (const [name, title] of Object.entries(browsers) as [BrowserName, string][]) {
  let browser: Browser;
  const isThere = isInstalled(name);
  const version = isThere ? await launch(name).then(async (probe) => probe.close().then(() => probe.version())) : "";
  beforeAll(async () => {
    if (isThere) browser = await launch(name);
  });
  afterAll(() => browser?.close());

  for (const [place, how] of Object.entries(places)) {
    const run = async () => parseReport(await textOf(browser, `${site.url}/${PAGES}/?in=${place}`));
    describeHost({ name: title, how, version, isSystem: true }, isThere ? run : undefined);
    const runIsolated = async () => parseReport(await textOf(browser, `${isolated.url}/${PAGES}/?in=${place}`));
    describeHost({ name: title, how: `isolated ${how}`, version, isSystem: true }, isThere ? runIsolated : undefined);
  }

  describe.skipIf(!isThere)(`${title}, an isolated page whose policy says where workers come from`, () => {
    it("runs the cases with the file of the worker", async () => {
      const url = `${isolatedFiles.url}/${PAGES}/?in=page&worker=/node_modules/heed/dist/worker.js`;
      const { results } = parseReport(await textOf(browser, url));
      expect(Object.keys(results)).toContain("a worker that takes part");
      expect(Object.entries(results).filter(([, error]) => error !== null)).toEqual([]);
    });

    it("has one thread, and says why, where only files are allowed and none is given", async () => {
      expect(JSON.parse(await textOf(browser, `${isolatedFiles.url}/${PAGES}/?in=asks`))).toEqual({
        isIsolated: true,
        threads: 1,
        threadsReason: "the host refused the worker: see worker-src of its Content-Security-Policy",
        out: [3, 4],
      });
    });

    it("has two where data: is allowed alone", async () => {
      const data = await serveFolder(project, workersFrom("data:"), ISOLATION);
      try {
        const answer = JSON.parse(await textOf(browser, `${data.url}/${PAGES}/?in=asks`)) as object;
        expect(answer).toEqual({ isIsolated: true, threads: 2, out: [3, 4] });
      } finally {
        await data.close();
      }
    });
  });

  it.skipIf(!isThere)(`loads in an AudioWorklet of ${title}`, async () => {
    const text = await textOf(browser, `${site.url}/${PAGES}/?in=audio-worklet`);
    expect(JSON.parse(text)).toEqual({ out: [3, 4], absent: ["atob", "fetch", "URL", "Response"] });
  });

  describe.skipIf(!isThere)(`${title} under a policy that allows no WebAssembly`, () => {
    it("gets one clear Error", async () => {
      const strict = await serveFolder(project, "script-src 'self'");
      try {
        expect(await textOf(browser, `${strict.url}/${PAGES}/?in=page`)).toMatch(
          /this host compiles no WebAssembly from bytes/,
        );
      } finally {
        await strict.close();
      }
    });
  });
}
