// npm run docs [-- --dev] [-- --base /heed/]: writes the API reference to docs/api, and builds one site of it and the guides
// to build/docs; with --dev it serves them at http://127.0.0.1:5173/ while the guides are edited.
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { install, run } from "../scripts/install.js";

const docs = import.meta.dirname;
const options = process.argv.slice(2).filter((option) => option !== "--dev");
const isDev = process.argv.includes("--dev");

install(docs, "the generators of the site, about 150 MB,");

process.stderr.write("heed: writing the API reference …\n");
rmSync(join(docs, "api"), { recursive: true, force: true });
tool("typedoc");
cpSync(join(docs, "../build/lens.html"), join(docs, "../build/docs-public/live/lens.html"));

if (isDev) {
  tool("vitepress", "dev", "--host", "127.0.0.1", ...options);
} else {
  tool("vue-tsc");
  tool("vitepress", "build", ...options);
}

/**
 * Runs a command of the packages of docs/, and ends where it fails.
 * @param {string} command
 * @param {string[]} args
 */
function tool(command, ...args) {
  const suffix = process.platform === "win32" ? ".cmd" : "";
  const code = run(join(docs, "node_modules/.bin", command + suffix), args, { cwd: docs });
  if (code !== 0) process.exit(code);
}
