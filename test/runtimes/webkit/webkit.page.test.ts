import { afterAll, beforeAll } from "vitest";
import { describeHost } from "../host.ts";
import { type Site, CSP, ISOLATION, PAGES, buildPages, parseReport, serveFolder } from "../page/pages.ts";
import { project } from "../project.ts";
import { WebKit, isWebKitInstalled } from "./webkit.ts";

let webkit: WebKit | undefined;
let site: Site | undefined;
let isolated: Site | undefined;
const version = isWebKitInstalled ? (webkit = await WebKit.launch()).version : "";
beforeAll(async () => {
  await buildPages();
  site = await serveFolder(project);
  isolated = await serveFolder(project, `${CSP}; worker-src 'self' blob:`, ISOLATION);
});
afterAll(async () => {
  await webkit?.close();
  await site?.close();
  await isolated?.close();
});

for (const [place, how] of [
  ["page", "page"],
  ["worker", "worker"],
  ["service-worker", "service worker"],
] as const) {
  const run = async () => parseReport(await webkit!.textOf(`${site!.url}/${PAGES}/?in=${place}`));
  describeHost({ name: "WebKitGTK", how, version, isSystem: true }, webkit && run);
  const runIsolated = async () => parseReport(await webkit!.textOf(`${isolated!.url}/${PAGES}/?in=${place}`));
  describeHost({ name: "WebKitGTK", how: `isolated ${how}`, version, isSystem: true }, webkit && runIsolated);
}
