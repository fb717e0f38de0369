// The maps of the code: docs/architecture.md, docs/decisions/ and CONTRIBUTING.md name files that are there.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";

const root = new URL("../..", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");
const pages = [
  "CONTRIBUTING.md",
  "docs/architecture.md",
  ...readdirSync(new URL("docs/decisions", root)).map((name) => `docs/decisions/${name}`),
];

describe.each(pages)("%s", (page) => {
  // A name in capitals stands for any.
  it("names files and folders that are there", () => {
    const named = Array.from(
      read(page).matchAll(/`((?:assembly|bindings|scripts|test|tools)\/[\w./-]*)`/g),
      ([, path]) => path!,
    );
    const absent = named.filter((path) => !/\/[A-Z]+\//.test(path) && !existsSync(new URL(path, root)));
    expect(absent).toEqual([]);
  });
});

it("draws a call through files that are there", () => {
  const [drawing = ""] = /heed\.attention\(q, k, v, options\).*?```/s.exec(read("docs/architecture.md")) ?? [];
  const files = Array.from(drawing.matchAll(/([\w-]+\/)?[\w-]+\.ts\b/g), ([path]) => path);
  expect(files.length).toBeGreaterThan(10);
  const folders = ["", "assembly/", "bindings/", "bindings/attention/"];
  expect(files.filter((path) => !folders.some((folder) => existsSync(new URL(folder + path, root))))).toEqual([]);
});

it("names functions and classes that are there", () => {
  const sources = ["assembly", "bindings"].flatMap((half) =>
    readdirSync(new URL(half, root), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => read(`${half}/${name}`)),
  );
  const known = new Set(sources.join("\n").match(/\w+/g));
  const text = read("docs/architecture.md");
  const [drawing = ""] = /heed\.attention\(q, k, v, options\).*?```/s.exec(text) ?? [];
  const quoted = Array.from(text.matchAll(/`(\w+)(?:\.\w+)*`/g), ([, name]) => name!);
  const names = [...quoted, ...(drawing.match(/\w+/g) ?? [])].filter((name) => /[a-z][A-Z]/.test(name));
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((name) => !known.has(name))).toEqual([]);
});

it("draws the folders of bindings/ and assembly/ as they are", () => {
  const [, drawing = ""] = /```text\nbindings\/ +assembly\/\n(.*?)```/s.exec(read("docs/architecture.md")) ?? [];
  for (const half of ["bindings", "assembly"]) {
    for (const entry of readdirSync(new URL(half, root), { withFileTypes: true })) {
      if (entry.name === "tsconfig.json" || entry.name.endsWith(".d.ts")) continue;
      expect(drawing, half).toContain(entry.isDirectory() ? `${entry.name}/` : entry.name);
    }
  }
});

it("lists every decision", () => {
  const index = read("docs/decisions/index.md");
  const records = readdirSync(new URL("docs/decisions", root)).filter((name) => name !== "index.md");
  expect(records.filter((name) => !index.includes(`](${name})`))).toEqual([]);
});

it.each(["assembly", "bench", "bindings", "examples", "scripts", "test", "tools"])(
  "has no file of more than 300 lines without its comments in %s",
  (folder) => {
    const names = readdirSync(new URL(folder, root), { encoding: "utf8", recursive: true });
    const sources = names.filter((name) => /\.(ts|js)$/.test(name) && !/node_modules|build\/|heed\.js$/.test(name));
    const lines = (name: string) =>
      read(`${folder}/${name}`)
        .split("\n")
        .filter((line) => !/^\s*(\/?\*|\/\/|$)/.test(line)).length;
    expect(sources.length).toBeGreaterThan(3);
    expect(sources.filter((name) => lines(name) > 300)).toEqual([]);
  },
);
