import type { Browser } from "playwright";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeHost } from "../host.ts";
import { project } from "../project.ts";
import {
  type BrowserName,
  type Site,
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

let site: Site;
beforeAll(async () => {
  await buildPages();
  site = await serveFolder(project);
});
afterAll(() => site.close());

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
  }

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
