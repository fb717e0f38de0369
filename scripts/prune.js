// Runs after `npm ci`: removes what two packages carry and nothing here loads, 103 MB of 292. asc loads binaryen's
// index.js alone, not its command-line programs; the examples load the ES modules of gpt-tokenizer, not its other
// copies.
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const modules = fileURLToPath(new URL("../node_modules/", import.meta.url));
const unused = ["binaryen/bin", "gpt-tokenizer/cjs", "gpt-tokenizer/data", "gpt-tokenizer/src"];

/** @param {string} folder */
function namesIn(folder) {
  try {
    return readdirSync(join(modules, folder));
  } catch {
    return [];
  }
}

const programs = new Set(namesIn("binaryen/bin"));
for (const folder of unused) rmSync(join(modules, folder), { recursive: true, force: true });
// npm has made a link to each program, and on Windows files that start it.
for (const link of namesIn(".bin")) {
  if (programs.has(link.replace(/\.(cmd|ps1)$/, ""))) rmSync(join(modules, ".bin", link));
}
