// Fresh memory as bad as it can be, so that every test sees what reads it before it is written.
import { INSTANCE } from "../../bindings/engine/module.ts";
import type { Heed } from "../../bindings/heed.ts";
import { Arena } from "../../bindings/memory/arena.ts";
import { isFull } from "./sweep.ts";

/** Bytes behind each block that kernels may read. */
export const READABLE_BEHIND = 16;

/** The arena without poison, for blocks too large to be touched. */
export const allocateUntouched = Reflect.get<Arena, "allocate">(Arena.prototype, "allocate");

/**
 * Each byte of a fresh block. 0xff is NaN as f32 and f16, −1 as an integer, and keeps as a mask. What passes NaN over,
 * as a maximum does, is found by the other tier of tests: there f32 is 3.4e38.
 */
export const POISON_BYTE = isFull ? 0x7f : 0xff;

/** An instance whose arena fills fresh blocks with another byte. */
export function poisonedBy(byte: number, heed: Heed): Heed {
  const { arena } = heed[INSTANCE];
  arena.allocate = (bytes) => {
    const ptr = allocateUntouched.call(arena, bytes);
    new Uint8Array(arena.buffer, ptr, bytes + READABLE_BEHIND).fill(byte);
    return ptr;
  };
  return heed;
}

/** From now on every arena fills the blocks that it hands out, and the readable bytes behind them. */
export function poisonFreshMemory(): void {
  Arena.prototype.allocate = function (this: Arena, bytes) {
    const ptr = allocateUntouched.call(this, bytes);
    new Uint8Array(this.buffer, ptr, bytes + READABLE_BEHIND).fill(POISON_BYTE);
    return ptr;
  };
}
