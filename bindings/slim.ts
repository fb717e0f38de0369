/**
 * heed without the two builds inside the JavaScript, for those who bring `module`. All else is as in heed.
 *
 * @module heed/slim
 */
import { wrongKind } from "./check.ts";
import type { Heed } from "./heed.ts";
import { MAX_MEMORY } from "./limits.ts";
import { type Host, type LoadOptions, type LoadSyncOptions, loadFrom, loadSyncFrom } from "./load.ts";
import { startThreads } from "./start-threads.ts";

export * from "./api.ts";

/** How to load, where the build is the caller's. @category Loading */
export interface SlimLoadOptions extends Omit<LoadOptions, "module" | "linear"> {
  /**
   * `heed/simd.wasm` or `heed/relaxed.wasm`: a compiled module, its bytes, a Response, a URL, or a promise of these.
   */
  module: NonNullable<LoadOptions["module"]>;
  /**
   * `heed/linear.simd.wasm` or `heed/linear.relaxed.wasm`, the same build as `module`, in the same forms: for weights in
   * int8 and int4, activations and residuals of `linear`. Without it these throw an Error that names the file.
   */
  linear?: LoadOptions["linear"];
}

/** How to load without a promise, where the build is the caller's. @category Loading */
export interface SlimLoadSyncOptions extends Omit<LoadSyncOptions, "module" | "linear"> {
  /** `heed/simd.wasm` or `heed/relaxed.wasm`, compiled or as bytes. */
  module: NonNullable<LoadSyncOptions["module"]>;
  /** `heed/linear.simd.wasm` or `heed/linear.relaxed.wasm`, as {@link SlimLoadOptions} says; compiled or as bytes. */
  linear?: LoadSyncOptions["linear"];
}

const host: Host = {
  source: () => {
    throw wrongKind(
      "module",
      'the build "heed/simd.wasm" or "heed/relaxed.wasm", since heed/slim brings none',
      undefined,
    );
  },
  maxMemory: MAX_MEMORY,
  startThreads,
};

/**
 * A new instance of the build that `module` brings, with a memory of its own; else as `load` of heed.
 *
 * @throws TypeError without `module`, and as `load` of heed
 * @example
 * import { load } from "heed/slim";
 *
 * const heed = await load({ module: import.meta.resolve("heed/simd.wasm") }); // in a page: fetch("/simd.wasm")
 * console.log(heed.variant); // → simd
 * @category Loading
 */
export function load(options: SlimLoadOptions): Promise<Heed> {
  return loadFrom(host, options);
}

/**
 * {@link load} without a promise: `module` is compiled, or compiles while the caller waits.
 *
 * @example
 * import { readFileSync } from "node:fs";
 * import { loadSync } from "heed/slim";
 *
 * const file = new URL(import.meta.resolve("heed/simd.wasm"));
 * const heed = loadSync({ module: readFileSync(file) }); // in a Worker: import module from "heed/simd.wasm"
 * console.log(heed.variant); // → simd
 * @category Loading
 */
export function loadSync(options: SlimLoadSyncOptions): Heed {
  return loadSyncFrom(host, options);
}
