import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { Miniflare, type SharedOptions, type WorkerOptions } from "miniflare";
import { installed, output, project } from "../project.ts";

/** Bundles a Worker of the project as Cloudflare's tools do, the wasm files beside it, and gives its folder. */
export async function bundleWorker(entry: string): Promise<string> {
  const outdir = join(project, "build", entry);
  await build({
    absWorkingDir: project,
    entryPoints: { worker: entry },
    outdir,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    conditions: ["workerd", "worker", "browser"],
    loader: { ".wasm": "copy" },
    external: ["cloudflare:*"],
    logLevel: "warning",
  });
  return outdir;
}

/** The same by wrangler. */
export async function bundleByWrangler(entry: string): Promise<string> {
  const outdir = join(project, "build", `wrangler-${entry}`);
  const args = [
    "deploy",
    entry,
    "--name",
    "heed",
    "--compatibility-date",
    "2026-04-01",
    "--dry-run",
    "--outdir",
    outdir,
    "--minify",
  ];
  await output(process.execPath, [installed("wrangler/bin/wrangler.js"), ...args], {
    WRANGLER_SEND_METRICS: "false",
    CI: "true",
  });
  return outdir;
}

/** workerd with the Worker of a folder, and what else it is to have. */
export function serve(folder: string, more: Pick<WorkerOptions, "durableObjects"> & SharedOptions = {}): Miniflare {
  const beside = readdirSync(folder).filter((name) => name.endsWith(".wasm"));
  return new Miniflare({
    ...more,
    modulesRoot: folder,
    modules: [
      { type: "ESModule", path: join(folder, "worker.js") },
      ...beside.map((name) => ({ type: "CompiledWasm" as const, path: join(folder, name) })),
    ],
    compatibilityDate: "2026-04-01",
    host: "127.0.0.1",
    port: 0,
    cf: false,
  });
}

/** Bytes of a Worker as Cloudflare counts them: code and wasm, gzipped. */
export function gzippedBytes(folder: string): number {
  const files = readdirSync(folder).filter((name) => /\.(js|wasm)$/.test(name));
  return files.reduce((sum, name) => sum + gzipSync(readFileSync(join(folder, name))).length, 0);
}
