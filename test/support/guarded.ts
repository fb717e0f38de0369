// An arena that shows what the kernels do with memory: fresh blocks hold poison, and a zone of a known pattern lies on
// both sides of each block.
import { Arena } from "../../bindings/memory/arena.ts";

/** A quiet NaN with a payload that no arithmetic of ours makes. */
export const POISON = 0x7fc0dead;

/** Bytes on each side of a block. Arena.allocate keeps blocks at multiples of 64 bytes, and so do these. */
const ZONE = 64;
const PATTERN = 0xa5;

/**
 * Guards every block of `arena` that is allocated from now on. A block is judged when it is released.
 *
 * @returns judges those that are in use: throws where a zone is broken
 */
export function guard(arena: Arena): () => void {
  const allocate = arena.allocate.bind(arena);
  const release = arena.release.bind(arena);
  const sizes = new Map<number, number>();
  const zones = (ptr: number) => {
    const bytes = new Uint8Array(arena.buffer);
    const end = ptr + sizes.get(ptr)!;
    return [bytes.subarray(ptr - ZONE, ptr), bytes.subarray(end, end + ZONE)];
  };
  arena.allocate = (bytes) => {
    // Checks the request before it is enlarged.
    const wanted = Number.isSafeInteger(bytes) && bytes >= 0 ? bytes + 2 * ZONE : bytes;
    const ptr = allocate(wanted) + ZONE;
    sizes.set(ptr, bytes);
    const words = new Uint32Array(arena.buffer, ptr, Math.floor(bytes / 4));
    words.fill(POISON);
    for (const zone of zones(ptr)) zone.fill(PATTERN);
    return ptr;
  };
  const judge = (ptr: number) => {
    const broken = zones(ptr).some((zone) => zone.some((byte) => byte !== PATTERN));
    if (broken) throw new Error(`a write beside the block at ${ptr}`);
  };
  arena.release = (ptr) => {
    if (!sizes.has(ptr)) {
      release(ptr); // A block from before, or an error.
      return;
    }
    try {
      if (!isDisposed(arena)) judge(ptr);
    } finally {
      sizes.delete(ptr);
      release(ptr - ZONE);
    }
  };
  return () => {
    for (const ptr of sizes.keys()) judge(ptr);
  };
}

/** Handles that were forgotten are released after that too. */
function isDisposed(arena: Arena): boolean {
  try {
    arena.check();
    return false;
  } catch {
    return true;
  }
}
