// node build.js [target …]: compiles assembly/ for the targets of asconfig.json (all of them by default), side by side, then
// bundles bindings/ to dist/ and each example to build/, where `npm start` and `npm run generate` run it.
import { execFile } from "node:child_process";
import process from "node:process";
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";

const asc = fileURLToPath(import.meta.resolve("assemblyscript/bin/asc.js"));
const targets = process.argv.length > 2 ? process.argv.slice(2) : ["debug", "simd", "relaxed"];
const compiled = await Promise.allSettled(
  targets.map((target) => promisify(execFile)(process.execPath, [asc, "--target", target])),
);
for (const result of compiled) {
  /** @type {unknown} */
  const said = result.status === "fulfilled" ? result.value : result.reason;
  const { stdout, stderr } = /** @type {{ stdout: string, stderr: string }} */ (said);
  process.stderr.write(stdout + stderr);
}
if (compiled.some(({ status }) => status === "rejected")) process.exit(1);

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");
for (const variant of ["simd", "relaxed"]) copyFileSync(`build/${variant}.wasm`, `dist/${variant}.wasm`);

const shared = {
  bundle: true,
  format: /** @type {const} */ ("esm"),
  target: "es2022",
  sourcemap: true,
  logLevel: /** @type {const} */ ("warning"),
};

await build({
  ...shared,
  entryPoints: ["bindings/index.ts"],
  outdir: "dist",
  platform: "neutral",
  loader: { ".wasm": "base64" },
});

for (const example of ["read", "generate"]) {
  await build({
    ...shared,
    entryPoints: [`examples/${example}/main.ts`],
    outfile: `build/${example}.js`,
    platform: "node",
    packages: "external",
    // tsconfig.json points "heed" at the sources for the type checker; at run time it is dist/, as for any user.
    external: ["heed"],
  });
}
