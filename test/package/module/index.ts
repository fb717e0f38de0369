// A module as small as one can be, for module.test.ts: it shares code with the kernels and works on their memory.
import { scaleRow } from "../../../assembly/simd/lanes";

/** x [count] ← x·factor, in whole vectors. */
export function scale(x: usize, count: i32, factor: f32): void {
  scaleRow(x, x, count, factor);
}
