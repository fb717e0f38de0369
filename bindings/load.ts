import { checkChoice, checkInteger, checkObject, wrongKind, wrongValue } from "./check.ts";
import { Heed } from "./heed.ts";
import { PAGE_BYTES, type Variant, bestVariant, instantiate } from "./module.ts";

/** How to load. */
export interface LoadOptions {
  /** Pins the build: "simd" gives the same bits on every machine. Default the fastest that the engine runs. */
  variant?: Variant | undefined;
  /** A compiled `heed/simd.wasm` or `heed/relaxed.wasm`, instead of the one that the package brings. */
  module?: WebAssembly.Module | undefined;
  /** Bytes that the instance's memory may grow to, at least 65536. Default and at most 4 GiB, what wasm32 can address. */
  maxMemory?: number | undefined;
}

/** Gives the bytes of a build. */
export type Source = (variant: Variant) => Uint8Array<ArrayBuffer>;

export async function loadFrom(source: Source, options: LoadOptions = {}): Promise<Heed> {
  const { module, variant, maxMemory } = checkOptions(options);
  return start(module ?? (await WebAssembly.compile(source(variant ?? bestVariant()))), variant, maxMemory);
}

export function loadSyncFrom(source: Source, options: LoadOptions = {}): Heed {
  const { module, variant, maxMemory } = checkOptions(options);
  return start(module ?? new WebAssembly.Module(source(variant ?? bestVariant())), variant, maxMemory);
}

function start(module: WebAssembly.Module, variant: Variant | undefined, maxMemory: number): Heed {
  const { kernels, memory } = instantiate(module, maxMemory);
  const heed = new Heed(kernels, memory);
  if (variant && variant !== heed.variant) throw wrongValue("module", `the "${variant}" build`, heed.variant);
  return heed;
}

const WASM32_BYTES = 2 ** 32;

function checkOptions(options: LoadOptions) {
  checkObject("options", options);
  const { variant, module, maxMemory = WASM32_BYTES } = options;
  if (variant !== undefined) checkChoice("variant", variant, ["simd", "relaxed"]);
  // By its tag: a Module of another realm, as edge runtimes hand in, is no instance of this one's class.
  if (module !== undefined && Object.prototype.toString.call(module) !== "[object WebAssembly.Module]") {
    throw wrongKind("module", "a WebAssembly.Module", module);
  }
  return { variant, module, maxMemory: checkInteger("maxMemory", maxMemory, PAGE_BYTES, WASM32_BYTES) };
}
