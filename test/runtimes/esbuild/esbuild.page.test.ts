import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { describeBundler } from "../bundlers.ts";
import { pathIn } from "../project.ts";

describeBundler("esbuild", "esbuild", async (source) => {
  const outdir = pathIn("build/esbuild");
  await build({ entryPoints: [join(source, "main.js")], bundle: true, outdir });
  copyFileSync(join(source, "index.html"), join(outdir, "index.html"));
  return outdir;
});
