import { build } from "vite";
import { describeBundler } from "../bundlers.ts";
import { pathIn } from "../project.ts";

describeBundler("Vite", "vite", async (source) => {
  const outDir = pathIn("build/vite");
  await build({ root: source, build: { outDir, emptyOutDir: true }, logLevel: "warn" });
  return outDir;
});
