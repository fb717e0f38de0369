import { playwright } from "@vitest/browser-playwright";
import { type BrowserProviderOption } from "vitest/node";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

// Node 20 has relaxed SIMD behind a flag, later versions have it without.
const flags = Number(process.versions.node.split(".")[0]) < 22 ? ["--experimental-wasm-relaxed-simd"] : [];

/** The same tests in a browser of the system, against dist/, as a page would load it. */
function inBrowser(name: string, provider: BrowserProviderOption): TestProjectInlineConfiguration {
  return {
    resolve: { alias: { heed: new URL("dist/index.js", import.meta.url).pathname } },
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

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: ["test/browser/**"],
          execArgv: flags,
          testTimeout: 60_000,
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
