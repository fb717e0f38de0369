// node start.js SUITE …: installs the hosts on first use, packs heed and installs the package into a temporary folder
// as a user would, twice, and runs the suites of vitest.config.ts beside it. What they find goes to build/hosts/, where
// tables.js reads it.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { build } from "esbuild";

const here = import.meta.dirname;
const root = join(here, "../..");
const npm = process.platform === "win32" ? "npm.cmd" : "npm";

/**
 * @param {string} cwd
 * @param {string} program
 * @param {string[]} args
 * @param {Record<string, string>} [env]
 */
function run(cwd, program, args, env) {
  const { status, error } = spawnSync(program, args, {
    cwd,
    stdio: "inherit",
    shell: program.endsWith(".cmd"),
    env: { ...process.env, ...env },
  });
  if (error) throw error;
  return status ?? 1;
}

/**
 * @param {string} cwd
 * @param {string[]} args
 */
function runNpm(cwd, ...args) {
  if (run(cwd, npm, [...args, "--no-audit", "--no-fund", "--loglevel=error"]) !== 0)
    throw new Error(`npm ${args[0]} failed`);
}

function installHosts() {
  const installed = join(here, "node_modules/.package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(here, "package-lock.json")).mtimeMs) return;
  console.error("runtimes: installing the hosts (about 1.2 GB) …");
  runNpm(here, "ci");
}

/**
 * A project of a user: heed from its tarball, a second copy of it, the cases and the programs that run them.
 * @param {string} project
 */
async function makeProject(project) {
  runNpm(root, "pack", "--ignore-scripts", "--silent", "--pack-destination", project);
  const tarball = readdirSync(project).find((name) => name.endsWith(".tgz"));
  const dependencies = { heed: `file:${tarball}`, "heed-again": `file:${tarball}` };
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module", dependencies }));
  runNpm(project, "install", "--offline", "--silent");
  cpSync(here, project, {
    recursive: true,
    filter: (path) => basename(path) !== "node_modules" && (statSync(path).isDirectory() || /\.(js|html)$/.test(path)),
  });
  for (const example of ["cloudflare-worker", "vercel-edge", "page", "vite"]) {
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
    external: ["heed", "heed-again"],
    logLevel: "warning",
  });
}

/**
 * @param {string[]} suites projects of vitest.config.ts, or parts of paths
 * @param {Record<string, string>} env
 */
function runTests(suites, env) {
  const args = suites.flatMap((suite) => (suite.includes("/") ? [suite] : ["--project", suite]));
  return run(root, process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", ...args], env);
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
  return run(root, process.execPath, [...flags, "--enable-source-maps", join(here, "build/measure-cold.js")], env);
}

installHosts();
const project = mkdtempSync(join(tmpdir(), "heed-"));
try {
  await makeProject(project);
  const hosts = join(root, "build/hosts");
  mkdirSync(hosts, { recursive: true });
  const env = { HEED_PROJECT: project, HEED_HOSTS: hosts, HEED_RUNTIMES: here };
  const suites = process.argv.slice(2);
  process.exitCode = suites.includes("cold") ? await measureCold(env) : runTests(suites, env);
} finally {
  rmSync(project, { recursive: true, force: true });
}
