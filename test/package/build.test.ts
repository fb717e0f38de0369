// scripts/compile.js: a target is compiled when anything that its bytes depend on has changed, and only then.
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { compile, isCurrent } from "../../scripts/compile.js";

const original = mkdtempSync(join(tmpdir(), "heed-build-"));
const root = mkdtempSync(join(tmpdir(), "heed-build-"));
const at = (name: string): string => join(root, name);
const edit = (name: string, from: string, to: string): void => {
  const before = readFileSync(at(name), "utf8");
  expect(before).toContain(from);
  writeFileSync(at(name), before.replace(from, to));
};

function answer(file = "small"): number {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(at(`build/${file}.wasm`))));
  return (exports["answer"] as () => number)();
}

/** A project as small as can be, compiled once. */
beforeAll(async () => {
  for (const folder of ["parts", "modules/further"]) mkdirSync(join(original, "assembly", folder), { recursive: true });
  writeFileSync(join(original, "package.json"), JSON.stringify({ version: "1.0.0" }));
  writeFileSync(join(original, "assembly/index.ts"), 'export { answer } from "./parts/answer";\n');
  const further = 'import { answer as first } from "../../parts/answer";\n';
  writeFileSync(
    join(original, "assembly/modules/further/index.ts"),
    `${further}export function answer(): i32 {\n  return first() + 100;\n}\n`,
  );
  writeFileSync(join(original, "assembly/parts/answer.ts"), "export function answer(): i32 {\n  return 41;\n}\n");
  const target = (name: string) => ({ outFile: `./build/${name}.wasm`, textFile: `./build/${name}.wat` });
  const targets = { small: target("small"), other: target("other") };
  const options = { runtime: "stub", optimizeLevel: 0 };
  writeFileSync(
    join(original, "asconfig.json"),
    JSON.stringify({ entries: ["./assembly/index.ts"], options, targets }, undefined, 2),
  );
  expect(isCurrent(original, "small")).toBe(false);
  expect(await compile(original, "small")).toEqual({ succeeded: true, said: "" });
}, 60_000);
beforeEach(() => {
  rmSync(root, { recursive: true });
  cpSync(original, root, { recursive: true });
});
afterAll(() => {
  for (const folder of [original, root]) rmSync(folder, { recursive: true });
});

describe("a target", () => {
  it("is current once it was compiled, and no other target is", () => {
    expect(answer()).toBe(41);
    expect(isCurrent(root, "small")).toBe(true);
    expect(isCurrent(root, "other")).toBe(false);
  });

  it.each<[string, () => void]>([
    ["a source is edited", () => edit("assembly/parts/answer.ts", "41", "42")],
    ["a source is edited by a blank", () => appendFileSync(at("assembly/index.ts"), " ")],
    ["a source is added", () => writeFileSync(at("assembly/parts/new.ts"), "")],
    ["a source is removed", () => rmSync(at("assembly/parts/answer.ts"))],
    ["a source is renamed", () => renameSync(at("assembly/parts/answer.ts"), at("assembly/parts/reply.ts"))],
    ["an option of the compiler changes", () => edit("asconfig.json", '"optimizeLevel": 0', '"optimizeLevel": 3')],
    ["the version changes", () => edit("package.json", "1.0.0", "1.0.1")],
    ["the wasm file is missing", () => rmSync(at("build/small.wasm"))],
    ["the wasm file is cut short", () => writeFileSync(at("build/small.wasm"), "")],
    ["the text file was edited", () => appendFileSync(at("build/small.wat"), ";;")],
    ["nothing says what it was made from", () => rmSync(at("build/small.made.json"))],
  ])("is stale where %s", (_, change) => {
    change();
    expect(isCurrent(root, "small")).toBe(false);
  });

  it("depends on what sources hold, not on when they were saved", () => {
    const name = "assembly/parts/answer.ts";
    writeFileSync(at(name), readFileSync(at(name)));
    expect(isCurrent(root, "small")).toBe(true);
    edit(name, "41", "42");
    edit(name, "42", "41");
    expect(isCurrent(root, "small")).toBe(true);
  });

  it("is compiled anew from what was edited", async () => {
    edit("assembly/parts/answer.ts", "41", "42");
    expect(await compile(root, "small")).toEqual({ succeeded: true, said: "" });
    expect(answer()).toBe(42);
    expect(isCurrent(root, "small")).toBe(true);
  });

  it("stays stale where it could not be compiled, even once the mistake is undone", async () => {
    edit("assembly/parts/answer.ts", "41", "mistake");
    const { succeeded, said } = await compile(root, "small");
    expect(succeeded).toBe(false);
    expect(said).toMatch(/Cannot find name 'mistake'/);
    edit("assembly/parts/answer.ts", "mistake", "41");
    expect(isCurrent(root, "small")).toBe(false);
  });

  it("stays stale where a source was saved while it was compiled", async () => {
    const compiling = compile(root, "small");
    edit("assembly/parts/answer.ts", "41", "42");
    expect((await compiling).succeeded).toBe(true);
    expect(isCurrent(root, "small")).toBe(false);
  });

  it("has a further module, which is current or stale by itself", async () => {
    expect(isCurrent(root, "small", "further")).toBe(false);
    expect(await compile(root, "small", "further")).toEqual({ succeeded: true, said: "" });
    expect([answer("further.small"), answer()]).toEqual([141, 41]);
    expect(isCurrent(root, "small", "further")).toBe(true);
    rmSync(at("build/further.small.wasm"));
    expect([isCurrent(root, "small", "further"), isCurrent(root, "small")]).toEqual([false, true]);
    edit("assembly/parts/answer.ts", "41", "42");
    expect((await compile(root, "small", "further")).succeeded).toBe(true);
    expect(answer("further.small")).toBe(142);
    expect(isCurrent(root, "small")).toBe(false);
  });

  it("that nobody configured is refused by name", () => {
    expect(() => isCurrent(root, "none", "further")).toThrow('asconfig.json has no target "none"');
    expect(() => isCurrent(root, "none")).toThrow('asconfig.json has no target "none"');
  });
});
