import { copyFileSync } from "node:fs";
import { join } from "node:path";
import webpack from "webpack";
import { describeBundler } from "../bundlers.ts";
import { pathIn } from "../project.ts";

describeBundler("webpack", "webpack", async (source) => {
  const path = pathIn("build/webpack");
  await new Promise<void>((resolve, reject) => {
    // The places and the name of the entry alone; everything else is the default.
    webpack({ context: source, entry: "./main.js", output: { path } }, (error, stats) => {
      if (error ?? stats?.hasErrors()) reject(error ?? new Error(stats?.toString()));
      else resolve();
    });
  });
  copyFileSync(join(source, "index.html"), join(path, "index.html"));
  return path;
});
