// node scripts/build.js [target …]: compiles assembly/ for the targets of asconfig.json (all of them by default) whose
// files are not up to date, side by side, then bundles bindings/ to dist/ and each example to build/, where `npm
// start`, `npm run generate`, `npm run split` and so on run it, and build/lens.html, the page of `npm run lens`.
import process from "node:process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { buildPage } from "../examples/lens/build.js";
import { compile, isCurrent } from "./compile.js";
import { stamp } from "./stamp.js";

const root = fileURLToPath(new URL("..", import.meta.url));
process.chdir(root);
const targets = process.argv.length > 2 ? process.argv.slice(2) : ["debug", "simd", "relaxed"];
/** The core and the modules beside it (docs/decisions/modules.md). */
const parts = [undefined, "linear", "transformer"];
const all = targets.flatMap((target) => parts.map((name) => ({ target, name })));
const stale = all.filter(({ target, name }) => !isCurrent(root, target, name));
if (stale.length > 0) {
  process.stderr.write(
    `heed: compiling assembly/ (${stale.map(({ target, name }) => (name ? `${name}.${target}` : target)).join(", ")}), once until it changes …\n`,
  );
  const start = performance.now();
  const compiled = await Promise.all(stale.map(({ target, name }) => compile(root, target, name)));
  for (const { said } of compiled) process.stderr.write(said);
  if (compiled.some(({ succeeded }) => !succeeded)) process.exit(1);
  process.stderr.write(`heed: compiled in ${((performance.now() - start) / 1000).toFixed(1)} s\n`);
}

if (process.stderr.isTTY) process.stderr.write("heed: bundling …");
rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");

const manifest = /** @type {unknown} */ (JSON.parse(readFileSync("package.json", "utf8")));
const { version } = /** @type {{ version: string }} */ (manifest);
for (const variant of ["simd", "relaxed"]) {
  for (const name of parts) {
    const file = `${name === undefined ? "" : `${name}.`}${variant}.wasm`;
    writeFileSync(`dist/${file}`, stamp(readFileSync(`build/${file}`), version, name));
  }
}
for (const file of ["wasm-file.d.ts", "worker-file.d.ts"]) copyFileSync(`bindings/${file}`, `dist/${file}`);

const shared = {
  bundle: true,
  format: /** @type {const} */ ("esm"),
  target: "es2022",
  sourcemap: true,
  logLevel: /** @type {const} */ ("warning"),
};

const worker = await build({
  ...shared,
  entryPoints: ["bindings/threads/worker.ts"],
  // It is a string to whoever compiles the rest for older engines.
  target: "es2019",
  minify: true,
  sourcemap: false,
  write: false,
});
const workerText = worker.outputFiles[0]?.text ?? "";
writeFileSync("dist/worker.js", workerText);

const published = {
  ...shared,
  outdir: "dist",
  platform: /** @type {const} */ ("neutral"),
  define: { HEED_VERSION: JSON.stringify(version), HEED_WORKER: JSON.stringify(workerText.trim()) },
};
await build({ ...published, entryPoints: ["bindings/index.ts"], loader: { ".wasm": "base64" } });
await build({ ...published, entryPoints: ["bindings/slim.ts"] });
// These have no part of heed in them: they are handed an instance.
for (const name of ["onnx", "shard", "transformer"]) {
  const entryPoints = [{ in: `bindings/${name}/index.ts`, out: name }];
  await build({ ...published, entryPoints, loader: { ".wasm": "base64" } });
}
// The same code for each host that compiles the files itself, and how it wants the import of one written.
for (const { host, suffix } of [
  { host: "workerd", suffix: "" },
  { host: "edge-light", suffix: "?module" },
]) {
  await build({
    ...published,
    entryPoints: [
      { in: "bindings/precompiled.ts", out: host },
      { in: "bindings/transformer/precompiled.ts", out: `transformer.${host}` },
    ],
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

for (const example of ["read", "generate", "evict", "split", "shard-threads", "safetensors"]) {
  await build({
    ...shared,
    entryPoints: [`examples/${example}/main.ts`],
    outfile: `build/${example}.js`,
    platform: "node",
    packages: "external",
    // tsconfig.json points these at the sources for the type checker; at run time they are dist/, as for any user.
    external: ["heed", "heed/shard"],
  });
}

await buildPage("build/lens.html", fileURLToPath(new URL("../dist/index.js", import.meta.url)));
if (process.stderr.isTTY) process.stderr.write("\r\x1b[2K");
