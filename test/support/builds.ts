import { readFileSync } from "node:fs";
import { instantiateSync } from "@assemblyscript/loader";
import { describe } from "vitest";
import type { Kernels, LinearKernels } from "../../bindings/engine/abi.ts";
import { instantiate } from "../../bindings/engine/kernels.ts";
import { INSTANCE, useLinear } from "../../bindings/engine/module.ts";
import { Heed } from "../../bindings/heed.ts";
import { PAGE_BYTES } from "../../bindings/memory/arena.ts";

export type Build = "debug" | "simd" | "relaxed";

/** Makes an instance whose memory may grow to `maxMemory` bytes. */
export type Open = (maxMemory?: number) => Heed;

/** A compiled build. */
export const bytesOf = (name: Build) => readFileSync(new URL(`../../build/${name}.wasm`, import.meta.url));

/** The module of `linear` of the same build. */
export const linearBytesOf = (name: Build) => readFileSync(new URL(`../../build/linear.${name}.wasm`, import.meta.url));

/** An instance of exports, those of the module of `linear` among them. */
export function heedOf(exports: object, linear: object, memory: WebAssembly.Memory): Heed {
  const heed = new Heed(exports as Kernels, memory);
  useLinear(heed[INSTANCE], linear as LinearKernels);
  return heed;
}

/** Describes the same tests for every build; an engine without relaxed SIMD shows that one as skipped. */
export function forEachBuild(body: (name: Build, open: Open) => void): void {
  for (const name of ["debug", "simd", "relaxed"] as const) {
    const bytes = bytesOf(name);
    describe.skipIf(!WebAssembly.validate(bytes))(name, () => body(name, opener(name, bytes)));
  }
}

/** The simd build alone, for what does not depend on how the kernels were compiled. */
export function openSimd(): Open {
  return opener("simd", bytesOf("simd"));
}

function opener(name: Build, bytes: Uint8Array<ArrayBuffer>): Open {
  let module: WebAssembly.Module | undefined;
  let linear: WebAssembly.Module | undefined;
  return (maxMemory = 2 ** 30) => {
    module ??= new WebAssembly.Module(bytes);
    linear ??= new WebAssembly.Module(linearBytesOf(name));
    if (name !== "debug") {
      const { kernels, memory } = instantiate(module, maxMemory);
      return heedOf(kernels, new WebAssembly.Instance(linear, { env: { memory } }).exports, memory);
    }
    // The loader brings env.abort, which turns a failed assert into an Error that says where.
    const memory = new WebAssembly.Memory({ initial: 1, maximum: Math.floor(maxMemory / PAGE_BYTES) });
    const [kernels, fused] = [module, linear].map((one) => instantiateSync(one, { env: { memory } }).exports);
    return heedOf(kernels!, fused!, memory);
  };
}
