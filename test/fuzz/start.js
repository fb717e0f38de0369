// node test/fuzz/start.js [options]: bundles the fuzzer with the sources of heed, and runs it.
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const manifest = /** @type {unknown} */ (
  JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
);
const { version } = /** @type {{ version: string }} */ (manifest);
const outfile = fileURLToPath(new URL("../../build/fuzz.js", import.meta.url));
await build({
  entryPoints: [fileURLToPath(new URL("main.ts", import.meta.url))],
  outfile,
  bundle: true,
  format: "esm",
  target: "es2022",
  platform: "node",
  packages: "external",
  define: { HEED_VERSION: JSON.stringify(version), HEED_WORKER: '""' },
  sourcemap: "inline",
});
process.setSourceMapsEnabled(true);
await import(outfile);
