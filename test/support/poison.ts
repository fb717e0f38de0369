// Fresh memory as bad as it can be, so that every test sees what reads it before it is written.
import { Arena } from "../../bindings/memory/arena.ts";
import { isFull } from "./sweep.ts";

/** The arena without poison, for blocks too large to be touched. */
export const { allocate: allocateUntouched } = Arena.prototype;

/**
 * Each byte of a fresh block. 0xff is NaN as f32 and f16, −1 as an integer, and keeps as a mask. What passes NaN over,
 * as a maximum does, is found by the other tier of tests: there f32 is 3.4e38.
 */
export const POISON = isFull ? 0x7f : 0xff;

/** From now on every arena fills the blocks that it hands out, and the 16 readable bytes behind them. */
export function poisonFreshMemory(): void {
  Arena.prototype.allocate = function (this: Arena, bytes) {
    const ptr = allocateUntouched.call(this, bytes);
    new Uint8Array(this.buffer, ptr, bytes + 16).fill(POISON);
    return ptr;
  };
}
