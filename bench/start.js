// node start.js [options]: bundles main.ts to build/ and runs it where relaxed SIMD is on. What else is needed (heed
// compiled, the peers installed) main.ts prepares, once it has read the options.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { build } from "esbuild";

const bench = import.meta.dirname;

await build({
  absWorkingDir: bench,
  entryPoints: {
    main: "main.ts",
    // Programs of workers and of processes beside the first one.
    stand: "peers/stand.ts",
    "team-worker": "harness/team-worker.ts",
    "beside-worker": "cases/beside-worker.ts",
    pinned: "cases/pinned.ts",
    walker: "harness/walker.ts",
  },
  outdir: "build",
  bundle: true,
  // What is imported on demand stays a file of its own, so that the packages in it are not looked for before.
  splitting: true,
  platform: "node",
  format: "esm",
  target: "es2022",
  packages: "external",
  plugins: [
    {
      name: "heed",
      // As seen from build/. dist/ need not be there yet.
      setup: (bundler) =>
        bundler.onResolve({ filter: /^heed$/ }, () => ({ path: "../../dist/index.js", external: true })),
    },
  ],
  sourcemap: true,
  logLevel: "warning",
});

// The page of `--async`, as a site serves it.
await build({
  absWorkingDir: bench,
  entryPoints: { page: "pages/async.ts" },
  outdir: "build",
  bundle: true,
  format: "esm",
  target: "es2022",
  plugins: [
    {
      name: "heed",
      setup: (bundler) => bundler.onResolve({ filter: /^heed$/ }, () => ({ path: "/heed.js", external: true })),
    },
  ],
  logLevel: "warning",
});

// Node 20 has relaxed SIMD behind a flag.
const flags = Number.parseInt(process.versions.node) < 22 ? ["--experimental-wasm-relaxed-simd"] : [];
const main = join(bench, "build/main.js");
const args = [...flags, "--enable-source-maps", main, ...process.argv.slice(2)];
const { status, error } = spawnSync(process.execPath, args, { stdio: "inherit" });
if (error) throw error;
process.exitCode = status ?? 1;
