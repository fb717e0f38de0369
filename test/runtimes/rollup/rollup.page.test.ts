import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { nodeResolve } from "@rollup/plugin-node-resolve";
import { rollup } from "rollup";
import { describeBundler } from "../bundlers.ts";
import { pathIn } from "../project.ts";

describeBundler("Rollup", "rollup", async (source) => {
  const dir = pathIn("build/rollup");
  // Rollup finds no package at all without this plugin.
  const bundle = await rollup({ input: join(source, "main.js"), plugins: [nodeResolve()] });
  await bundle.write({ dir });
  await bundle.close();
  copyFileSync(join(source, "index.html"), join(dir, "index.html"));
  return dir;
});
