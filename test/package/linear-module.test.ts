// The wasm file of weights in integers and of the epilogue of `linear`: compiled when it is first needed, handed to
// `load`, refused where it is another one, and there in workers.
import { readFileSync } from "node:fs";
import { type Heed, load, loadSync } from "heed";
import * as slim from "heed/slim";
import { describe, expect, it, vi } from "vitest";

const read = (name: string) => readFileSync(new URL(`../../dist/${name}.wasm`, import.meta.url));
const [core, linear, relaxed] = [read("simd"), read("linear.simd"), read("linear.relaxed")];
const hasRelaxed = WebAssembly.validate(relaxed);
const x = Float32Array.of(1, -2, 3);
const weight = Float32Array.of(127, 0, 0, 0, 127, 0);

/** What needs the module. */
const calls: Record<string, (heed: Heed) => unknown> = {
  int8: (heed) => {
    using packed = heed.packLinear(weight, undefined, { inFeatures: 3, dtype: "int8" });
    return [...heed.linear(x, packed).out].map(Math.round);
  },
  "blocks of GGUF": (heed) => {
    using packed = heed.packLinear({ data: new Uint8Array(18), dtype: "q4_0", shape: [1, 32] });
    return packed.dtype;
  },
  "a layer in q4": (heed) => {
    const square = { weight: new Float32Array(16).fill(1) };
    const weights = { q: square, k: square, v: square, out: square };
    using layer = heed.createMultiHeadAttention({ embedDim: 4, numHeads: 1, weights, weightDtype: "q4" });
    return layer.forward(new Float32Array(4)).out.length;
  },
  "an activation": (heed) => [...heed.linear(x, weight, undefined, { inFeatures: 3, activation: "relu" }).out],
  "a residual": (heed) => [
    ...heed.linear(x, weight, undefined, { inFeatures: 3, residual: Float32Array.of(1, 1) }).out,
  ],
};
const results: Record<string, unknown> = {
  int8: [127, -254],
  "blocks of GGUF": "q4",
  "a layer in q4": 4,
  "an activation": [127, 0],
  "a residual": [128, -253],
};

describe.each(Object.keys(calls))("%s", (name) => {
  const call = calls[name]!;

  it.each(["load", "loadSync"])("compiles the module once, and nothing before, after %s", async (how) => {
    const heed = how === "load" ? await load() : loadSync();
    const compiled = vi.spyOn(WebAssembly, "Module");
    try {
      heed.linear(x, heed.packLinear(weight, Float32Array.of(0, 0)));
      expect(compiled).toHaveBeenCalledTimes(0);
      expect(call(heed)).toEqual(results[name]);
      expect(call(heed)).toEqual(results[name]);
      expect(compiled).toHaveBeenCalledTimes(1);
    } finally {
      compiled.mockRestore();
      heed.dispose();
    }
  });

  it("is an Error in heed/slim without the file, and leaves the instance as it was", async () => {
    const error = /load\(\{ linear \}\) with heed\/linear\.simd\.wasm$/;
    for (const heed of [await slim.load({ module: core }), slim.loadSync({ module: core })]) {
      const { used } = heed.memory;
      expect(() => call(heed)).toThrow(error);
      expect(heed.memory.used).toBe(used);
      expect([...heed.linear(x, weight, undefined, { inFeatures: 3 }).out]).toEqual([127, -254]);
      heed.dispose();
    }
  });

  it("works in heed/slim with the file, whatever form it has", async () => {
    const module = new WebAssembly.Module(linear);
    for (const given of [linear, module, new Response(linear), Promise.resolve(module)]) {
      using heed = await slim.load({ module: core, linear: given });
      expect(call(heed)).toEqual(results[name]);
    }
    for (const given of [linear, module]) {
      using heed = slim.loadSync({ module: core, linear: given });
      expect(call(heed)).toEqual(results[name]);
    }
  });

  it("works with threads", async () => {
    using own = await load({ variant: "simd", threads: 2 });
    using handed = await slim.load({ module: core, linear, threads: 2 });
    for (const heed of [own, handed]) {
      expect(heed.threadsReason).toBeUndefined();
      expect(call(heed)).toEqual(results[name]);
    }
    using without = await slim.load({ module: core, threads: 2 });
    expect(() => call(without)).toThrow(/load\(\{ linear \}\)/);
  });
});

describe("load({ linear })", () => {
  it("refuses another module, another build, and what is none", async () => {
    const stamped = /^"linear" expected a build of heed \S+ linear, got one of version \S+$/;
    await expect(slim.load({ module: core, linear: core })).rejects.toThrow(stamped);
    expect(() => slim.loadSync({ module: core, linear: core })).toThrow(stamped);
    await expect(slim.load({ module: core, linear: core, threads: 2 })).rejects.toThrow(stamped);
    const bytes = '"linear" expected the bytes of heed/linear.simd.wasm or heed/linear.relaxed.wasm';
    await expect(load({ linear: Uint8Array.of(1) })).rejects.toThrow(bytes);
    await expect(load({ linear: 7 as unknown as string })).rejects.toThrow(/^"linear" expected a WebAssembly.Module/);
    expect(() => loadSync({ linear: "x" as unknown as ArrayBuffer })).toThrow(TypeError);
  });

  it("refuses the other build", { skip: !hasRelaxed }, async () => {
    const other = new RangeError('"linear" expected the "simd" build, got "relaxed"');
    await expect(load({ variant: "simd", linear: relaxed })).rejects.toEqual(other);
    expect(() => loadSync({ variant: "simd", linear: relaxed })).toThrow(other);
    await expect(load({ variant: "simd", linear: relaxed, threads: 2 })).rejects.toEqual(other);
  });

  it("has one thread where the file comes compiled", async () => {
    using heed = await slim.load({ module: core, linear: new WebAssembly.Module(linear), threads: 2 });
    expect(heed.threadsReason).toBe("the build came compiled");
    expect(calls.int8!(heed)).toEqual(results.int8);
  });
});
