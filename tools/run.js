// node tools/run.js SCRIPT [argument …]: runs tools/SCRIPT. Installs what tools/package.json lists, on first use and
// whenever its lock file has changed.
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { install } from "../scripts/install.js";

const here = import.meta.dirname;
install(here, "tools, about 50 MB,");

// The script finds its arguments where it would without this one.
const [script = ""] = process.argv.splice(2, 1);
await import(pathToFileURL(join(here, script)).href);
