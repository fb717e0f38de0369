// node run-snippets.js file …: imports the modules one after the other and writes, for each that has finished, one line
// of JSON: what it printed, or why it failed.
import { format } from "node:util";
import { pathToFileURL } from "node:url";
import process from "node:process";

for (const file of process.argv.slice(2)) {
  /** @type {string[]} */
  const printed = [];
  console.log = (...values) => void printed.push(...format(...values).split("\n"));
  /** @type {string | undefined} */
  let error;
  try {
    await import(pathToFileURL(file).href);
  } catch (cause) {
    error = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  }
  process.stdout.write(`${JSON.stringify({ file, printed, error })}\n`);
}
