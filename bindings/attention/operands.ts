import type { CallScope } from "../memory/call-scope.ts";
import type { Floats } from "../memory/data.ts";
import type { KvSource } from "./kv-source.ts";

/** q, and where the kernels find K and V, while one call runs. */
export interface PlacedOperands {
  /** The rows of q, rotated where the call asks for it. An array among them is still to be copied in. */
  readonly q: Floats;
  readonly kv: KvSource;
}

/** q, K and V of a checked call, before it takes any memory. */
export interface Operands {
  /** The caller's q, k and v, by their names, which no output may overlap. */
  readonly given: object;
  /**
   * Brings q, K and V to where the kernels can read them. It is called once, after every check and before any kernel
   * runs. `scope` holds what is copied. Throws a RangeError where memory cannot grow.
   */
  place(scope: CallScope): PlacedOperands;
}
