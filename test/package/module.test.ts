// A further wasm module beside the kernels: built with their options, stamped, loaded on the memory of an instance,
// refused by name.
import { type Heed, load } from "heed";
import { beforeAll, describe, expect, it, vi } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import { INSTANCE, addModule, addModuleSync } from "../../bindings/engine/module.ts";
import { buildModule } from "../../scripts/module.js";

// What scripts/build.js writes into the bundles.
vi.stubGlobal("HEED_VERSION", manifest.version);

interface Scale {
  scale: (x: number, count: number, factor: number) => void;
}

describe.each(["simd", "relaxed"] as const)("a module of the %s build", (variant) => {
  let bytes: Uint8Array<ArrayBuffer>;
  let heed: Heed;
  beforeAll(async () => {
    bytes = await buildModule("scale", "test/package/module/index.ts", variant);
    heed = await load({ variant: "simd" });
  }, 60_000);

  it("imports the memory and nothing else, and has nothing but code", () => {
    const module = new WebAssembly.Module(bytes);
    expect(WebAssembly.Module.imports(module)).toEqual([{ module: "env", name: "memory", kind: "memory" }]);
    expect(WebAssembly.Module.exports(module)).toEqual([{ name: "scale", kind: "function" }]);
    expect(bytes.length).toBeLessThan(500);
  });

  it.each(["bytes", "a Module", "a promise"])("works on Tensors of the instance, from %s", async (kind) => {
    const module = new WebAssembly.Module(bytes);
    const source = { bytes, "a Module": module, "a promise": Promise.resolve(module) }[kind];
    const { scale } = (await addModule(heed[INSTANCE], "scale", source)) as Scale;
    const x = heed.tensor(8);
    x.data.set([1, 2, 3, 4, 5, 6, 7, 8]);
    scale(x.ptrIn(heed[INSTANCE].arena, "x"), 8, 0.5);
    expect([...x.data]).toEqual([0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]);
    x.dispose();
  });

  it("sees memory that the instance has grown, and leaves it to the instance", () => {
    const before = heed.memory.used;
    const { scale } = addModuleSync(heed[INSTANCE], "scale", bytes) as Scale;
    expect(heed.memory.used).toBe(before);
    const x = heed.tensor(2 ** 20);
    x.data.fill(3);
    scale(x.ptrIn(heed[INSTANCE].arena, "x"), x.length, 2);
    expect(x.data.every((value) => value === 6)).toBe(true);
    x.dispose();
  });

  it("is refused under another name, and where it is no module", async () => {
    const wrong = /^"module" expected a build of heed \S+ norms, got one of version \S+ scale$/;
    await expect(addModule(heed[INSTANCE], "norms", bytes)).rejects.toThrow(wrong);
    expect(() => addModuleSync(heed[INSTANCE], "norms", bytes)).toThrow(RangeError);
    await expect(load({ module: bytes })).rejects.toThrow(
      /^"module" expected a build of heed \S+, got one of version \S+ scale$/,
    );
    await expect(addModule(heed[INSTANCE], "scale", 1)).rejects.toThrow(TypeError);
  });

  it("is refused once the instance is disposed", async () => {
    const other = await load({ variant: "simd" });
    other.dispose();
    expect(() => addModuleSync(other[INSTANCE], "scale", bytes)).toThrow(ReferenceError);
  });
});
