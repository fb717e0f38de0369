// The types of the packed package, as TypeScript reads them in a project that sets little: no skipLibCheck, no lib for
// `using`, and in some no lib of hosts, as in a program for Node. By the oldest TypeScript that heed supports and by its own, with every way of resolving modules.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { installed, output, pathIn } from "../project.ts";

const consumer = `
import { type AttentionOptions, type Heed, type LoadOptions, load, loadSync } from "heed";
import { onnxAttention } from "heed/onnx";
import { Shard, ShardedCache } from "heed/shard";
import { type Blocks, loadBlocks, loadBlocksSync } from "heed/transformer";
import linear from "heed/linear.relaxed.wasm";
import relaxed from "heed/relaxed.wasm";
import simd from "heed/simd.wasm";

const options: LoadOptions = { variant: "simd", module: simd };
const heed: Heed = await load(options);
loadSync({ module: relaxed, linear });
loadSync({ module: new Uint8Array(8) });
// @ts-expect-error there is no such build
await load({ variant: "fast" });

const x = new Float32Array(8);
const call: AttentionOptions = { numHeads: 1, headDim: 8 };
const { out, lse } = heed.attention(x, x, x, { ...call, out: undefined, lse: true });
out satisfies Float32Array;
lse satisfies Float32Array;
// @ts-expect-error headDim is required
heed.attention(x, x, x, { numHeads: 1 });

const one = { data: x, shape: [1, 1, 1, 8] };
onnxAttention(heed, { Q: one, K: one, V: one }).Y.shape satisfies readonly number[];

const shard = new Shard(heed);
const sizes = { numKvHeads: 1, headDim: 8, capacity: 100 };
const sharded = await ShardedCache.open(heed, [(request) => shard.handle(request)], sizes);
(await sharded.attention(x, { numHeads: 1 })).out satisfies Float32Array;
// @ts-expect-error a place sees no mask of the whole
await sharded.attention(x, { numHeads: 1, keepMask: { data: new Uint8Array(8), shape: [8] } });

const blocks: Blocks = await loadBlocks(heed);
loadBlocksSync(heed, { module: simd });
const tensor = heed.tensor(8);
const normed = blocks.rmsNorm(x, { dim: 8, residual: x, sum: true, out: tensor });
normed.sum satisfies Float32Array;
normed.out satisfies typeof tensor;
// @ts-expect-error without a residual that is asked for there may be no sum
blocks.layerNorm(x, { dim: 8 }).sum satisfies Float32Array;
blocks.sample(x, { vocabSize: 8, seed: 1 }).tokens satisfies Int32Array;
`;

/** What only a project with the types of a host writes. */
const inHost = `
await load({ module: fetch("/simd.wasm") });
await load({ module: new URL("https://example.com/simd.wasm") });
await load({ module: await WebAssembly.compile(new Uint8Array(8)) });
`;

/** An import of everything that package.json exports, so that no entry is without types where `exports` is not read. */
function importsOfAll(): string {
  const { exports } = JSON.parse(readFileSync(pathIn("node_modules/heed/package.json"), "utf8")) as { exports: object };
  const paths = Object.keys(exports).filter((path) => path !== "./package.json");
  return paths.map((path, n) => `import * as all${n} from "heed${path.slice(1)}"; void all${n};`).join("\n");
}

const compilers = [
  { name: "the oldest", tsc: installed("typescript-5.7/bin/tsc"), node10: {} },
  // TypeScript 6 calls node10 deprecated.
  {
    name: "heed's own",
    tsc: join(import.meta.dirname, "../../../node_modules/typescript/bin/tsc"),
    node10: { ignoreDeprecations: "6.0" },
  },
];

describe.each(compilers)("$name TypeScript", ({ tsc, node10 }) => {
  it.each(
    [["es2022", "dom"], ["es2022"]].flatMap((lib) =>
      [
        { module: "esnext", moduleResolution: "node10", ...node10 },
        { module: "node16", moduleResolution: "node16" },
        { module: "esnext", moduleResolution: "bundler" },
      ].map((resolution) => ({ lib, resolution })),
    ),
  )("compiles with $resolution.moduleResolution and $lib", async ({ lib, resolution }) => {
    const program = lib.length > 1 ? consumer + inHost : consumer;
    writeFileSync(pathIn("consumer.ts"), `${importsOfAll()}\n${program}`);
    const compilerOptions = {
      ...resolution,
      target: "es2022",
      lib,
      types: [],
      strict: true,
      skipLibCheck: false,
      noEmit: true,
    };
    writeFileSync(pathIn("consumer.json"), JSON.stringify({ compilerOptions, files: ["consumer.ts"] }));
    // tsc prints what it finds, and fails then.
    expect(await output(process.execPath, [tsc, "-p", "consumer.json"])).toBe("");
  });
});
