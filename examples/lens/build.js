// Bundles the page: one file with its style, its script, the wasm and the tokeniser inside, which asks nothing of any
// server.
import { Buffer } from "node:buffer";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url));

/** @param {string} entry @param {{ alias?: Record<string, string> }} [options] */
async function bundle(entry, options = {}) {
  const { outputFiles } = await build({
    entryPoints: [here(entry)],
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    charset: "utf8",
    logLevel: "warning",
    ...options,
    write: false,
  });
  return outputFiles[0]?.text.trim() ?? "";
}

/**
 * The first paragraph of Moby-Dick, from “It is a way I have of driving off the spleen” on: the third line, after the
 * title.
 */
const [, , opening = ""] = readFileSync(here("../read/moby-dick/1.txt"), "utf8").split("\n");
const source = {
  title: "The opening of Moby-Dick",
  text: opening,
  limit: 8192,
  start: 50,
};

/** Builds the page to a file. @param {string} file @param {string} heed where dist/index.js is */
export async function buildPage(file, heed) {
  const [style, script, tokeniser] = await Promise.all([
    bundle("style.css"),
    bundle("main.ts", { alias: { heed } }),
    bundle("tokeniser-worker.ts"),
  ]);
  const packed = gzipSync(Buffer.from(tokeniser), { level: 9 }).toString("base64");
  let page = readFileSync(here("page.html"), "utf8");
  for (const [id, text] of [
    ["style", style],
    ["source", JSON.stringify(source).replaceAll("<", "\\u003c")],
    ["tokeniser", packed],
    // Inside a string is the only place where a bundle has these, and there the escape means the same.
    ["script", script.replaceAll("<!--", "\\x3C!--").replaceAll(/<(\/?script)/gi, "\\x3C$1")],
  ]) {
    const element = new RegExp(`(<(?:style|script)[^>]* id="${id}">)[^<]*(</)`);
    if (!element.test(page)) throw new Error(`page.html has no element for the ${id}`);
    page = page.replace(
      element,
      (_, /** @type {string} */ open, /** @type {string} */ close) => `${open}${text}${close}`,
    );
  }
  writeFileSync(file, page);
}
