import { checkChoice, checkInteger, checkObject, wrongValue } from "./check.ts";
import { bestVariant } from "./engine/features.ts";
import { type Variant, instantiate } from "./engine/kernels.ts";
import { type ModuleSource, compile, compileSync } from "./engine/source.ts";
import { Heed } from "./heed.ts";
import { PAGE_BYTES } from "./memory/arena.ts";

/** How to load. */
export interface LoadOptions {
  /** Pins the build: "simd" gives the same bits on every machine. Default the fastest that the engine runs. */
  variant?: Variant | undefined;
  /**
   * `heed/simd.wasm` or `heed/relaxed.wasm`, instead of the one that the package brings: a compiled module, its bytes, a Response
   * of any content type, a URL (relative to the page, where there is one), or a promise of these.
   */
  module?: ModuleSource | PromiseLike<ModuleSource> | undefined;
  /**
   * Bytes that the instance's memory may grow to, at least 65536. Default and at most 4 GiB, what wasm32 can address; in Cloudflare
   * Workers and Vercel Edge, where everything shares 128 MB, the default is 64 MiB.
   */
  maxMemory?: number | undefined;
}

/** How to load without a promise. */
export interface LoadSyncOptions extends Omit<LoadOptions, "module"> {
  /** As for `load`, compiled or as bytes. */
  module?: WebAssembly.Module | ArrayBuffer | ArrayBufferView | undefined;
}

/** What differs from host to host. */
export interface Host {
  /** A build, as the host can have it. */
  source(variant: Variant): WebAssembly.Module | Uint8Array<ArrayBuffer>;
  /** The default of `maxMemory`. */
  maxMemory: number;
}

export async function loadFrom(host: Host, options: LoadOptions = {}): Promise<Heed> {
  const { variant, maxMemory } = checkOptions(host, options);
  const source = options.module === undefined ? host.source(variant ?? bestVariant()) : await options.module;
  return start(await compile(source), variant, maxMemory);
}

export function loadSyncFrom(host: Host, options: LoadSyncOptions = {}): Heed {
  const { variant, maxMemory } = checkOptions(host, options);
  const source = options.module === undefined ? host.source(variant ?? bestVariant()) : options.module;
  return start(compileSync(source), variant, maxMemory);
}

function start(module: WebAssembly.Module, variant: Variant | undefined, maxMemory: number): Heed {
  const { kernels, memory } = instantiate(module, maxMemory);
  const heed = new Heed(kernels, memory);
  if (variant && variant !== heed.variant) throw wrongValue("module", `the "${variant}" build`, heed.variant);
  return heed;
}

/** What wasm32 can address. */
export const WASM32_BYTES = 2 ** 32;

function checkOptions(host: Host, options: LoadOptions | LoadSyncOptions) {
  checkObject("options", options);
  const { variant, maxMemory = host.maxMemory } = options;
  if (variant !== undefined) checkChoice("variant", variant, ["simd", "relaxed"]);
  return { variant, maxMemory: checkInteger("maxMemory", maxMemory, PAGE_BYTES, WASM32_BYTES) };
}
