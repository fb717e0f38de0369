// What only some commands need has a manifest and a lock file in a folder of its own, and is installed when such a
// command first runs.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import process from "node:process";

/**
 * Runs a program to its end, its output on this terminal, and gives its exit code.
 * @param {string} program
 * @param {string[]} args
 * @param {{ cwd?: string, env?: Record<string, string> }} [options]
 */
export function run(program, args, { cwd = process.cwd(), env } = {}) {
  const { status, error } = spawnSync(program, args, {
    cwd,
    stdio: "inherit",
    // Windows starts a command file only through its shell.
    shell: program.endsWith(".cmd"),
    env: { ...process.env, ...env },
  });
  if (error) throw error;
  return status ?? 1;
}

/**
 * Runs npm in a folder, and throws where it fails.
 * @param {string} folder
 * @param {string[]} args
 */
export function npm(folder, ...args) {
  const program = process.platform === "win32" ? "npm.cmd" : "npm";
  if (run(program, [...args, "--no-audit", "--no-fund", "--loglevel=error"], { cwd: folder }) !== 0) {
    throw new Error(`npm ${args[0]} failed in ${folder}`);
  }
}

/**
 * Installs the packages of a folder, unless its installation is at least as new as its lock file.
 * @param {string} folder
 * @param {string} what the packages and their size, in words
 */
export function install(folder, what) {
  const installed = join(folder, "node_modules/.package-lock.json");
  const lock = statSync(join(folder, "package-lock.json"));
  if (existsSync(installed) && statSync(installed).mtimeMs >= lock.mtimeMs) return;
  process.stderr.write(`heed: installing ${what} in ${relative(process.cwd(), folder)} …\n`);
  npm(folder, "ci");
}
