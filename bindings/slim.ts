// heed without the two builds inside the JavaScript, for those who bring `module`.
import { wrongKind } from "./check.ts";
import type { Heed } from "./heed.ts";
import { type Host, type LoadOptions, type LoadSyncOptions, WASM32_BYTES, loadFrom, loadSyncFrom } from "./load.ts";

export * from "./api.ts";

/** How to load, where the build is the caller's. */
export interface SlimLoadOptions extends Omit<LoadOptions, "module"> {
  /**
   * `heed/simd.wasm` or `heed/relaxed.wasm`: a compiled module, its bytes, a Response, a URL, or a promise of these.
   */
  module: NonNullable<LoadOptions["module"]>;
}

/** How to load without a promise, where the build is the caller's. */
export interface SlimLoadSyncOptions extends Omit<LoadSyncOptions, "module"> {
  /** `heed/simd.wasm` or `heed/relaxed.wasm`, compiled or as bytes. */
  module: NonNullable<LoadSyncOptions["module"]>;
}

const host: Host = {
  source: () => {
    throw wrongKind(
      "module",
      'the build "heed/simd.wasm" or "heed/relaxed.wasm", since heed/slim brings none',
      undefined,
    );
  },
  maxMemory: WASM32_BYTES,
};

/**
 * A new instance of the build that `module` brings, with a memory of its own; else as `load` of heed.
 *
 * @throws TypeError without `module`, and as `load` of heed
 */
export function load(options: SlimLoadOptions): Promise<Heed> {
  return loadFrom(host, options);
}

/** {@link load} without a promise: `module` is compiled, or compiles while the caller waits. */
export function loadSync(options: SlimLoadSyncOptions): Heed {
  return loadSyncFrom(host, options);
}
