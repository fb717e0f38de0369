// The types of the packed package, as TypeScript reads them in a project that sets little: no skipLibCheck, no lib for
// `using`.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { output, pathIn } from "../project.ts";

const consumer = `
import { type AttentionOptions, type Heed, type LoadOptions, load, loadSync } from "heed";
import relaxed from "heed/relaxed.wasm";
import simd from "heed/simd.wasm";

const options: LoadOptions = { variant: "simd", module: simd };
const heed: Heed = await load(options);
await load({ module: fetch("/simd.wasm") });
await load({ module: new URL("https://example.com/simd.wasm") });
loadSync({ module: relaxed });
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
`;

it.each([
  { module: "nodenext", moduleResolution: "nodenext" },
  { module: "esnext", moduleResolution: "bundler" },
])("compiles with $moduleResolution", async (resolution) => {
  writeFileSync(pathIn("consumer.ts"), consumer);
  const compilerOptions = {
    ...resolution,
    target: "es2022",
    lib: ["es2022", "dom"],
    types: [],
    strict: true,
    noEmit: true,
  };
  writeFileSync(pathIn("consumer.json"), JSON.stringify({ compilerOptions, files: ["consumer.ts"] }));
  const tsc = join(import.meta.dirname, "../../../node_modules/typescript/bin/tsc");
  // tsc prints what it finds, and fails then.
  expect(await output(process.execPath, [tsc, "-p", "consumer.json"])).toBe("");
});
