import type { Arena } from "../memory/arena.ts";
import type { Kernels } from "./kernels.ts";

/** What the kernels of one instance need besides their arguments. */
export interface Instance {
  kernels: Kernels;
  arena: Arena;
  /** The table of constants. */
  constants: number;
  /** Whether the engine keeps the tall tile of assembly/simd/gemm.ts in registers. */
  tall: boolean;
}
