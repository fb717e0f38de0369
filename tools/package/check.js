// What publint and attw (are the types wrong?) say of the package as npm packs it. dist/ must have been built.
import { join } from "node:path";
import process from "node:process";
import { run } from "../../scripts/install.js";

const root = join(import.meta.dirname, "../..");
const suffix = process.platform === "win32" ? ".cmd" : "";
/** @param {string} name */
const program = (name) => join(root, "tools/node_modules/.bin", name + suffix);

process.exitCode =
  run(program("publint"), ["--strict"], { cwd: root }) ||
  run(program("attw"), ["--pack", ".", "--profile", "esm-only"], { cwd: root });
