import { mismatch } from "../check.ts";
import { PAGE_BYTES } from "../memory/arena.ts";
import { F16, F32, INT8, type Kernels } from "./abi.ts";
import type { LinearMemory } from "./host.ts";

/**
 * Which build of the kernels: `"simd"` runs wherever wasm SIMD does, `"relaxed"` has fused multiply-add.
 *
 * @category Loading
 */
export type Variant = "simd" | "relaxed";

/** Where a host refuses even this much address space, it is asked for no less. */
const LEAST_PAGES = 1024;

/**
 * An instance of the kernels over a memory of their own that may grow to `maxMemory` bytes, or to less where the host
 * refuses so much address space and `orLess` is true. `shared` is for a build of shareMemory (threads/).
 *
 * @throws RangeError where the host refuses
 */
export function instantiate(
  module: WebAssembly.Module,
  maxMemory: number,
  orLess = false,
  shared = false,
): { kernels: Kernels; memory: LinearMemory } {
  let memory: LinearMemory | undefined;
  for (let maximum = Math.floor(maxMemory / PAGE_BYTES); !memory; maximum >>= 1) {
    try {
      memory = new WebAssembly.Memory({ initial: 1, maximum, shared });
    } catch (cause) {
      if (orLess && maximum >= 2 * LEAST_PAGES) continue;
      const expected = `a host with address space for ${maximum * PAGE_BYTES} bytes`;
      const got =
        "refused: raise the limit (ulimit -v), try node --disable-wasm-trap-handler, " +
        `or pass less (${String(cause)})`;
      throw new RangeError(mismatch("maxMemory", expected, got), { cause });
    }
  }
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return { kernels: exports as unknown as Kernels, memory };
}

/** A struct of assembly/, as abi.ts describes it. */
interface Struct<Field extends string> {
  readonly integers: number;
  readonly fields: readonly Field[];
}

/** Bytes of a struct. */
export function structBytes({ fields }: Struct<string>): number {
  return fields.length * 4;
}

/** Writes the values of a struct at `ptr`; `values` has them in the order of the fields. */
export function writeStruct<Field extends string>(
  buffer: ArrayBuffer,
  ptr: number,
  { integers, fields }: Struct<Field>,
  values: Record<Field, number>,
): void {
  const words = new Int32Array(buffer, ptr, fields.length);
  const floats = new Float32Array(buffer, ptr, fields.length);
  let i = 0;
  // By the order of the properties: V8 takes several times as long to look each of these names up.
  for (const name in values) {
    if (i < integers) words[i] = values[name];
    else floats[i] = values[name];
    i++;
  }
}

/** The stored types of K and V: how the kernels number them, and the bytes of one value. */
export const TYPES = {
  f32: { number: F32, bytes: 4 },
  f16: { number: F16, bytes: 2 },
  int8: { number: INT8, bytes: 1 },
} as const;
