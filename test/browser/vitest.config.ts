// `npm run test:browsers`: tests that run inside a page. They have a configuration of their own, because what drives
// the browsers is only installed, beside this file, when they first run.
import { fileURLToPath } from "node:url";
import { playwright } from "@vitest/browser-playwright";
import type { BrowserCommand, BrowserProviderOption } from "vitest/node";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";
import { totals } from "../../vitest.config.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Where test/runtimes/start.js has installed heed from its tarball. */
const project = process.env.HEED_PROJECT ?? "";
const packed = (name: string, entry = "index") => `${project}/node_modules/${name}/dist/${entry}.js`;

/** Makes the page prefer light or dark. */
const prefer: BrowserCommand<["light" | "dark"]> = ({ page }, colorScheme) => page.emulateMedia({ colorScheme });

/** Opens the built page of examples/lens as a file, and gives its status line and the addresses it asked for. */
const openFile: BrowserCommand = async ({ context }) => {
  const page = await context.newPage();
  try {
    const requests: string[] = [];
    page.on("request", (request) => requests.push(request.url()));
    await page.goto(new URL("../../build/lens.html", import.meta.url).href);
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
        { find: "heed/transformer", replacement: packed("heed", "transformer") },
        { find: "heed-cases", replacement: `${project}/cases.js` },
      ],
    },
    server: { fs: { allow: [root, project] } },
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

export default defineConfig({
  root,
  test: {
    reporters: ["default", totals],
    projects: [
      inBrowser("chromium", playwright({ launchOptions: { executablePath: "/usr/bin/chromium", args: quiet } })),
      inBrowser(
        "firefox",
        playwright({ launchOptions: { channel: "moz-firefox", executablePath: "/usr/bin/firefox-esr" } }),
      ),
    ],
  },
});
