import type { CallScope } from "../memory/call-scope.ts";
import { type Floats, elementsOf } from "../memory/data.ts";
import { F32 } from "../memory/float-types.ts";
import { halvesIn, widenedBytes } from "../memory/staged-rows.ts";
import type { Instance } from "./instance.ts";

/** Makes f32 at `ptr` of the `length` floats of 16 bits at `halvesIn`. */
export function widen({ kernels }: Pick<Instance, "kernels">, ptr: number, length: number, type: number): void {
  kernels.gatherRows(ptr, halvesIn(ptr, length), 0, 1, length, 0, 0, type);
}

/** The address of f32 for `floats`: as `scope.input`, and what has 16 bits is converted. */
export function inputAsF32(
  { arena, kernels }: Pick<Instance, "arena" | "kernels">,
  scope: CallScope,
  floats: Floats | undefined,
): number {
  if (!floats || floats.type === F32) return scope.input(floats);
  const { length, type } = floats;
  const ptr = scope.reserve(widenedBytes(length));
  new Uint16Array(arena.buffer, halvesIn(ptr, length), length).set(elementsOf(arena, floats));
  widen({ kernels }, ptr, length, type);
  return ptr;
}
