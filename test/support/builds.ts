import { readFileSync } from "node:fs";
import { instantiateSync } from "@assemblyscript/loader";
import { describe } from "vitest";
import type { Kernels, LinearKernels, TransformerKernels } from "../../bindings/engine/abi.ts";
import { instantiate } from "../../bindings/engine/kernels.ts";
import { INSTANCE, prepareModule, useLinear } from "../../bindings/engine/module.ts";
import { Heed } from "../../bindings/heed.ts";
import { PAGE_BYTES } from "../../bindings/memory/arena.ts";
import { Blocks } from "../../bindings/transformer/blocks.ts";

export type Build = "debug" | "simd" | "relaxed";

/** Makes an instance whose memory may grow to `maxMemory` bytes. */
export type Open = (maxMemory?: number) => Heed;

/** A compiled build. */
export const bytesOf = (name: Build) => readFileSync(new URL(`../../build/${name}.wasm`, import.meta.url));

/** All modules of a build: the core, that of `linear`, and that of transformer blocks. */
export const modulesOf = (name: Build) =>
  ["", "linear.", "transformer."].map((module) =>
    readFileSync(new URL(`../../build/${module}${name}.wasm`, import.meta.url)),
  );

const blocks = new WeakMap<Heed, Blocks>();

/** An instance of what {@link modulesOf} a build export. */
export function heedOf(exports: readonly object[], memory: WebAssembly.Memory): Heed {
  const [kernels, linear, transformer] = exports;
  const heed = new Heed(kernels as Kernels, memory);
  const instance = heed[INSTANCE];
  useLinear(instance, linear as LinearKernels);
  blocks.set(heed, new Blocks(instance, prepareModule(instance, "module", transformer as TransformerKernels)));
  return heed;
}

/** The functions of transformer blocks of an instance that was made here. */
export const blocksOf = (heed: Heed): Blocks => blocks.get(heed)!;

/** Describes the same tests for every build; an engine without relaxed SIMD shows that one as skipped. */
export function forEachBuild(body: (name: Build, open: Open) => void): void {
  for (const name of ["debug", "simd", "relaxed"] as const) {
    const bytes = bytesOf(name);
    describe.skipIf(!WebAssembly.validate(bytes))(name, () => body(name, opener(name)));
  }
}

/** The simd build alone, for what does not depend on how the kernels were compiled. */
export function openSimd(): Open {
  return opener("simd");
}

function opener(name: Build): Open {
  let modules: WebAssembly.Module[] | undefined;
  return (maxMemory = 2 ** 30) => {
    const [core, ...further] = (modules ??= modulesOf(name).map((one) => new WebAssembly.Module(one)));
    if (name !== "debug") {
      const { kernels, memory } = instantiate(core!, maxMemory);
      const others = further.map((module) => new WebAssembly.Instance(module, { env: { memory } }).exports);
      return heedOf([kernels, ...others], memory);
    }
    // The loader brings env.abort, which turns a failed assert into an Error that says where.
    const memory = new WebAssembly.Memory({ initial: 1, maximum: Math.floor(maxMemory / PAGE_BYTES) });
    return heedOf(
      modules.map((module) => instantiateSync(module, { env: { memory } }).exports),
      memory,
    );
  };
}
