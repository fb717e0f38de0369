// examples/page with the one file that its README tells to copy, under the policy that it names.
import { copyFileSync } from "node:fs";
import { type Browser, type Page } from "playwright";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Site, isInstalled, launch, serveFolder } from "./pages.ts";
import { pathIn } from "../project.ts";

describe.skipIf(!isInstalled("chromium"))("the example of a page without a bundler", () => {
  let browser: Browser;
  let page: Page;
  let site: Site;
  const errors: string[] = [];

  beforeAll(async () => {
    copyFileSync(pathIn("node_modules/heed/dist/index.js"), pathIn("examples/page/heed.js"));
    site = await serveFolder(pathIn("examples/page"));
    browser = await launch("chromium");
    page = await browser.newPage();
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(site.url);
  });
  afterAll(async () => {
    await browser.close();
    await site.close();
  });

  const status = () => page.locator("#status").textContent();
  const until = (text: string) => page.locator("#status", { hasText: text }).waitFor();
  /** Every pixel of the map. */
  const pixels = () => page.locator("#map").evaluate((canvas) => (canvas as HTMLCanvasElement).toDataURL());

  it("draws a map of the text that it comes with", async () => {
    await until("17 words");
    expect(await status()).toMatch(/^17 words in [\d.]+ ms, build “relaxed”$/);
    await page.screenshot({ path: process.env.HEED_SCREENSHOT ?? pathIn("page.png"), fullPage: true });
  });

  it("follows what is typed and chosen", async () => {
    const first = await pixels();
    await page.locator("#text").fill("one two three");
    await until("3 words");
    const short = await pixels();
    await page.locator("#causal").check();
    const causal = await pixels();
    expect(new Set([first, short, causal]).size).toBe(3);
    await page.locator("#text").fill("  ");
    await until("Nothing to attend to");
    await page.locator("#text").fill("word ".repeat(100));
    await until("64 words");
    expect(errors).toEqual([]);
  });
});
