// node tools/run.js SCRIPT [argument …]: runs tools/SCRIPT. Installs what tools/package.json lists, on first use and
// whenever its lock file has changed.
import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";

const here = import.meta.dirname;
const installed = join(here, "node_modules/.package-lock.json");
if (!existsSync(installed) || statSync(installed).mtimeMs < statSync(join(here, "package-lock.json")).mtimeMs) {
  console.error("tools: installing (about 13 MB) …");
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  const { status, error } = spawnSync(npm, ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: here,
    stdio: "inherit",
    shell: npm.endsWith(".cmd"),
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

// The script finds its arguments where it would without this one.
const [script = ""] = process.argv.splice(2, 1);
await import(pathToFileURL(join(here, script)).href);
