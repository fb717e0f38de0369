import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { build, transformSync } from "esbuild";
import { load, loadSync } from "heed";
import { onnxAttention } from "heed/onnx";
import { describe, expect, it } from "vitest";

const root = new URL("../..", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root));
const node = (...args: string[]) => execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" });

describe.each([
  ["simd", "Kernels", 36_000],
  ["relaxed", "Kernels", 36_000],
  ["linear.simd", "LinearKernels", 6200],
  ["linear.relaxed", "LinearKernels", 6200],
  ["transformer.simd", "TransformerKernels", 4100],
  ["transformer.relaxed", "TransformerKernels", 4100],
] as const)("%s.wasm", (name, exportsOf, most) => {
  const bytes = read(`dist/${name}.wasm`);
  const module = new WebAssembly.Module(bytes);

  it(`has at most ${most / 1000} kB`, () => expect(bytes.length).toBeLessThanOrEqual(most));

  it("imports env.memory and nothing else", () => {
    expect(WebAssembly.Module.imports(module)).toEqual([{ module: "env", name: "memory", kind: "memory" }]);
  });

  it("exports what bindings/engine/abi.ts declares", () => {
    const source = read("bindings/engine/abi.ts").toString();
    const declared = new RegExp(`interface ${exportsOf} \\{(.*?)\n\\}`, "s")
      .exec(source)![1]!
      .matchAll(/^ {2}(\w+)\(/gm);
    const exported = WebAssembly.Module.exports(module).map(({ name, kind }) => [name, kind]);
    expect(new Map(exported as [string, string][])).toEqual(
      new Map(Array.from(declared, ([, name]) => [name!, "function"])),
    );
  });

  it("has no table, global, start, element or data section", () => {
    const names = ["table", "global", "start", "element", "data"];
    const ids = [4, 6, 8, 9, 11];
    const found = sectionIds(bytes).filter((id) => ids.includes(id));
    expect(found.map((id) => names[ids.indexOf(id)])).toEqual([]);
  });
});

/** The ids of a module's sections, in order. */
function sectionIds(bytes: Uint8Array): number[] {
  const ids: number[] = [];
  for (let at = 8; at < bytes.length;) {
    ids.push(bytes[at++]!);
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]!;
      size |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    at += size;
  }
  return ids;
}

it("knows of assembly/ what its sources say: structs, constants and kernels", () => {
  expect(() => node("scripts/abi.js", "--check")).not.toThrow();
});

const namesOf = (name: string) => /^export \{(.*?)\};/ms.exec(read(`dist/${name}.js`).toString())![1]!.trim();

