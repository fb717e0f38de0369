// How an instance of heed gets the module of transformer blocks.
import { isObject, wrongKind } from "../check.ts";
import type { TransformerKernels } from "../engine/abi.ts";
import type { Instance } from "../engine/instance.ts";
import { INSTANCE, addModule, addModuleSync, prepareModule } from "../engine/module.ts";
import { type ModuleSource, readSource } from "../engine/source.ts";
import type { Variant } from "../engine/kernels.ts";
import type { Heed } from "../heed.ts";
import { type Names, readOptions } from "../options.ts";
import { shareMemory } from "../threads/shared-memory.ts";
import { Blocks } from "./blocks.ts";

/** What `loadBlocks` takes. @category Transformer blocks */
export interface BlocksOptions {
  /**
   * `heed/transformer.simd.wasm` or `heed/transformer.relaxed.wasm`, the build that the instance has, instead of the one
   * inside the package: a compiled module, its bytes, a Response, a URL, or a promise of one of these.
   */
  module?: ModuleSource | PromiseLike<ModuleSource> | undefined;
}

/** What `loadBlocksSync` takes. @category Transformer blocks */
export interface BlocksSyncOptions {
  /** As for `loadBlocks`, but a compiled module or its bytes. */
  module?: WebAssembly.Module | ArrayBuffer | ArrayBufferView | undefined;
}

const NAMES: Names<BlocksOptions> = { module: 0 };

/** The name in the stamp of the module. */
const TRANSFORMER = "transformer";

/** A build inside the package: compiled, or its bytes. */
export type OwnBuild = (variant: Variant) => WebAssembly.Module | Uint8Array<ArrayBuffer>;

/** `loadBlocks` of a host; see there for errors. */
export async function loadBlocksFrom(own: OwnBuild, heed: unknown, given: BlocksOptions = {}): Promise<Blocks> {
  const { instance, variant } = checkHeed(heed);
  const { module } = readOptions<BlocksOptions>("loadBlocks", given, NAMES);
  const source = forMemory(instance, await readSource(module === undefined ? own(variant) : await module));
  return blocksOf(instance, await addModule(instance, TRANSFORMER, source));
}

/** `loadBlocksSync` of a host; see there for errors. */
export function loadBlocksSyncFrom(own: OwnBuild, heed: unknown, given: BlocksSyncOptions = {}): Blocks {
  const { instance, variant } = checkHeed(heed);
  const { module = own(variant) } = readOptions<BlocksSyncOptions>("loadBlocksSync", given, NAMES);
  return blocksOf(instance, addModuleSync(instance, TRANSFORMER, forMemory(instance, module)));
}

function blocksOf(instance: Instance, kernels: unknown): Blocks {
  return new Blocks(instance, prepareModule(instance, "module", kernels as TransformerKernels));
}

function checkHeed(heed: unknown): { instance: Instance; variant: Variant } {
  const instance = isObject(heed) ? (heed as Partial<Heed>)[INSTANCE] : undefined;
  if (!instance) throw wrongKind("heed", "an instance of heed", heed);
  return { instance, variant: (heed as Heed).variant };
}

/** The source for the memory of an instance: with threads that is shared, which a compiled module does not take. */
function forMemory({ pool }: Instance, source: unknown): unknown {
  if (!pool) return source;
  const expected = "the bytes of a build, since the instance has threads";
  if (!ArrayBuffer.isView(source)) throw wrongKind("module", expected, source);
  return shareMemory(new Uint8Array(source.buffer, source.byteOffset, source.byteLength)) ?? source;
}
