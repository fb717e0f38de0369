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
const parse = (file) => JSON.parse(readFileSync(file, "utf8"));

/**
 * The bytes of a module, stamped. What it is made of goes through build/, under its name.
 * @param {string} name as `addModule` of bindings/engine/module.ts is to know it
 * @param {string} entry its index.ts, seen from the root
 * @param {"simd" | "relaxed"} variant
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function buildModule(name, entry, variant) {
  const { version } = /** @type {{ version: string }} */ (parse(`${root}package.json`));
  const args = argumentsFor(root, name, entry, variant);
  await promisify(execFile)(process.execPath, [asc, ...args], { cwd: root });
  return new Uint8Array(stamp(readFileSync(`${root}build/${name}.${variant}.wasm`), version, name));
}

/**
 * What asc is called with to compile a module to build/NAME.TARGET.wasm.
 * @param {string} root the folder of asconfig.json, with a slash behind it
 * @param {string} name
 * @param {string} entry its index.ts, seen from the root
 * @param {string} target of asconfig.json
 */
export function argumentsFor(root, name, entry, target) {
  const { options, targets } = /** @type {{ options: object; targets: Record<string, object> }} */ (
    parse(`${root}asconfig.json`)
  );
  const files = { outFile: `../build/${name}.${target}.wasm`, textFile: `../build/${name}.${target}.wat` };
  const config = { entries: [`../${entry}`], options, targets: { [target]: { ...targets[target], ...files } } };
  mkdirSync(`${root}build`, { recursive: true });
  const file = `build/${name}.${target}.asconfig.json`;
  writeFileSync(`${root}${file}`, JSON.stringify(config));
  return ["--config", file, "--target", target];
}
