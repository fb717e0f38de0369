// Which file may import which. Imports run down the lists below, and types count like values; `npm run lint` proves it.
// A folder ends with a slash. What stands on one line is one layer, whose members do not import each other.

/** @typedef {import("dependency-cruiser").IRegularForbiddenRuleType} Rule */

/** What is there, from those who use to what is used. */
const REPOSITORY = [
  ["test/"],
  ["tools/"],
  ["scripts/"],
  ["examples/", "bench/"],
  // Kernels are called through WebAssembly. What asc compiles imports them: their specs, and the module of a test.
  ["bindings/", "assembly/"],
];

/** TypeScript: the API, and the memory and the engine beneath it. */
const BINDINGS = [
  // One entry for each way to bring the wasm files.
  ["index.ts", "precompiled.ts", "slim.ts"],
  // What every entry exports.
  ["api.ts"],
  // For the entries of hosts that have threads.
  ["start-threads.ts"],
  ["load.ts"],
  // The public class: one method for each folder below.
  ["heed.ts"],
  ["importers/"],
  ["layer/"],
  ["kv-cache/"],
  ["attention-weights/"],
  ["attention/"],
  ["rotary/"],
  // Calls that give the thread back between their steps.
  ["steps/"],
  // Workers on the memory of an instance.
  ["threads/"],
  // The wasm instance, and what both languages must know.
  ["engine/"],
  ["memory/"],
  // How a call reads its options, and checks them.
  ["options.ts"],
  ["check.ts", "limits.ts"],
];

/** AssemblyScript: mathematics on pointers. */
const ASSEMBLY = [
  ["index.ts"],
  // The kernels of further wasm files (docs/decisions/modules.md).
  ["modules/"],
  // Kernels beside attention.
  ["ops/"],
  ["attend.ts"],
  ["decode/"],
  ["prefill/"],
  ["attention/"],
  ["kv/"],
  ["simd/"],
  ["args.ts"],
];

/** The benchmark: the commands, what is measured, who is measured, and how. */
const BENCH = [
  ["main.ts"],
  [
    "async.ts",
    "baseline.ts",
    "caches.ts",
    "chart.ts",
    "list.ts",
    "micro.ts",
    "precision.ts",
    "prepare.ts",
    "run.ts",
    "threads.ts",
    "weights-dtype.ts",
  ],
  ["options.ts", "results.ts"],
  ["cases/"],
  // What runs in a browser.
  ["pages/"],
  ["peers/"],
  ["harness/"],
];

/**
 * Entries that are handed an instance and hold no part of heed: they import checks, limits and names, what loads a wasm
 * module where they bring one, and types besides.
 */
const CODE = ["bindings/check.ts", "bindings/limits.ts", "bindings/options.ts"];
/** @type {{ name: string; code?: string[]; types: string[] }[]} */
const BESIDE = [
  {
    name: "onnx",
    types: [
      "bindings/heed.ts",
      "bindings/engine/module.ts",
      "bindings/attention/options.ts",
      "bindings/attention-weights/options.ts",
      "bindings/memory/data.ts",
      "bindings/memory/layout.ts",
    ],
  },
  {
    name: "shard",
    types: [
      "bindings/heed.ts",
      "bindings/kv-cache/kv-cache.ts",
      "bindings/kv-cache/options.ts",
      "bindings/kv-cache/page-layout.ts",
      "bindings/rotary/options.ts",
    ],
  },
  {
    name: "transformer",
    code: [
      "bindings/engine/abi.ts",
      "bindings/engine/base64.ts",
      "bindings/engine/module.ts",
      "bindings/engine/source.ts",
      "bindings/layer/epilogue.ts",
      "bindings/rotary/frequencies.ts",
      "bindings/steps/give-way.ts",
      "bindings/steps/steps.ts",
      "bindings/threads/shared-memory.ts",
    ],
    types: [
      "bindings/heed.ts",
      "bindings/engine/instance.ts",
      "bindings/engine/kernels.ts",
      "bindings/attention-weights/options.ts",
      "bindings/kv-cache/kv-cache.ts",
      "bindings/kv-cache/page-layout.ts",
      "bindings/layer/packed-linear.ts",
      "bindings/layer/linear-weights.ts",
      "bindings/memory/call-scope.ts",
      "bindings/memory/data.ts",
      "bindings/memory/output.ts",
      "bindings/memory/tensor.ts",
      "bindings/rotary/options.ts",
      "bindings/steps/run-async.ts",
    ],
  },
];

