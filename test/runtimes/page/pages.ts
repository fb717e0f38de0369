import { copyFileSync, existsSync } from "node:fs";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { build } from "esbuild";
import { type Browser, chromium, firefox } from "playwright";
import sirv from "sirv";
import type { Report } from "../cases.ts";
import { pathIn, project } from "../project.ts";

/** What a strict page allows: its own scripts, and the compiling of WebAssembly. */
export const CSP = "script-src 'self' 'wasm-unsafe-eval'";

/** What makes a page cross-origin isolated, so that it may share memory with its workers. */
export const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

export interface Site {
  url: string;
  close(): Promise<void>;
}

/** Serves a folder on this machine alone, under a policy and with other headers. */
export async function serveFolder(folder: string, csp = CSP, headers: Record<string, string> = {}): Promise<Site> {
  const all = Object.entries({ ...headers, "Content-Security-Policy": csp });
  const setHeaders = (response: { setHeader(name: string, value: string): void }) => {
    for (const [name, value] of all) response.setHeader(name, value);
  };
  const server: Server = createServer(sirv(folder, { dev: true, setHeaders }));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise((resolve) => server.close(() => resolve()) && server.closeAllConnections()),
  };
}

/** Where the pages stand in the project, once they are built. */
export const PAGES = "build/pages";

/**
 * The pages of page/, with "heed" as the URL of the installed file, which is all that a page without a bundler needs.
 */
export async function buildPages(): Promise<void> {
  const programs = ["main", "cold", "worker", "service-worker", "audio-worklet"];
  await build({
    absWorkingDir: project,
    entryPoints: programs.map((name) => `page/${name}.js`),
    outdir: PAGES,
    bundle: true,
    format: "esm",
    logLevel: "warning",
    plugins: [
      {
        name: "heed-by-url",
        setup: ({ onResolve }) =>
          onResolve({ filter: /^heed(-again|\/transformer)?$/ }, ({ path }) => {
            const [name, entry = "index"] = path.split("/");
            return { path: `/node_modules/${name}/dist/${entry}.js`, external: true };
          }),
      },
    ],
  });
  for (const page of ["index.html", "cold.html"]) copyFileSync(pathIn("page", page), pathIn(PAGES, page));
}

const quiet = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];
const paths = { chromium: "/usr/bin/chromium", firefox: "/usr/bin/firefox-esr" };

export type BrowserName = keyof typeof paths;

export const isInstalled = (name: BrowserName): boolean => existsSync(paths[name]);

export function launch(name: BrowserName): Promise<Browser> {
  const executablePath = paths[name];
  if (name === "chromium") return chromium.launch({ executablePath, args: quiet });
  return firefox.launch({ channel: "moz-firefox", executablePath });
}

/** What the page at `url` writes into its output element. */
export async function textOf(browser: Pick<Browser, "newPage">, url: string): Promise<string> {
  const page = await browser.newPage();
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  try {
    await page.goto(url);
    return (await page.locator("output").textContent({ timeout: 60_000 })) ?? "";
  } catch (error) {
    throw new Error(`${url}: ${errors.join("\n")}`, { cause: error });
  } finally {
    await page.close();
  }
}

/** The report that page/main.js writes, or its error. */
export function parseReport(text: string): Report {
  const report = JSON.parse(text) as Report & { error?: string };
  if (report.error !== undefined) throw new Error(report.error);
  return report;
}