describe("the bundle", () => {
  it("has at most 142.6 kB of minified JavaScript without the wasm", async () => {
    const { outputFiles } = await build({
      entryPoints: [new URL("bindings/index.ts", root).pathname],
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      target: "es2022",
      external: ["*.wasm"],
    });
    expect(outputFiles[0]!.contents.length).toBeLessThanOrEqual(142_600);
  });

  it("leaves out the readers of other libraries' weights and configs where they are not imported", async () => {
    const bundle = async (contents: string) => {
      const stdin = { contents, resolveDir: root.pathname };
      const { outputFiles } = await build({ stdin, bundle: true, minify: true, write: false, format: "esm" });
      return outputFiles[0]!.text;
    };
    const heed = JSON.stringify(new URL("dist/index.js", root).pathname);
    expect(await bundle(`import { load } from ${heed}; load();`)).not.toMatch(
      /in_proj_weight|low_freq_factor|relativePositionBias/,
    );
    expect(await bundle(`import { rotaryFrequencies } from ${heed}; rotaryFrequencies({});`)).toContain(
      "low_freq_factor",
    );
    expect(await bundle(`import { relativePositionBias } from ${heed}; relativePositionBias({});`)).not.toContain(
      "in_proj_weight",
    );
    expect(await bundle(`import { MultiHeadAttention } from ${heed}; MultiHeadAttention.fromTorch({});`)).toContain(
      "in_proj_weight",
    );
  });

  it("leaves heed/onnx out, which leaves heed out and has at most 30.9 kB", () => {
    expect(read("dist/index.js").toString()).not.toContain("qk_matmul_output");
    const source = read("dist/onnx.js").toString();
    expect(source).not.toMatch(/^import |WebAssembly|class (Heed|Arena|Tensor)\b/m);
    const { code } = transformSync(source, { minify: true });
    expect(code.length).toBeLessThanOrEqual(30_900);
  });

  it("leaves heed/shard out, which leaves heed out and has at most 23.9 kB", () => {
    expect(read("dist/index.js").toString()).not.toContain("ShardError");
    const source = read("dist/shard.js").toString();
    expect(source).not.toMatch(/^import |WebAssembly|node:|class (Heed|Arena|Tensor|KvCache)\b/m);
    const { code } = transformSync(source, { minify: true });
    expect(code.length).toBeLessThanOrEqual(23_900);
  });

  it("leaves heed/transformer out, which leaves heed out and has at most 49.2 kB without its wasm", () => {
    for (const name of ["index", "slim", "workerd", "edge-light"]) {
      expect(read(`dist/${name}.js`).toString()).not.toMatch(/layerNorm|topP|transformer/);
    }
    const source = read("dist/transformer.workerd.js").toString();
    expect(source).not.toMatch(/node:|class (Heed|Arena|Tensor|KvCache)\b/);
    const { code } = transformSync(source, { minify: true });
    expect(code.length).toBeLessThanOrEqual(49_200);
  });

  it("heed/slim is heed without the builds", () => {
    const source = read("dist/slim.js").toString();
    expect(source).not.toMatch(/AGFzbQ|^import /m);
    const { code } = transformSync(source, { minify: true });
    expect(code.length).toBeLessThanOrEqual(146_500);
    expect(namesOf("slim")).toBe(namesOf("index"));
  });

  it("does nothing when it is imported", () => {
    const watch = `
      for (const name of ["compile", "validate", "instantiate", "Module", "Instance", "Memory"]) {
        WebAssembly[name] = function () { throw new Error("WebAssembly." + name + " at import"); };
      }
      globalThis.atob = () => { throw new Error("atob at import"); };
      const before = Object.keys(globalThis).length;
      await import("heed");
      await import("heed/transformer");
      console.log(Object.keys(globalThis).length - before);`;
    expect(node("--input-type=module", "-e", watch).trim()).toBe("0");
  });

  it.each(["index", "slim", "workerd", "edge-light"])(
    "%s.js imports no module of one runtime, and makes no code",
    (name) => {
      const source = read(`dist/${name}.js`).toString();
      expect(source).not.toMatch(/\brequire\b|\bimport\s*\(|node:|\beval\s*\(|new Function/);
      // Edge hosts have no threads, so their entries bring none of their code.
      const hasThreads = name === "index" || name === "slim";
      expect(/createObjectURL|worker_threads/.test(source)).toBe(hasThreads);
      const imports = Array.from(source.matchAll(/^import .* from "(.*)";/gm), ([, from]) => from);
      const suffix = name === "workerd" ? "" : "?module";
      const files = ["linear.relaxed", "linear.simd", "relaxed", "simd"].map((file) => `./${file}.wasm${suffix}`);
      expect(imports).toEqual(name === "index" || name === "slim" ? [] : files);
    },
  );

  it("exports the same for every host", () => {
    for (const name of ["workerd", "edge-light"]) {
      expect(namesOf(name)).toBe(namesOf("index"));
      expect(namesOf(`transformer.${name}`)).toBe(namesOf("transformer"));
    }
  });

  it("heed/transformer imports its own wasm files where the host compiles them, and nothing elsewhere", () => {
    for (const [name, suffix] of [
      ["transformer", undefined],
      ["transformer.workerd", ""],
      ["transformer.edge-light", "?module"],
    ] as const) {
      const imports = Array.from(
        read(`dist/${name}.js`)
          .toString()
          .matchAll(/^import .* from "(.*)";/gm),
        ([, from]) => from,
      );
      const files = ["relaxed", "simd"].map((variant) => `./transformer.${variant}.wasm${suffix ?? ""}`);
      expect(imports).toEqual(suffix === undefined ? [] : files);
    }
  });

  it("has source maps that hold their sources", () => {
    for (const name of ["index", "workerd", "edge-light"]) {
      const map = JSON.parse(read(`dist/${name}.js.map`).toString()) as { sources: string[]; sourcesContent: string[] };
      expect(map.sources).toContain("../bindings/attention/attention.ts");
      expect(map.sourcesContent).toHaveLength(map.sources.length);
    }
  });
});

describe("load", () => {
  const run = `const { load } = await import("heed"); console.log((await load()).variant)`;
  const major = Number(process.versions.node.split(".")[0]);

  it("takes the fastest build that the engine runs", () => {
    expect(node("--input-type=module", "-e", run).trim()).toBe(major < 22 ? "simd" : "relaxed");
  });

  it("takes relaxed where a flag brings it", { skip: major >= 22 }, () => {
    const flag = "--experimental-wasm-relaxed-simd";
    expect(node(flag, "--input-type=module", "-e", run).trim()).toBe("relaxed");
  });

  it("pins a build, with a promise and without", async () => {
    expect((await load({ variant: "simd" })).variant).toBe("simd");
    expect(loadSync({ variant: "simd" }).variant).toBe("simd");
  });

  it("takes a compiled module", async () => {
    const module = await WebAssembly.compile(read("dist/simd.wasm"));
    expect(loadSync({ module }).variant).toBe("simd");
    expect((await load({ module })).variant).toBe("simd");
    expect(() => loadSync({ module, variant: "relaxed" })).toThrow(
      new RangeError('"module" expected the "relaxed" build, got "simd"'),
    );
  });

  it("refuses what it does not know", async () => {
    expect(() => loadSync({ variant: "fast" as "simd" })).toThrow(
      new RangeError('"variant" expected "simd" or "relaxed", got "fast"'),
    );
    await expect(load({ variant: 1 as unknown as "simd" })).rejects.toThrow(TypeError);
    expect(() => loadSync({ maxMemory: 1 })).toThrow(RangeError);
  });

  it("says in one Error that an engine has no SIMD", () => {
    const none = `WebAssembly.validate = () => false;
      const { load } = await import("heed");
      await load().catch((e) => console.log(String(e)));`;
    expect(node("--input-type=module", "-e", none).trim()).toBe(
      "Error: heed needs an engine with WebAssembly SIMD, and this one has none",
    );
  });

  it("gives instances that share nothing", async () => {
    const [a, b] = [await load(), await load()];
    const x = a.tensor(8);
    expect(() => b.attention(x, x, x, { numHeads: 1, headDim: 8 })).toThrow(
      new TypeError('"q" expected a Tensor of this instance, got one of another'),
    );
    const before = b.memory;
    a.tensor(100_000);
    expect(b.memory).toEqual(before);
    a.dispose();
    a.dispose();
    expect(() => a.tensor(1)).toThrow(ReferenceError);
    expect(() => a.memory).toThrow(ReferenceError);
    expect(() => x.data).toThrow(ReferenceError);
    x.dispose();
    expect(
      b.attention(new Float32Array(8), new Float32Array(8), new Float32Array(8), { numHeads: 1, headDim: 8 }).out,
    ).toHaveLength(8);
  });
});

describe("heed/onnx", () => {
  it("takes an instance of heed", async () => {
    using heed = await load();
    const one = { data: Float32Array.of(1, 2), shape: [1, 1, 1, 2] };
    expect(onnxAttention(heed, { Q: one, K: one, V: one }).Y).toEqual(one);
  });
});

describe("the sizes that README.md and docs/hosts.md state", () => {
  it("are right to a kilobyte", () => {
    const rowsOf = (text: string) =>
      Array.from(
        text.matchAll(/^\| (.+?) +\| ([\d.]+) kB +\| ([\d.]+) kB +\| ([\d.]+) kB +\|$/gm),
        ([, ...cells]) => cells,
      );
    const pages = ["README.md", "docs/hosts.md"].map((page) => read(page).toString()).join("\n");
    const said = new Map(rowsOf(pages).map(([name, ...sizes]) => [name, sizes.map(Number)]));
    const rows = rowsOf(node("scripts/tables.js", "--print"));
    expect([...said.keys()]).toEqual(rows.map(([name]) => name));
    for (const [name, ...sizes] of rows) {
      sizes.forEach((size, n) => {
        expect(Math.abs(said.get(name)![n]! - Number(size)), `${name!}: ${size} kB`).toBeLessThan(1);
      });
    }
  });
});

it("packs dist, README, LICENSE and CHANGELOG and nothing else", () => {
  const [packed] = JSON.parse(
    execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: root, encoding: "utf8" }),
  ) as [{ files: { path: string }[] }];
  const others = packed.files.map(({ path }) => path).filter((path) => !path.startsWith("dist/"));
  expect(others.sort()).toEqual(["CHANGELOG.md", "LICENSE", "README.md", "package.json"]);
});
