// Installs the peers on first use, bundles the command named by the first argument, and runs it where relaxed SIMD is on.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { build } from "esbuild";

const bench = import.meta.dirname;
process.chdir(bench);
const [command = "main", ...options] = process.argv.slice(2);

if (options.includes("--cold")) {
  run(process.execPath, ["../test/runtimes/start.js", "cold"]);
  process.exit();
}

const installed = "node_modules/.package-lock.json";
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync("package-lock.json").mtimeMs) {
  console.error("bench: installing the peers (about 500 MB) …");
  run(process.platform === "win32" ? "npm.cmd" : "npm", ["ci", "--no-audit", "--no-fund"]);
}

await build({
  absWorkingDir: bench,
  entryPoints: [`${command}.ts`],
  outdir: "build",
  bundle: true,
  platform: "node",
  format: "esm",
  target: "es2022",
  packages: "external",
  alias: { heed: "../dist/index.js" },
  sourcemap: true,
  logLevel: "warning",
});

// Node 20 has relaxed SIMD behind a flag.
const flags = Number.parseInt(process.versions.node) < 22 ? ["--experimental-wasm-relaxed-simd"] : [];
if (flags.length > 0) console.error(`bench: node ${flags.join(" ")}`);
run(process.execPath, [...flags, "--enable-source-maps", `build/${command}.js`, ...options]);

/**
 * @param {string} program
 * @param {string[]} args
 */
function run(program, args) {
  const { status, error } = spawnSync(program, args, { stdio: "inherit", shell: program.endsWith(".cmd") });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
