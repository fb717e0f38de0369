// A further wasm module beside the kernels, on the memory of an instance: the place for what not every user needs
// (gradients, norms, quantised weights), so that the kernels stay small. docs/decisions/modules.md says how one is
// built, stamped and loaded.
import type { Instance } from "./instance.ts";
import { compile, compileSync, stampOf } from "./source.ts";

/** Under this key an instance of heed hands its kernels and memory to entries of the package that bring a module. */
export const INSTANCE: unique symbol = /* @__PURE__ */ Symbol.for("heed.instance");

/**
 * The exports of a module that works on the memory of `instance`. Like the kernels it imports `env.memory`, has no
 * data, globals or table, and is handed pointers: the instance's arena stays the one owner of the memory.
 *
 * @param name as the module is stamped
 * @param source as for `load({ module })`
 * @throws RangeError for a file that is not this module of this version; else as `load({ module })`
 */
export async function addModule(instance: Instance, name: string, source: unknown): Promise<unknown> {
  return instantiateBeside(instance, await compile(await source, stampOf(name)));
}

/** {@link addModule} of what is compiled, or of bytes. */
export function addModuleSync(instance: Instance, name: string, source: unknown): unknown {
  return instantiateBeside(instance, compileSync(source, stampOf(name)));
}

function instantiateBeside({ arena }: Instance, module: WebAssembly.Module): unknown {
  return new WebAssembly.Instance(module, { env: { memory: arena.memory } }).exports;
}
