// What `load({ threads })` does in hosts that compile bytes: index.ts and slim.ts hand it to load.ts, so that the
// entries of edge hosts, which have neither workers nor bytes, carry none of it.
import { INSTANCE, LINEAR, addLinear } from "./engine/module.ts";
import { compile, stampOf } from "./engine/source.ts";
import type { Heed } from "./heed.ts";
import { type CheckedOptions, start } from "./load.ts";
import { whyNoThreads } from "./threads/host.ts";
import { Pool } from "./threads/pool.ts";
import { shareMemory } from "./threads/shared-memory.ts";

/**
 * An instance with workers on its memory; else why there is none.
 *
 * @throws RangeError where the bytes are no build, or not the one that `variant` names
 */
export async function startThreads(
  source: WebAssembly.Module | Uint8Array,
  linear: WebAssembly.Module | Uint8Array | undefined,
  options: CheckedOptions,
): Promise<Heed | string> {
  const reason = whyNoThreads();
  if (reason !== undefined) return reason;
  if (!(source instanceof Uint8Array) || (linear && !(linear instanceof Uint8Array))) return "the build came compiled";
  const shared = shareMemory(source);
  if (!shared) return "the build does not take shared memory";
  const module = await compile(shared);
  let heed: Heed;
  try {
    heed = start(module, options, undefined, true);
  } catch (error) {
    // No address space for shared memory. Without threads there may be; if not, that error is the one to see.
    return String(error);
  }
  const instance = heed[INSTANCE];
  // Workers must have its kernels before an item calls them.
  const own = linear ?? instance.fusedSource?.();
  const sharedLinear = own instanceof Uint8Array ? shareMemory(own) : undefined;
  if (own && !sharedLinear) return "the build does not take shared memory";
  const further = sharedLinear && (await compile(sharedLinear, stampOf(LINEAR), LINEAR));
  if (further) addLinear(instance, further);
  const pool = await Pool.start(instance, [module, further], options.threads, options.worker);
  if (typeof pool === "string") return pool;
  instance.pool = pool;
  abandoned.register(heed, pool);
  return heed;
}

/** Ends the workers of instances that were never disposed. */
const abandoned = /* @__PURE__ */ new FinalizationRegistry<Pool>((pool) => pool.dispose());
