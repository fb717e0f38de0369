/**
 * Exact attention in WebAssembly. {@link load} gives an instance, {@link Heed}; everything else starts from its methods.
 * The example of a method goes on from that of its class.
 *
 * This file is what Node, browsers, Deno, Bun and every bundler get: both builds travel inside the JavaScript, decoded
 * when one is loaded, and those of the module of `linear` beside them.
 *
 * @module heed
 */
import linearRelaxed from "../dist/linear.relaxed.wasm";
import linearSimd from "../dist/linear.simd.wasm";
import relaxed from "../dist/relaxed.wasm";
import simd from "../dist/simd.wasm";
import { fromBase64 } from "./engine/base64.ts";
import type { Heed } from "./heed.ts";
import { MAX_MEMORY } from "./limits.ts";
import { type Host, type LoadOptions, type LoadSyncOptions, loadFrom, loadSyncFrom } from "./load.ts";
import { startThreads } from "./start-threads.ts";

export * from "./api.ts";

const host: Host = {
  source: (variant) => fromBase64(variant === "relaxed" ? relaxed : simd),
  linear: (variant) => fromBase64(variant === "relaxed" ? linearRelaxed : linearSimd),
  maxMemory: MAX_MEMORY,
  startThreads,
};

/**
 * A new instance, with a memory of its own.
 *
 * @throws Error where the engine has no WebAssembly SIMD or compiles nothing, or where `module` cannot be fetched;
 * TypeError or RangeError for wrong options
 * @example
 * import { load } from "heed";
 *
 * const heed = await load(); // the fastest build that the engine runs
 * const x = new Float32Array(128 * 12 * 64); // [seqLen, numHeads, headDim]
 * const { out } = heed.attention(x, x, x, { numHeads: 12, headDim: 64, causal: true });
 * console.log(out.length); // → 98304
 * @category Loading
 */
export function load(options?: LoadOptions): Promise<Heed> {
  return loadFrom(host, options);
}

/**
 * {@link load} without a promise: the few kilobytes compile while the caller waits, or come compiled as `module`.
 *
 * @example
 * import { loadSync } from "heed";
 *
 * const heed = loadSync({ variant: "simd" }); // the same bits on every machine
 * console.log(heed.variant); // → simd
 * @category Loading
 */
export function loadSync(options?: LoadSyncOptions): Heed {
  return loadSyncFrom(host, options);
}
