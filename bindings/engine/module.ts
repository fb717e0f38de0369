// A further wasm module beside the kernels, on the memory of an instance: the place for what not every user needs
// (gradients, norms, quantised weights), so that the kernels stay small. docs/decisions/modules.md says how one is
// built, stamped and loaded.
import { wrongValue } from "../check.ts";
import type { LinearKernels, TransformerKernels } from "./abi.ts";
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

/** How `load` names the module of `linear`, and its stamp. */
export const LINEAR = "linear";

/**
 * The kernels of weights in integers and of the epilogue of `linear`. The first call compiles them, a few kilobytes,
 * unless `load` was handed them.
 *
 * @throws Error where neither the package nor the caller has brought them
 */
export function linearKernels(instance: Instance): LinearKernels {
  return instance.fused ?? addLinear(instance, sourceOf(instance));
}

/** Hands an instance the module of `linear`, compiled. Throws a RangeError where that is of the other build. */
export function addLinear(instance: Instance, module: WebAssembly.Module): LinearKernels {
  return useLinear(instance, instantiateBeside(instance, module) as LinearKernels);
}

/** {@link addLinear} of what it exports. */
export function useLinear(instance: Instance, fused: LinearKernels): LinearKernels {
  return (instance.fused = prepareModule(instance, LINEAR, fused));
}

/** Checks that a further module is of the build of the instance, and lets it write the constants of activations. */
export function prepareModule<Exports extends LinearKernels | TransformerKernels>(
  instance: Instance,
  title: string,
  exports: Exports,
): Exports {
  const [wanted, got] = [instance.kernels.isRelaxed(), exports.isRelaxedModule()].map(variantName);
  if (got !== wanted) throw wrongValue(title, `the "${wanted}" build`, got);
  exports.writeActivations(instance.constants);
  return exports;
}

function variantName(isRelaxed: number): string {
  return isRelaxed ? "relaxed" : "simd";
}

function sourceOf({ fusedSource, kernels }: Instance): WebAssembly.Module {
  if (fusedSource) return compileSync(fusedSource(), stampOf(LINEAR), LINEAR);
  throw new Error(
    "weights in int8 and int4, activations and residuals are a wasm file of their own: " +
      `load({ ${LINEAR} }) with heed/${LINEAR}.${variantName(kernels.isRelaxed())}.wasm`,
  );
}
