import { checkChoice, checkInteger, wrongValue } from "./check.ts";
import { bestVariant } from "./engine/features.ts";
import { type Variant, instantiate } from "./engine/kernels.ts";
import { type ModuleSource, compile, compileSync } from "./engine/source.ts";
import { Heed } from "./heed.ts";
import { PAGE_BYTES } from "./memory/arena.ts";
import { type Names, readOptions } from "./options.ts";

/** What `load` takes. @category Loading */
export interface LoadOptions {
  /** The build to run. "simd" gives the same bits on every machine. Default the fastest that the engine runs. */
  variant?: Variant | undefined;
  /**
   * The build `heed/simd.wasm` or `heed/relaxed.wasm`, instead of the one inside the package: a compiled module, its
   * bytes, a Response of any content type, a URL (relative to the page, where there is one), or a promise of one of
   * these.
   */
  module?: ModuleSource | PromiseLike<ModuleSource> | undefined;
  /**
   * Bytes to which the instance's memory may grow, at least 65536. It is a bound, not a reservation: whether so much is
   * there shows as the memory grows. A host that refuses the address space for it is a RangeError at once. Default 4
   * GiB, the most that wasm32 can address, or the largest half, quarter … of it that the host has address space for. In
   * Cloudflare Workers and Vercel Edge, where everything shares 128 MB, the default is 64 MiB.
   */
  maxMemory?: number | undefined;
}

const LOAD_NAMES: Names<LoadOptions> = { variant: 0, module: 0, maxMemory: 0 };

/** What `loadSync` takes. @category Loading */
export interface LoadSyncOptions extends Omit<LoadOptions, "module"> {
  /** As for `load`, but a compiled module or its bytes. */
  module?: WebAssembly.Module | ArrayBuffer | ArrayBufferView | undefined;
}

/** What differs between hosts. */
export interface Host {
  /** A build inside the package: compiled, or its bytes. */
  source(variant: Variant): WebAssembly.Module | Uint8Array<ArrayBuffer>;
  /** The default of `maxMemory`. */
  maxMemory: number;
}

/** `load` of a host; see there for errors. */
export async function loadFrom(host: Host, given: LoadOptions = {}): Promise<Heed> {
  const options = checkOptions(host, "load", given);
  return start(await compile(await options.module), options);
}

/** `loadSync` of a host; see there for errors. */
export function loadSyncFrom(host: Host, given: LoadSyncOptions = {}): Heed {
  const options = checkOptions(host, "loadSync", given);
  return start(compileSync(options.module), options);
}

/** An instance of a compiled build. Throws a RangeError where it is another build than `variant`. */
function start(compiled: WebAssembly.Module, { variant, bytes, orLess }: CheckedOptions): Heed {
  const { kernels, memory } = instantiate(compiled, bytes, orLess);
  const heed = new Heed(kernels, memory);
  if (variant && variant !== heed.variant) throw wrongValue("module", `the "${variant}" build`, heed.variant);
  return heed;
}

/** Bytes that wasm32 can address. */
export const WASM32_BYTES = 2 ** 32;

/** Options with their defaults. */
interface CheckedOptions {
  variant: Variant | undefined;
  module: LoadOptions["module"];
  /** To which memory may grow, or to less where the host refuses so much and `orLess` is true. */
  bytes: number;
  orLess: boolean;
}

function checkOptions(host: Host, call: string, given: LoadOptions): CheckedOptions {
  const options = readOptions(call, given, LOAD_NAMES);
  const { variant, maxMemory = host.maxMemory } = options;
  if (variant !== undefined) checkChoice("variant", variant, ["simd", "relaxed"]);
  const bytes = checkInteger("maxMemory", maxMemory, PAGE_BYTES, WASM32_BYTES);
  const { module = host.source(variant ?? bestVariant()) } = options;
  return { variant, module, bytes, orLess: options.maxMemory === undefined };
}
