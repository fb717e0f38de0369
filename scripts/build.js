// node scripts/build.js [target …]: compiles assembly/ for the targets of asconfig.json (all of them by default), side by side, then
// bundles bindings/ to dist/ and each example to build/, where `npm start`, `npm run generate` and `npm run split` run it, and
// build/lens.html, the page of `npm run lens`.
import { execFile } from "node:child_process";
import process from "node:process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { buildPage } from "../examples/lens/build.js";

const asc = fileURLToPath(import.meta.resolve("assemblyscript/bin/asc.js"));
const targets = process.argv.length > 2 ? process.argv.slice(2) : ["debug", "simd", "relaxed"];
/** @param {string} target */
async function compile(target) {
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [asc, "--target", target]);
    process.stderr.write(stdout + stderr);
  } catch (error) {
    const { stdout, stderr } = /** @type {{ stdout: string; stderr: string }} */ (error);
    process.stderr.write(stdout + stderr);
    process.exitCode = 1;
  }
}

await Promise.all(targets.map(compile));
if (process.exitCode) process.exit();

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");

const manifest = /** @type {unknown} */ (JSON.parse(readFileSync("package.json", "utf8")));
const { version } = /** @type {{ version: string }} */ (manifest);
// A custom section: id, bytes, name, content. bindings/engine/source.ts refuses a build of another version.
const stamp = [0, 5 + version.length, 4, ...Buffer.from(`heed${version}`)];
for (const variant of ["simd", "relaxed"]) {
  writeFileSync(`dist/${variant}.wasm`, Buffer.concat([readFileSync(`build/${variant}.wasm`), Buffer.from(stamp)]));
}
copyFileSync("bindings/wasm-file.d.ts", "dist/wasm-file.d.ts");

const shared = {
  bundle: true,
  format: /** @type {const} */ ("esm"),
  target: "es2022",
  sourcemap: true,
  logLevel: /** @type {const} */ ("warning"),
};

const published = {
  ...shared,
  outdir: "dist",
  platform: /** @type {const} */ ("neutral"),
  define: { HEED_VERSION: JSON.stringify(version) },
};
await build({ ...published, entryPoints: ["bindings/index.ts"], loader: { ".wasm": "base64" } });
await build({ ...published, entryPoints: ["bindings/slim.ts"] });
// heed/onnx has no part of heed in it: it is handed an instance.
await build({ ...published, entryPoints: [{ in: "bindings/onnx/index.ts", out: "onnx" }] });
// The same code for each host that compiles the files itself, and how it wants the import of one written.
for (const { host, suffix } of [
  { host: "workerd", suffix: "" },
  { host: "edge-light", suffix: "?module" },
]) {
  await build({
    ...published,
    entryPoints: [{ in: "bindings/precompiled.ts", out: host }],
    plugins: [
      {
        name: "wasm-beside",
        setup: (bundler) =>
          bundler.onResolve({ filter: /\.wasm\?module$/ }, ({ path }) => ({
            path: path.replace("?module", suffix),
            external: true,
          })),
      },
    ],
  });
}

for (const example of ["read", "generate", "split", "safetensors"]) {
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

await buildPage("build/lens.html", fileURLToPath(new URL("../dist/index.js", import.meta.url)));
