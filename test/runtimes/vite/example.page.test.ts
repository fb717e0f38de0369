// examples/vite, from Vite's development server and as Vite builds it.
import type { Browser } from "playwright";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { build, createServer } from "vite";
import { isInstalled, launch, serveFolder } from "../page/pages.ts";
import { pathIn } from "../project.ts";

const root = pathIn("examples/vite");

describe.skipIf(!isInstalled("chromium"))("the example of a page built by Vite", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launch("chromium");
  });
  afterAll(() => browser.close());

  async function expectMeasured(url: string): Promise<void> {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(url);
    await page.locator("#status", { hasText: "Done" }).waitFor();
    expect(await page.locator("#status").textContent()).toBe("Done, build “relaxed”.");
    expect(await page.locator("#rows tr").count()).toBe(5);
    for (const row of await page.locator("#rows tr").allInnerTexts()) expect(row).toMatch(/^\d+\s+[\d.]+\s+[\d.]+/);
    expect(errors).toEqual([]);
    if (process.env.HEED_SCREENSHOT) await page.screenshot({ path: `${process.env.HEED_SCREENSHOT}-vite.png` });
    await page.close();
  }

  it("measures in development", async () => {
    const server = await createServer({ root, logLevel: "error", server: { host: "127.0.0.1", port: 0, hmr: false } });
    await server.listen();
    try {
      await expectMeasured(server.resolvedUrls!.local[0]!);
    } finally {
      await server.close();
    }
  });

  it("measures as it is built, under a strict policy", async () => {
    const outDir = pathIn("build/example-vite");
    await build({ root, logLevel: "error", build: { outDir, emptyOutDir: true } });
    const site = await serveFolder(outDir);
    try {
      await expectMeasured(site.url);
    } finally {
      await site.close();
    }
  });
});
