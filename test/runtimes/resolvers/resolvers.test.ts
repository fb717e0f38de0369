// The packed package to tools that are older than `exports` and ES2022: what they find, and what they make of it.
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { transformSync } from "esbuild";
import resolve from "resolve";
import { describe, expect, it } from "vitest";
import { pathIn, project } from "../project.ts";

describe("a resolver that does not read exports, as of browserify, webpack 4 and eslint-plugin-import", () => {
  const find = (name: string) => resolve.sync(name, { basedir: project }).slice(project.length + 1);

  it("finds heed", () => expect(find("heed")).toBe("node_modules/heed/dist/index.js"));

  it.each(["onnx.js", "shard.js", "slim.js", "transformer.js", "simd.wasm", "relaxed.wasm", "linear.simd.wasm"])(
    "finds heed/dist/%s, for an alias to lead to",
    (file) => expect(find(`heed/dist/${file}`)).toBe(`node_modules/heed/dist/${file}`),
  );

  it.each(["heed/onnx", "heed/shard", "heed/slim", "heed/transformer", "heed/simd.wasm"])(
    "does not find %s without one",
    (name) => expect(() => find(name)).toThrow(/Cannot find module/),
  );
});

it("runs once it is compiled to ES2019, the last version that webpack 4 reads", async () => {
  const source = readFileSync(pathIn("node_modules/heed/dist/index.js"), "utf8");
  const { code } = transformSync(source, { target: "es2019", format: "esm" });
  expect(code).not.toMatch(/\?\.[a-z[(]|\?\?|\bstatic \{|\bthis\.#/);
  writeFileSync(pathIn("es2019.js"), code);
  const { load } = (await import(pathToFileURL(pathIn("es2019.js")).href)) as typeof import("heed");
  const heed = await load();
  const one = Float32Array.of(3, 4);
  expect([...heed.attention(one, one, one, { numHeads: 1, headDim: 2 }).out]).toEqual([3, 4]);
  heed.dispose();
});
