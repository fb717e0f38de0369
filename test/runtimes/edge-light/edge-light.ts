import { readFileSync } from "node:fs";
import { EdgeRuntime } from "edge-runtime";
import { build } from "esbuild";
import { project } from "../project.ts";

/** Bundles a function of the project as Vercel does: `x.wasm?module` stands for a module that the host compiled. */
export async function openFunction(entry: string): Promise<EdgeRuntime> {
  const modules: Record<string, WebAssembly.Module> = {};
  const { outputFiles } = await build({
    absWorkingDir: project,
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    conditions: ["edge-light", "worker", "browser"],
    logLevel: "warning",
    plugins: [
      {
        name: "wasm-module",
        setup({ onLoad }) {
          onLoad({ filter: /\.wasm$/ }, ({ path, suffix }) => {
            if (suffix !== "?module") return { errors: [{ text: `${path} is imported without ?module` }] };
            const name = `wasm_${Object.keys(modules).length}`;
            modules[name] = new WebAssembly.Module(readFileSync(path));
            return { contents: `export default ${name};` };
          });
        },
      },
    ],
  });
  return new EdgeRuntime({
    initialCode: outputFiles[0]!.text,
    extend: (context) => Object.assign(context, modules),
  });
}
