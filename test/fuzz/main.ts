// npm run fuzz -- [--seconds 60] [--seed 1] [--function NAME] [--case N]: calls every public function with right, nearly
// right and hostile values, and judges what comes of it. A failing case is shrunk, and named so that it can be replayed.
import { readFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import fc from "fast-check";
import type { Kernels, LinearKernels, TransformerKernels } from "../../bindings/engine/abi.ts";
import { INSTANCE, prepareModule, useLinear } from "../../bindings/engine/module.ts";
import { Heed } from "../../bindings/heed.ts";
import { Blocks } from "../../bindings/transformer/blocks.ts";
import { guard } from "../support/guarded.ts";
import { FUNCTIONS, callOf } from "./draw-call.ts";
import { judge } from "./judge.ts";
import type { World } from "./values.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    function: { type: "string" },
    case: { type: "string" },
    build: { type: "string" },
  },
});
const numberOf = (name: "seconds" | "seed" | "case"): number => {
  const number = Number(values[name]);
  if (Number.isFinite(number) && number >= 0) return number;
  throw new RangeError(`--${name} expected a number of at least 0, got ${values[name]!}`);
};
const [seconds, seed] = [numberOf("seconds"), numberOf("seed")];
if (values.function !== undefined && !FUNCTIONS.includes(values.function)) {
  throw new RangeError(`--function expected one of ${FUNCTIONS.join(", ")}, got ${values.function}`);
}

function open(build: string): { heed: Heed; blocks: Blocks } {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2 ** 10 });
  const abort = (): never => {
    throw new Error("an assertion of the debug build failed");
  };
  const [kernels, fused, transformer] = [build, `linear.${build}`, `transformer.${build}`].map((name): unknown => {
    const module = new WebAssembly.Module(readFileSync(new URL(`../build/${name}.wasm`, import.meta.url)));
    return new WebAssembly.Instance(module, { env: { memory, abort } }).exports;
  });
  const heed = new Heed(kernels as Kernels, memory);
  const instance = heed[INSTANCE];
  useLinear(instance, fused as LinearKernels);
  const blocks = new Blocks(instance, prepareModule(instance, "module", transformer as TransformerKernels));
  guard(instance.arena);
  return { heed, blocks };
}

const builds = (values.build === undefined ? ["simd", "relaxed", "debug"] : [values.build]).filter((build) =>
  WebAssembly.validate(readFileSync(new URL(`../build/${build}.wasm`, import.meta.url))),
);
const instances = builds.map((build) => ({ build, ...open(build), other: open(build).heed }));

/** The last call that failed, for the report. */
let smallest = "";

/** Runs case `n`; returns the report of a failure. */
function failureOf(n: number): string | undefined {
  const { build, heed, blocks, other } = instances[n % instances.length]!;
  const property = fc.property(fc.gen(), (draw) => {
    const cache = heed.createKvCache({ numKvHeads: 2, headDim: 4, valueDim: 3, capacity: 300, batch: 2, window: 40 });
    const world: World = { heed, blocks, other, cache, tensors: [], interfered: false, special: false };
    let text = "";
    try {
      judge(world, () => {
        const call = callOf(draw, world, values.function);
        text = `${build}: ${call.name}(${call.given.map(({ text }) => text).join(", ")})`;
        return call;
      });
    } catch (error) {
      // Shrinking ends with the smallest case that fails, which is the last one to come here.
      smallest = text;
      throw error;
    }
  });
  const details = fc.check(property, { seed: Math.imul(seed, 0x9e3779b1) ^ n, numRuns: 1 });
  if (!details.failed) return undefined;
  const error = details.errorInstance;
  return `${smallest}\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

const only = values.case === undefined ? undefined : numberOf("case");
const end = performance.now() + seconds * 1000;
let cases = 0;
for (let n = only ?? 0; only === undefined ? performance.now() < end : n === only; n++) {
  const failure = failureOf(n);
  cases++;
  if (failure === undefined) continue;
  console.error(
    `${failure}\n\nreplay: npm run fuzz -- --seed ${seed} --case ${n}${values.function === undefined ? "" : ` --function ${values.function}`}${values.build === undefined ? "" : ` --build ${values.build}`}`,
  );
  process.exitCode = 1;
  break;
}
console.log(
  `fuzz: ${cases} cases of ${FUNCTIONS.length} functions on ${builds.join(", ")}, seed ${seed}, ${process.exitCode === 1 ? 1 : 0} failed`,
);
