// Node, browsers, Deno, Bun and every bundler: both builds travel inside the JavaScript, decoded when one is loaded.
import relaxed from "../dist/relaxed.wasm";
import simd from "../dist/simd.wasm";
import type { Heed } from "./heed.ts";
import { type Host, type LoadOptions, type LoadSyncOptions, WASM32_BYTES, loadFrom, loadSyncFrom } from "./load.ts";

export * from "./api.ts";

const host: Host = {
  source: (variant) => Uint8Array.from(atob(variant === "relaxed" ? relaxed : simd), (char) => char.charCodeAt(0)),
  maxMemory: WASM32_BYTES,
};

/**
 * A new instance, with a memory of its own.
 *
 * @throws Error where the engine has no WebAssembly SIMD or compiles nothing, or where `module` cannot be fetched;
 * TypeError or RangeError for wrong options
 */
export function load(options?: LoadOptions): Promise<Heed> {
  return loadFrom(host, options);
}

/** {@link load} without a promise: the few kilobytes compile while the caller waits, or come compiled as `module`. */
export function loadSync(options?: LoadSyncOptions): Heed {
  return loadSyncFrom(host, options);
}
