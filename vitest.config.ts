import { playwright } from "@vitest/browser-playwright";
import { readFileSync, readdirSync } from "node:fs";
import type { BrowserCommand, BrowserProviderOption, Reporter } from "vitest/node";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

// Node 20 has relaxed SIMD behind a flag, later versions have it without.
const flags = Number(process.versions.node.split(".")[0]) < 22 ? ["--experimental-wasm-relaxed-simd"] : [];

/** Where test/runtimes/start.js has installed heed from its tarball. */
const project = process.env.HEED_PROJECT ?? "";
const packed = (name: string) => `${project}/node_modules/${name}/dist/index.js`;

/** Makes the page prefer light or dark. */
const prefer: BrowserCommand<["light" | "dark"]> = ({ page }, colorScheme) => page.emulateMedia({ colorScheme });

/** Opens the built page of examples/lens as a file, and gives its status line and the addresses it asked for. */
const openFile: BrowserCommand = async ({ context }) => {
  const page = await context.newPage();
  try {
    const requests: string[] = [];
    page.on("request", (request) => requests.push(request.url()));
    await page.goto(new URL("build/lens.html", import.meta.url).href);
    const status = page.locator("#status");
    await status.filter({ hasText: / ms\.$/ }).waitFor();
    return { status: await status.textContent(), requests };
  } finally {
    await page.close();
  }
};

/** The same tests in a browser of the system, against the packed package. */
function inBrowser(name: string, provider: BrowserProviderOption): TestProjectInlineConfiguration {
  return {
    resolve: {
      alias: [
        { find: /^heed(-again)?$/, replacement: packed("heed$1") },
        { find: "heed-cases", replacement: `${project}/cases.js` },
      ],
    },
    server: { fs: { allow: [import.meta.dirname, project] } },
    // Or Vite reloads the page when it first meets the dependency.
    optimizeDeps: { include: ["fast-check"] },
    test: {
      name,
      include: ["test/browser/**/*.test.ts"],
      testTimeout: 60_000,
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        provider,
        commands: { prefer, openFile },
        instances: [{ browser: name === "firefox" ? "firefox" : "chromium" }],
        api: { host: "127.0.0.1" },
      },
    },
  };
}

const quiet = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

/** What skipped itself, and why, and the totals on a line of their own, for whoever reads the log. */
const totals: Reporter = {
  onTestRunEnd(modules) {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const result = test.result();
        count[result.state]++;
        if (result.state === "skipped" && result.note) console.log(`skipped: ${test.fullName}: ${result.note}`);
      }
    }
    console.log(`vitest: ${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
  },
};

/** The tests that ask test/support/sweep.ts how wide they are. */
const sweeps = readdirSync("test", { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== "runtimes")
  .flatMap(({ name }) => readdirSync(`test/${name}`).map((file) => `test/${name}/${file}`))
  .filter((file) => file.endsWith(".test.ts") && readFileSync(file, "utf8").includes('"../support/sweep.ts"'));

const inNode = { setupFiles: "test/support/setup.ts", execArgv: flags, testTimeout: 60_000 };

export default defineConfig({
  test: {
    reporters: ["default", totals],
    projects: [
      {
        test: {
          ...inNode,
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: ["test/browser/**", "test/runtimes/**"],
        },
      },
      {
        // `npm run test:sweeps`: the whole width of what `npm test` takes a part of.
        test: { ...inNode, name: "sweeps", include: sweeps, env: { HEED_FULL: "1" }, testTimeout: 300_000 },
      },
      {
        // `npm run test:runtimes`: the packed package in other runtimes.
        test: {
          name: "runtimes",
          include: ["test/runtimes/**/*.test.ts"],
          exclude: ["test/runtimes/node_modules/**", "test/runtimes/**/*.page.test.ts"],
          fileParallelism: false,
          execArgv: flags,
          testTimeout: 120_000,
        },
      },
      {
        // `npm run test:browsers`: the same in pages and workers of browsers, as files and from bundlers.
        test: {
          name: "pages",
          include: ["test/runtimes/**/*.page.test.ts"],
          exclude: ["test/runtimes/node_modules/**"],
          fileParallelism: false,
          testTimeout: 120_000,
        },
      },
      inBrowser("chromium", playwright({ launchOptions: { executablePath: "/usr/bin/chromium", args: quiet } })),
      inBrowser(
        "firefox",
        playwright({ launchOptions: { channel: "moz-firefox", executablePath: "/usr/bin/firefox-esr" } }),
      ),
    ],
  },
});
