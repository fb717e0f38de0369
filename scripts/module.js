// Builds a further wasm module (docs/decisions/modules.md): the options of a target of asconfig.json, another entry.
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { stamp } from "./stamp.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const asc = fileURLToPath(import.meta.resolve("assemblyscript/bin/asc.js"));

/** @param {string} file @returns {unknown} */
const parse = (file) => JSON.parse(readFileSync(`${root}${file}`, "utf8"));

/**
 * The bytes of a module, stamped. What it is made of goes through build/, under its name.
 * @param {string} name as `addModule` of bindings/engine/module.ts is to know it
 * @param {string} entry its index.ts, seen from the root
 * @param {"simd" | "relaxed"} variant
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function buildModule(name, entry, variant) {
  const { version } = /** @type {{ version: string }} */ (parse("package.json"));
  const { options, targets } = /** @type {{ options: object; targets: Record<string, object> }} */ (
    parse("asconfig.json")
  );
  const outFile = `build/${name}.${variant}.wasm`;
  const target = { ...targets[variant], outFile: `../${outFile}`, textFile: `../build/${name}.${variant}.wat` };
  const config = { entries: [`../${entry}`], options, targets: { [variant]: target } };
  mkdirSync(`${root}build`, { recursive: true });
  const file = `build/${name}.${variant}.asconfig.json`;
  writeFileSync(`${root}${file}`, JSON.stringify(config));
  await promisify(execFile)(process.execPath, [asc, "--config", file, "--target", variant], { cwd: root });
  return new Uint8Array(stamp(readFileSync(`${root}${outFile}`), version, name));
}