/**
 * A pattern for folders and files.
 * @param {string[]} paths
 */
const pattern = (paths) =>
  `^(?:${paths.map((path) => path.replaceAll(/[.-]/g, "\\$&") + (path.endsWith("/") ? "" : "$")).join("|")})`;

/**
 * No import up a list, and no file outside it.
 * @param {string} name
 * @param {string} folder
 * @param {string[][]} layers from the top
 * @param {{ beside?: string[] }} [options] what is in the folder and has rules of its own
 * @returns {Rule[]}
 */
function runsDown(name, folder, layers, { beside = [] } = {}) {
  const placed = layers.map((layer) => layer.map((path) => folder + path));
  const known = pattern([...placed.flat(), ...beside.map((path) => folder + path)]);
  const rules = placed.flatMap((layer, at) =>
    layer.flatMap((member) => {
      const others = placed.slice(0, at + 1).flatMap((above) => above.filter((path) => path !== member));
      return others.length === 0 ? [] : [{ name, from: { path: pattern([member]) }, to: { path: pattern(others) } }];
    }),
  );
  if (folder === "") return rules;
  const unplaced = {
    name: `${name}-unplaced`,
    comment: `every file of ${folder} has a layer in tools/imports/rules.js`,
  };
  const stray = { path: pattern([folder]), pathNot: `${known}|\\.d\\.ts$` };
  return [...rules, { ...unplaced, from: stray, to: {} }, { ...unplaced, from: {}, to: stray }];
}

/** @type {Rule[]} */
export const forbidden = [
  {
    name: "no-circle-of-files",
    comment: "two files that import each other are one file, or hide a third",
    from: {},
    to: { circular: true },
  },
  {
    name: "no-circle-of-folders",
    comment: "a folder is a concept that can be read before those that use it",
    scope: "folder",
    from: {},
    to: { circular: true },
  },
  ...runsDown("repository", "", REPOSITORY),
  ...runsDown("bindings", "bindings/", BINDINGS, { beside: BESIDE.map(({ name }) => `${name}/`) }),
  ...runsDown("assembly", "assembly/", ASSEMBLY),
  ...runsDown("bench", "bench/", BENCH, { beside: ["start.js"] }),
  {
    name: "ops-beside-prefill",
    comment: "kernels beside attention use the parts that decode shares, and not attention as a whole",
    from: { path: "^assembly/(ops|modules)/" },
    to: { path: pattern(["assembly/attend.ts", "assembly/prefill/"]) },
  },
  {
    name: "assembly-alone",
    comment: "asc compiles assembly/ by itself",
    from: { path: "^assembly/" },
    to: { pathNot: "^assembly/" },
  },
  {
    name: "kernels-through-wasm",
    comment: "TypeScript calls kernels through WebAssembly",
    from: { pathNot: "^(assembly|test/kernels|test/package/module)/" },
    to: { path: "^assembly/" },
  },
  ...BESIDE.flatMap(({ name, code = [], types }) => {
    const folder = `bindings/${name}/`;
    const values = [...CODE, ...code];
    return [
      {
        name: `${name}-is-handed-heed`,
        comment: `${folder} imports ${values.join(", ")}, and types of ${types.join(", ")}`,
        from: { path: pattern([folder]) },
        to: { path: "^bindings/", pathNot: pattern([folder, ...values, ...types]) },
      },
      {
        name: `${name}-takes-types`,
        comment: `what ${folder} imports beside the checks are types, so that dist/${name}.js has no heed in it`,
        from: { path: pattern([folder]) },
        to: { path: pattern(types), dependencyTypesNot: /** @type {["type-only"]} */ (["type-only"]) },
      },
      {
        name: `${name}-on-top`,
        comment: `nothing of heed needs ${folder}`,
        from: { path: "^bindings/", pathNot: pattern([folder]) },
        to: { path: pattern([folder]) },
      },
    ];
  }),
  {
    name: "resolves",
    comment: "an import that leads nowhere would slip through the rules above; dist/ need not be built",
    from: { path: "^(assembly|bindings)/" },
    to: { couldNotResolve: true, pathNot: "\\.wasm(\\?module)?$" },
  },
  {
    name: "no-test-in-a-test",
    comment: "what tests share lives in test/support/",
    from: {},
    to: { path: "\\.(test|spec)\\.ts$" },
  },
];
