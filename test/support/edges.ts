import { INSTANCE } from "../../bindings/engine/module.ts";
import type { Heed } from "../../bindings/heed.ts";
import { POISON_BYTE, READABLE_BEHIND } from "./poison.ts";

/** Where a block is put: so that with its readable bytes it ends at 2³², or so that 2³¹ lies in its middle. */
export type Edge = "the end of memory" | "2^31";

const addressAt: Record<Edge, (bytes: number) => number> = {
  // Closer than the arena would put it, which rounds up to 64: the worst case for every size.
  "the end of memory": (bytes) => Math.floor((2 ** 32 - READABLE_BEHIND - bytes) / 16) * 16,
  "2^31": (bytes) => Math.floor((2 ** 31 - bytes / 2) / 64) * 64,
};

/** 4 GiB, of which no more is ever touched than blocks take; undefined where there is no address space for it. */
export function wholeMemory(): WebAssembly.Memory | undefined {
  try {
    return new WebAssembly.Memory({ initial: 2 ** 16, maximum: 2 ** 16 });
  } catch {
    return undefined;
  }
}

/**
 * Puts block number `n` of those that an instance over `wholeMemory` allocates from now on at an edge.
 *
 * @returns how many it has allocated so far
 */
export function putAtEdge({ [INSTANCE]: { arena } }: Heed, n: number, edge: Edge): () => number {
  const [allocate, release] = [arena.allocate.bind(arena), arena.release.bind(arena)];
  let count = 0;
  let placed: number | undefined;
  arena.allocate = (bytes) => {
    if (count++ !== n) return allocate(bytes);
    placed = addressAt[edge](bytes);
    new Uint8Array(arena.buffer, placed, bytes + READABLE_BEHIND).fill(POISON_BYTE);
    return placed;
  };
  arena.release = (ptr) => {
    if (ptr !== placed) release(ptr);
  };
  return () => count;
}
