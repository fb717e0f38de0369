import { checkChoice, checkInteger, wrongValue } from "./check.ts";
import { bestVariant } from "./engine/features.ts";
import { type Variant, instantiate } from "./engine/kernels.ts";
import { INSTANCE, LINEAR, addLinear } from "./engine/module.ts";
import { type ModuleSource, compile, compileSync, readSource, stampOf } from "./engine/source.ts";
import { Heed } from "./heed.ts";
import { MAX_MEMORY } from "./limits.ts";
import { PAGE_BYTES } from "./memory/arena.ts";
import { type Names, readOptions } from "./options.ts";
import { MAX_THREADS } from "./threads/control.ts";
import { processors } from "./threads/host.ts";

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
   * `heed/linear.simd.wasm` or `heed/linear.relaxed.wasm`, instead of the one inside the package, in the forms that
   * `module` has: the kernels of weights in int8 and int4, activations and residuals of `linear`. It is the same build
   * as `module`. Left out, that inside the package is compiled when it is first used.
   */
  linear?: ModuleSource | PromiseLike<ModuleSource> | undefined;
  /**
   * Bytes to which the instance's memory may grow, at least 65536. It is a bound, not a reservation: whether so much is
   * there shows as the memory grows. A host that refuses the address space for it is a RangeError at once. Default 4
   * GiB, the most that wasm32 can address, or the largest half, quarter … of it that the host has address space for. In
   * Cloudflare Workers and Vercel Edge, where everything shares 128 MB, the default is 64 MiB.
   */
  maxMemory?: number | undefined;
  /**
   * Threads that compute one call together, the caller's among them: 1 to 64, or `true` for half of the logical
   * processors, at most 4. Results have the same bits. Where the host has no shared memory or no workers, where a
   * worker gives no answer within a second, or where `module` comes compiled, the instance has one thread, and
   * `threadsReason` says why. With more, the memory is shared: `data` of a Tensor is a view of a SharedArrayBuffer.
   * Default 1.
   */
  threads?: number | boolean | undefined;
  /** With `threads`: the URL of `heed/worker.js`, for a page whose Content-Security-Policy wants workers from files. */
  worker?: string | URL | undefined;
}

const LOAD_SYNC_NAMES: Names<LoadSyncOptions> = { variant: 0, module: 0, linear: 0, maxMemory: 0 };
const LOAD_NAMES: Names<LoadOptions> = { variant: 0, module: 0, linear: 0, maxMemory: 0, threads: 0, worker: 0 };

/** What `loadSync` takes. @category Loading */
export interface LoadSyncOptions extends Omit<LoadOptions, "module" | "linear" | "threads" | "worker"> {
  /** As for `load`, but a compiled module or its bytes. */
  module?: WebAssembly.Module | ArrayBuffer | ArrayBufferView | undefined;
  /** As for `load`, but a compiled module or its bytes. */
  linear?: WebAssembly.Module | ArrayBuffer | ArrayBufferView | undefined;
}

/** What differs between hosts. */
export interface Host {
  /** A build inside the package: compiled, or its bytes. */
  source: OwnSource;
  /** A build of the module of `linear` inside the package, where it has one. */
  linear?: OwnSource;
  /** The default of `maxMemory`. */
  maxMemory: number;
  /** An instance with several threads, or why there is none; absent where the host has none (start-threads.ts). */
  startThreads?(
    source: WebAssembly.Module | Uint8Array,
    linear: WebAssembly.Module | Uint8Array | undefined,
    options: CheckedOptions,
  ): Promise<Heed | string>;
}

/** A build inside the package: compiled, or its bytes. */
export type OwnSource = (variant: Variant) => WebAssembly.Module | Uint8Array<ArrayBuffer>;

/** `load` of a host; see there for errors. */
export async function loadFrom(host: Host, given: LoadOptions = {}): Promise<Heed> {
  const options = checkOptions(host, "load", given, LOAD_NAMES);
  const source = await readSource(await options.module);
  const linearIn = await options.linear;
  const linear = linearIn === undefined ? undefined : await readSource(linearIn, LINEAR);
  const started =
    options.threads === 1
      ? undefined
      : ((await host.startThreads?.(source, linear, options)) ?? "this host has no threads");
  if (typeof started === "object") return started;
  const module = await compile(source);
  const heed = start(module, options, linear && (await compile(linear, stampOf(LINEAR), LINEAR)));
  heed[INSTANCE].threadsReason = started;
  return heed;
}

/** `loadSync` of a host; see there for errors. */
export function loadSyncFrom(host: Host, given: LoadSyncOptions = {}): Heed {
  const options = checkOptions(host, "loadSync", given, LOAD_SYNC_NAMES);
  const { module, linear } = options;
  return start(compileSync(module), options, linear && compileSync(linear, stampOf(LINEAR), LINEAR));
}

/**
 * An instance of a compiled build, with the module of `linear` where that is compiled, too. Throws a RangeError where it
 * is another build than `variant`.
 */
export function start(
  compiled: WebAssembly.Module,
  options: CheckedOptions,
  linear?: WebAssembly.Module,
  shared = false,
): Heed {
  const { variant, bytes, orLess, ownLinear } = options;
  const { kernels, memory } = instantiate(compiled, bytes, orLess, shared);
  const heed = new Heed(kernels, memory);
  if (variant && variant !== heed.variant) throw wrongValue("module", `the "${variant}" build`, heed.variant);
  if (linear) addLinear(heed[INSTANCE], linear);
  else if (ownLinear) heed[INSTANCE].fusedSource = ownLinear.bind(undefined, heed.variant);
  return heed;
}

/** Options with their defaults. */
export interface CheckedOptions {
  variant: Variant | undefined;
  module: LoadOptions["module"];
  linear: LoadOptions["linear"];
  /** Where to find the module of `linear` once that is needed. */
  ownLinear: OwnSource | undefined;
  /** To which memory may grow, or to less where the host refuses so much and `orLess` is true. */
  bytes: number;
  orLess: boolean;
  threads: number;
  worker: string | URL | undefined;
}

function checkOptions(host: Host, call: string, given: LoadOptions, names: Names<LoadSyncOptions>): CheckedOptions {
  const options = readOptions<LoadOptions>(call, given, names as Names<LoadOptions>);
  const { variant, maxMemory = host.maxMemory } = options;
  if (variant !== undefined) checkChoice("variant", variant, ["simd", "relaxed"]);
  const bytes = checkInteger("maxMemory", maxMemory, PAGE_BYTES, MAX_MEMORY);
  const { module = host.source(variant ?? bestVariant()) } = options;
  const { threads = false, worker, linear } = options;
  const half = Math.max(1, Math.min(4, processors() >> 1));
  const count = checkInteger("threads", threads === true ? half : threads === false ? 1 : threads, 1, MAX_THREADS);
  const orLess = options.maxMemory === undefined;
  return { variant, module, linear, ownLinear: host.linear, bytes, orLess, threads: count, worker };
}
