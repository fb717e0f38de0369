import { readFileSync } from "node:fs";
import type { Report } from "../cases.ts";
import { describeHost } from "../host.ts";
import { installed } from "../project.ts";
import { openFunction } from "./edge-light.ts";

const { version } = JSON.parse(readFileSync(installed("edge-runtime/package.json"), "utf8")) as { version: string };

describeHost({ name: "Vercel Edge", how: "edge-runtime", version }, async () => {
  const runtime = await openFunction("edge-light/main.js");
  const response = await runtime.dispatchFetch("http://heed/");
  return (await response.json()) as Report;
});
