// node start.js SUITE …: installs what the suites need on first use, packs heed and installs the package into a
// temporary folder as a user would, twice, and runs the suites of vitest.config.ts and test/browser/vitest.config.ts
// beside it. What they find goes to build/hosts/, where tables.js reads it.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { build } from "esbuild";
import { install, npm, run } from "../../scripts/install.js";

const here = import.meta.dirname;
const root = join(here, "../..");
const browserTests = join(root, "test/browser");
/** The suites that run inside a page, configured in test/browser/. */
const BROWSERS = ["chromium", "firefox"];

/**
 * A project of a user: heed from its tarball, a second copy of it, the cases and the programs that run them.
 * @param {string} project
 */
async function makeProject(project) {
  npm(root, "pack", "--ignore-scripts", "--silent", "--pack-destination", project);
  const tarball = readdirSync(project).find((name) => name.endsWith(".tgz"));
  const dependencies = { heed: `file:${tarball}`, "heed-again": `file:${tarball}` };
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module", dependencies }));
  npm(project, "install", "--offline", "--silent");
  cpSync(here, project, {
    recursive: true,
    filter: (path) => basename(path) !== "node_modules" && (statSync(path).isDirectory() || /\.(js|html)$/.test(path)),
  });
  for (const example of [
    "cloudflare-worker",
    "vercel-edge",
    "page",
    "vite",
    "durable-memory",
    "shard-sockets",
    "shard-threads",
  ]) {
    cpSync(join(root, "examples", example), join(project, "examples", example), { recursive: true });
  }
  await build({
    entryPoints: [join(here, "cases.ts"), join(here, "cold.ts")],
    outdir: project,
    bundle: true,
    format: "esm",
    target: "es2022",
    // esbuild's alias stands before its externals.
    alias: { "heed/simd.wasm": join(project, "node_modules/heed/dist/simd.wasm") },
    loader: { ".wasm": "binary" },
    external: ["heed", "heed/transformer", "heed-again"],
    logLevel: "warning",
  });
}

/**
 * @param {string[]} suites projects of the configuration, or parts of paths
 * @param {Record<string, string>} env
 * @param {string[]} options
 */
function runTests(suites, env, ...options) {
  const args = suites.flatMap((suite) => (suite.includes("/") ? [suite] : ["--project", suite]));
  const vitest = join(root, "node_modules/vitest/vitest.mjs");
  return run(process.execPath, [vitest, "run", ...options, ...args], { cwd: root, env });
}

/** @param {Record<string, string>} env */
async function measureCold(env) {
  await build({
    entryPoints: [join(here, "measure-cold.ts")],
    outdir: join(here, "build"),
    bundle: true,
    platform: "node",
    format: "esm",
    target: "es2022",
    packages: "external",
    sourcemap: true,
    logLevel: "warning",
  });
  // Node 20 has relaxed SIMD behind a flag, and the edge runtime shares this process.
  const flags = Number.parseInt(process.versions.node) < 22 ? ["--experimental-wasm-relaxed-simd"] : [];
  const program = join(here, "build/measure-cold.js");
  return run(process.execPath, [...flags, "--enable-source-maps", program], { cwd: root, env });
}

const suites = process.argv.slice(2);
const inPages = suites.filter((suite) => BROWSERS.includes(suite));
const others = suites.filter((suite) => !BROWSERS.includes(suite));
if (inPages.length > 0) install(browserTests, "what drives the browsers, about 30 MB,");
if (others.length > 0) install(here, "the hosts, about 1.2 GB,");
const project = mkdtempSync(join(tmpdir(), "heed-"));
try {
  await makeProject(project);
  const hosts = join(root, "build/hosts");
  mkdirSync(hosts, { recursive: true });
  const env = { HEED_PROJECT: project, HEED_HOSTS: hosts, HEED_RUNTIMES: here };
  if (suites.includes("cold")) {
    process.exitCode = await measureCold(env);
  } else {
    const config = ["--config", join(browserTests, "vitest.config.ts")];
    const failed = inPages.length > 0 && runTests(inPages, env, ...config);
    process.exitCode = failed || (others.length > 0 ? runTests(others, env) : 0);
  }
} finally {
  rmSync(project, { recursive: true, force: true });
}
