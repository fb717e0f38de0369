import { readFileSync } from "node:fs";
import type { Browser } from "playwright";
import { afterAll, beforeAll } from "vitest";
import { describeHost } from "./host.ts";
import { type Site, isInstalled, launch, parseReport, serveFolder, textOf } from "./page/pages.ts";
import { installed, pathIn } from "./project.ts";

/**
 * Describes the cases for what a bundler makes of bundle/ in its default configuration, run in Chromium: `bundle` gives
 * the folder to serve.
 */
export function describeBundler(name: string, npmName: string, bundle: (source: string) => Promise<string>): void {
  const { version } = JSON.parse(readFileSync(installed(`${npmName}/package.json`), "utf8")) as { version: string };
  let browser: Browser;
  let site: Site | undefined;
  beforeAll(async () => {
    if (isInstalled("chromium")) browser = await launch("chromium");
  });
  afterAll(async () => {
    await site?.close();
    await browser?.close();
  });
  const run = async () => {
    site = await serveFolder(await bundle(pathIn("bundle")));
    return parseReport(await textOf(browser, site.url));
  };
  describeHost({ name, how: "bundle, in Chromium", version }, isInstalled("chromium") ? run : undefined);
}
