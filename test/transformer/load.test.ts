// heed/transformer as it is published: where its module comes from, what is refused, threads, and what stays out of heed.
import { readFileSync } from "node:fs";
import { load, loadSync } from "heed";
import * as slim from "heed/slim";
import { loadBlocks, loadBlocksSync } from "heed/transformer";
import { describe, expect, it, vi } from "vitest";

const read = (name: string) => readFileSync(new URL(`../../dist/${name}.wasm`, import.meta.url));
const [core, bytes, relaxed] = [read("simd"), read("transformer.simd"), read("transformer.relaxed")];
const hasRelaxed = WebAssembly.validate(relaxed);
const x = Float32Array.of(-1, 2);
const expected = Float32Array.of(0, 2);
type Heed = Awaited<ReturnType<typeof load>>;

describe("loadBlocks", () => {
  it("compiles nothing before it is called, and once then", () => {
    const heed = loadSync({ variant: "simd" });
    const compiled = vi.spyOn(WebAssembly, "Module");
    try {
      const blocks = loadBlocksSync(heed);
      expect(compiled).toHaveBeenCalledTimes(1);
      expect(blocks.activate(x, { activation: "relu" }).out).toEqual(expected);
      expect(compiled).toHaveBeenCalledTimes(1);
    } finally {
      compiled.mockRestore();
      heed.dispose();
    }
  });

  it.each(["simd", "relaxed"] as const)("takes the %s build of the instance, and its Tensors", async (variant) => {
    if (variant === "relaxed" && !hasRelaxed) return;
    for (const heed of [await load({ variant }), await slim.load({ module: read(variant) })]) {
      const { used } = heed.memory;
      for (const blocks of [await loadBlocks(heed), loadBlocksSync(heed)]) {
        using tensor = heed.tensor(2);
        tensor.data.set(x);
        blocks.activate(tensor, { activation: "relu", out: tensor });
        expect(tensor.data).toEqual(expected);
      }
      expect(heed.memory.used).toBe(used);
      heed.dispose();
    }
  });

  it("takes a module, its bytes, a Response or a promise", async () => {
    using heed = await slim.load({ module: core });
    const module = new WebAssembly.Module(bytes);
    for (const given of [bytes, module, new Response(bytes), Promise.resolve(module)]) {
      const blocks = await loadBlocks(heed, { module: given });
      expect(blocks.activate(x, { activation: "relu" }).out).toEqual(expected);
    }
    for (const given of [bytes, module, bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)]) {
      const blocks = loadBlocksSync(heed, { module: given as ArrayBuffer });
      expect(blocks.activate(x, { activation: "relu" }).out).toEqual(expected);
    }
  });

  it("works on the shared memory of an instance with threads, with the same bits", async () => {
    using heed = await load({ variant: "simd", threads: 2 });
    using alone = await load({ variant: "simd" });
    expect(heed.threadsReason).toBeUndefined();
    const logits = Float32Array.from({ length: 999 }, (_, n) => Math.sin(n));
    const expected = loadBlocksSync(alone).softmax(logits, { dim: 333 }).out;
    for (const blocks of [await loadBlocks(heed), loadBlocksSync(heed), await loadBlocks(heed, { module: bytes })]) {
      expect(blocks.softmax(logits, { dim: 333 }).out).toEqual(expected);
    }
    const module = new WebAssembly.Module(bytes);
    const refusal = /^"module" expected the bytes of a build, since the instance has threads, got a value of type WebA/;
    await expect(loadBlocks(heed, { module })).rejects.toThrow(refusal);
    expect(() => loadBlocksSync(heed, { module })).toThrow(refusal);
  });

  it("refuses what is no instance, another file or build, and options that it does not know", async () => {
    using heed = await load({ variant: "simd" });
    for (const none of [undefined, null, {}, 1, new Proxy({}, {})]) {
      expect(() => loadBlocksSync(none as Heed)).toThrow(/^"heed" expected an instance of heed, got /);
      await expect(loadBlocks(none as Heed)).rejects.toThrow(TypeError);
    }
    const stamped = /^"module" expected a build of heed \S+ transformer, got one of version \S+( linear)?$/;
    for (const module of [core, read("linear.simd")]) {
      await expect(loadBlocks(heed, { module })).rejects.toThrow(stamped);
      expect(() => loadBlocksSync(heed, { module })).toThrow(RangeError);
    }
    await expect(loadBlocks(heed, { module: Uint8Array.of(1) })).rejects.toThrow(
      '"module" expected the bytes of heed/transformer.simd.wasm or heed/transformer.relaxed.wasm, got 1 bytes',
    );
    if (hasRelaxed) {
      await expect(loadBlocks(heed, { module: relaxed })).rejects.toThrow(
        new RangeError('"module" expected the "simd" build, got "relaxed"'),
      );
    }
    await expect(loadBlocks(heed, { modul: bytes } as object)).rejects.toThrow('"modul" is no option of loadBlocks');
    heed.dispose();
    expect(() => loadBlocksSync(heed)).toThrow(ReferenceError);
  });

  it("says which file to import where the host compiles no bytes", async () => {
    using heed = await load({ variant: "simd" });
    const refuse = vi.spyOn(WebAssembly, "compile").mockRejectedValue(new Error("disallowed by embedder"));
    await expect(loadBlocks(heed)).rejects.toThrow(
      /import "heed\/transformer.simd.wasm" as a module and pass it as "module"/,
    );
    refuse.mockRestore();
  });
});
