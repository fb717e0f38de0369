// node build.js [target …]: compiles assembly/ for the targets of asconfig.json (all of them by default), side by side, then
// bundles bindings/ to dist/ and each example to build/, where `npm start`, `npm run generate` and `npm run split` run it.
import { execFile } from "node:child_process";
import process from "node:process";
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";

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
// heed/onnx has no part of heed in it: it is handed an instance.
await build({
  ...shared,
  entryPoints: [{ in: "bindings/onnx/index.ts", out: "onnx" }],
  outdir: "dist",
  platform: "neutral",
});

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
