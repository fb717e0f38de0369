// Whether every import of the repository keeps to rules.js. First each rule is shown a file that breaks it: a rule that
// lets its file pass proves nothing.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { cruise } from "dependency-cruiser";
import extractTsConfig from "dependency-cruiser/config-utl/extract-ts-config";
import { forbidden } from "./rules.js";

const root = join(import.meta.dirname, "../..");
const tsConfig = join(root, "tsconfig.json");

/**
 * The imports of `folders` of `baseDir`, and which rules they break.
 * @param {string} baseDir
 * @param {string[]} folders
 */
async function importsOf(baseDir, folders) {
  const { output } = await cruise(
    folders,
    {
      baseDir,
      ruleSet: { forbidden: forbidden.map((rule) => ({ ...rule, severity: "error" })) },
      validate: true,
      // Types count.
      tsPreCompilationDeps: true,
      moduleSystems: ["es6"],
      tsConfig: { fileName: tsConfig },
      doNotFollow: { path: "node_modules" },
      exclude: { path: "(^|/)(node_modules|build|dist)/" },
    },
    { extensions: [".ts", ".js", ".d.ts"] },
    { tsConfig: extractTsConfig(tsConfig) },
  );
  return /** @type {import("dependency-cruiser").ICruiseResult} */ (output);
}

/** For each rule a file that breaks it, and the file that it imports. Types and decorators are no way out. */
const BROKEN = [
  ["no-circle-of-files", "assembly/simd/a.ts", 'import "./b";', "assembly/simd/b.ts", 'import "./a";'],
  [
    "no-circle-of-files",
    "bindings/attention/a.ts",
    'import type { B } from "./b.ts"; export type A = B;',
    "bindings/attention/b.ts",
    'import type { A } from "./a.ts"; export type B = A;',
  ],
  ["no-circle-of-folders", "examples/a/one.ts", 'import "../b/one.ts";', "examples/b/one.ts"],
  ["no-circle-of-folders", "examples/b/two.ts", 'import "../a/two.ts";', "examples/a/two.ts"],
  ["repository", "bindings/load.ts", 'import "../test/support/x.ts";', "test/support/x.ts"],
  [
    "bindings",
    "bindings/memory/a.ts",
    'import type { Kernels } from "../engine/a.ts"; export type A = Kernels;',
    "bindings/engine/a.ts",
    "export interface Kernels {}",
  ],
  ["bindings-unplaced", "bindings/utils/a.ts", 'import "../check.ts";', "bindings/check.ts"],
  [
    "assembly",
    "assembly/simd/c.ts",
    'import { F32 } from "../kv/a";\n// @ts-ignore: decorator\n@inline export function f(): i32 { return F32; }',
    "assembly/kv/a.ts",
    "// @ts-ignore: decorator\n@inline export const F32: i32 = 0;",
  ],
  ["assembly-unplaced", "assembly/extra/a.ts", 'import "../args";', "assembly/args.ts"],
  ["bench", "bench/harness/a.ts", 'import "../cases/a.ts";', "bench/cases/a.ts"],
  ["bench-unplaced", "bench/main.ts", 'import "./more/a.ts";', "bench/more/a.ts"],
  ["ops-beside-prefill", "assembly/ops/a.ts", 'import "../prefill/a";', "assembly/prefill/a.ts"],
  ["assembly-alone", "assembly/kv/b.ts", 'import "../../scripts/a.ts";', "scripts/a.ts"],
  ["kernels-through-wasm", "test/attention/a.ts", 'import "../../assembly/args";', "assembly/args.ts"],
  ["onnx-is-handed-heed", "bindings/onnx/a.ts", 'import "../memory/b.ts";', "bindings/memory/b.ts"],
  [
    "onnx-takes-types",
    "bindings/onnx/b.ts",
    'import { Heed } from "../heed.ts"; new Heed();',
    "bindings/heed.ts",
    "export class Heed {}",
  ],
  ["onnx-on-top", "bindings/layer/a.ts", 'import "../onnx/c.ts";', "bindings/onnx/c.ts"],
  ["shard-is-handed-heed", "bindings/shard/a.ts", 'import "../memory/c.ts";', "bindings/memory/c.ts"],
  [
    "shard-takes-types",
    "bindings/shard/b.ts",
    'import { KvCache } from "../kv-cache/kv-cache.ts"; new KvCache();',
    "bindings/kv-cache/kv-cache.ts",
    "export class KvCache {}",
  ],
  ["shard-on-top", "bindings/layer/b.ts", 'import "../shard/c.ts";', "bindings/shard/c.ts"],
  ["transformer-is-handed-heed", "bindings/transformer/a.ts", 'import "../memory/d.ts";', "bindings/memory/d.ts"],
  ["transformer-takes-types", "bindings/transformer/b.ts", 'import "../memory/data.ts";', "bindings/memory/data.ts"],
  ["transformer-on-top", "bindings/layer/c.ts", 'import "../transformer/c.ts";', "bindings/transformer/c.ts"],
  ["resolves", "bindings/rotary/a.ts", 'import "./nowhere.ts";', "bindings/rotary/b.ts"],
  ["no-test-in-a-test", "test/a.test.ts", 'import "./b.test.ts";', "test/b.test.ts"],
];

async function tryRules() {
  const folder = mkdtempSync(join(tmpdir(), "heed-imports-"));
  try {
    for (const [, from = "", source = "", to = "", target = "export {};"] of BROKEN) {
      for (const path of [from, to]) mkdirSync(join(folder, dirname(path)), { recursive: true });
      writeFileSync(join(folder, from), source);
      writeFileSync(join(folder, to), target);
    }
    const { violations } = (await importsOf(folder, ["."])).summary;
    for (const [rule = "", file = ""] of BROKEN) {
      const found = violations.some(({ rule: { name }, from }) => name === rule && file.startsWith(from));
      if (!found)
        throw new Error(`the rule ${rule} of tools/imports/rules.js lets ${file} of tools/imports/check.js pass`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  for (const { name = "" } of forbidden) {
    if (!BROKEN.some(([rule]) => rule === name))
      throw new Error(`tools/imports/check.js has no file that breaks ${name}`);
  }
}

await tryRules();
const folders = ["assembly", "bench", "bindings", "examples", "scripts", "test", "tools"];
const { violations } = (await importsOf(root, folders)).summary;
for (const { rule, from, to, cycle = [{ name: to }] } of violations) {
  console.error(`${rule.name}: ${[from, ...cycle.map(({ name }) => name)].join(" → ")}`);
}
const names = new Set(forbidden.map(({ name }) => name));
if (violations.length === 0)
  console.log(`imports: ${names.size} rules, each seen to fail, hold in ${folders.join(", ")}`);
else console.error(`imports: ${violations.length} break the rules of tools/imports/rules.js`);
process.exitCode = Math.min(violations.length, 1);
