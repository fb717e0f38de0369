// What a run needs first: heed compiled, and the peers installed.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

/** The folder of the benchmark, seen from bench/build/, where start.js puts this bundle. */
export const BENCH = join(import.meta.dirname, "..");

/** Compiles assembly/ and bundles bindings/ to dist/, which the bundles of the benchmark import. */
export function compileHeed(): void {
  run(process.execPath, ["scripts/build.js", "simd", "relaxed"], join(BENCH, ".."));
}

/** Installs the peers on first use, and again after package-lock.json has changed. */
export function installPeers(): void {
  const installed = join(BENCH, "node_modules/.package-lock.json");
  const locked = join(BENCH, "package-lock.json");
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(locked).mtimeMs) return;
  console.error("bench: installing the peers (about 500 MB) …");
  run(process.platform === "win32" ? "npm.cmd" : "npm", ["ci", "--no-audit", "--no-fund"], BENCH);
}

/** The index.js of a build of heed, given itself, its dist/ or the folder of that; undefined where there is none. */
export function findBuild(path: string): string | undefined {
  const candidates = [path, join(path, "index.js"), join(path, "dist/index.js")];
  return candidates.map((one) => resolve(one)).find((one) => statSync(one, { throwIfNoEntry: false })?.isFile());
}

/** Measures cold starts in the hosts of test/runtimes/, which installs them. */
export function measureColdStarts(): void {
  run(process.execPath, ["test/runtimes/start.js", "cold"], join(BENCH, ".."));
}

/** Runs a program; where it fails, this one ends with its exit code. */
function run(program: string, args: string[], cwd: string): void {
  const { status, error } = spawnSync(program, args, { cwd, stdio: "inherit", shell: program.endsWith(".cmd") });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
