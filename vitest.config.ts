import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Reporter } from "vitest/node";
import { defineConfig } from "vitest/config";

// Node 20 has relaxed SIMD behind a flag, later versions have it without.
const flags = Number(process.versions.node.split(".")[0]) < 22 ? ["--experimental-wasm-relaxed-simd"] : [];

/** What skipped itself, and why, and the totals on a line of their own, for whoever reads the log. */
export const totals: Reporter = {
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

// Some examples are projects of their own, in which the package does not find itself by its name.
const alias = [
  { find: /^heed$/, replacement: fileURLToPath(new URL("dist/index.js", import.meta.url)) },
  { find: /^heed\/shard$/, replacement: fileURLToPath(new URL("dist/shard.js", import.meta.url)) },
  { find: /^heed\/transformer$/, replacement: fileURLToPath(new URL("dist/transformer.js", import.meta.url)) },
];
// Hooks load workers and start browsers, which a busy machine lets wait.
const inNode = { setupFiles: "test/support/setup.ts", execArgv: flags, testTimeout: 60_000, hookTimeout: 60_000 };

export default defineConfig({
  test: {
    reporters: ["default", totals],
    // One for each processor: by default vitest leaves one of them idle, which is half of two.
    maxWorkers: "100%",
    projects: [
      {
        resolve: { alias },
        test: {
          ...inNode,
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: ["test/browser/**", "test/runtimes/**"],
        },
      },
      {
        // `npm run test:sweeps`: the whole width of what `npm test` takes a part of.
        resolve: { alias },
        test: { ...inNode, name: "sweeps", include: sweeps, env: { HEED_FULL: "1" }, testTimeout: 300_000 },
      },
      {
        // `npm run test:runtimes`: the packed package in other runtimes.
        resolve: { alias },
        test: {
          name: "runtimes",
          include: ["test/runtimes/**/*.test.ts"],
          exclude: ["test/runtimes/node_modules/**", "test/runtimes/**/*.page.test.ts"],
          fileParallelism: false,
          execArgv: flags,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        // `npm run test:browsers`: the same in pages and workers of browsers, as files and from bundlers. What runs
        // inside a page has a configuration of its own, test/browser/vitest.config.ts.
        test: {
          name: "pages",
          include: ["test/runtimes/**/*.page.test.ts"],
          exclude: ["test/runtimes/node_modules/**"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
