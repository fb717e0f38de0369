// Compiles assembly/ for a target of asconfig.json, unless what stands in build/ was made from the same bytes by the
// same compiler.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { argumentsFor } from "./module.js";

const asc = fileURLToPath(import.meta.resolve("assemblyscript/bin/asc.js"));
/** asc and the optimiser it calls: another version of either may make other bytes. */
const tools = [join(dirname(asc), ".."), dirname(createRequire(asc).resolve("binaryen"))];

/**
 * What a compilation read and what it wrote, as hashes.
 * @typedef {{ inputs: string, outputs: Record<string, string> }} Made
 */

/** @param {string} root @param {string} target @param {string} [name] */
const recordOf = (root, target, name) => join(root, `build/${name === undefined ? "" : `${name}.`}${target}.made.json`);

/**
 * The files that a target of asconfig.json writes, for the core or for a further module.
 * @param {string} root @param {string} target @param {string} [name]
 */
function outputsOf(root, target, name) {
  /** @type {unknown} */
  const config = JSON.parse(readFileSync(join(root, "asconfig.json"), "utf8"));
  const { targets } = /** @type {{ targets: Record<string, { outFile: string, textFile?: string }> }} */ (config);
  if (targets[target] === undefined) throw new Error(`asconfig.json has no target ${JSON.stringify(target)}`);
  if (name !== undefined) return [`build/${name}.${target}.wasm`, `build/${name}.${target}.wat`];
  const { outFile, textFile } = targets[target];
  return textFile === undefined ? [outFile] : [outFile, textFile];
}

/**
 * One hash of everything that the bytes of a target depend on: each file of assembly/ under its name, asconfig.json,
 * the version of heed and those of the compiler.
 * @param {string} root @param {string} target
 */
function hashInputs(root, target) {
  const hash = createHash("sha256");
  const names = readdirSync(join(root, "assembly"), { encoding: "utf8", recursive: true }).sort();
  const files = names.map((name) => join("assembly", name)).filter((name) => statSync(join(root, name)).isFile());
  for (const name of [...files, "asconfig.json"]) {
    const content = readFileSync(join(root, name));
    hash.update(`${name}\0${content.length}\0`).update(content);
  }
  const versions = [root, ...tools].map((folder) => {
    const manifest = /** @type {unknown} */ (JSON.parse(readFileSync(join(folder, "package.json"), "utf8")));
    return /** @type {{ version: string }} */ (manifest).version;
  });
  return hash.update(JSON.stringify([target, versions])).digest("hex");
}

/** @param {string} file */
const hashFile = (file) => createHash("sha256").update(readFileSync(file)).digest("hex");

/**
 * Whether the files of a target are there, untouched, and made from what is there now.
 * @param {string} root the folder of asconfig.json
 * @param {string} target
 * @param {string} [name] of a module in assembly/modules/; by default the core
 */
export function isCurrent(root, target, name) {
  const files = outputsOf(root, target, name);
  const record = recordOf(root, target, name);
  if (!existsSync(record)) return false;
  const made = /** @type {unknown} */ (JSON.parse(readFileSync(record, "utf8")));
  const { inputs, outputs } = /** @type {Made} */ (made);
  return (
    inputs === hashInputs(root, target) &&
    files.every((file) => existsSync(join(root, file)) && hashFile(join(root, file)) === outputs[file])
  );
}

/**
 * Compiles a target, and notes what from. Gives whether it could, and what the compiler said.
 * @param {string} root the folder of asconfig.json
 * @param {string} target
 * @param {string} [name] of a module in assembly/modules/; by default the core
 */
export async function compile(root, target, name) {
  const record = recordOf(root, target, name);
  rmSync(record, { force: true });
  const inputs = hashInputs(root, target);
  try {
    const args =
      name === undefined
        ? ["--target", target]
        : argumentsFor(join(root, "/"), name, `assembly/modules/${name}/index.ts`, target);
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [asc, ...args], { cwd: root });
    // A source that was saved meanwhile may be in the files or not: then they count for nothing.
    if (hashInputs(root, target) === inputs) {
      /** @type {Record<string, string>} */
      const outputs = {};
      for (const file of outputsOf(root, target, name)) outputs[file] = hashFile(join(root, file));
      writeFileSync(record, JSON.stringify({ inputs, outputs }));
    }
    return { succeeded: true, said: stdout + stderr };
  } catch (error) {
    const { stdout, stderr, message } = /** @type {Error & { stdout?: string, stderr?: string }} */ (error);
    return { succeeded: false, said: stdout === undefined ? message : stdout + (stderr ?? "") };
  }
}
