// Builds dist/ (what ships) and build/read.js (the main job of `npm start`).
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

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

await build({
  ...shared,
  entryPoints: ["examples/read/main.ts"],
  outfile: "build/read.js",
  platform: "node",
  packages: "external",
  // tsconfig.json points "heed" at the sources for the type checker; at run time it is dist/, as for any user.
  external: ["heed"],
});
