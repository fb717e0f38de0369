// Threads without workers: every call is cut, however small, and the calling thread does its items, in any order, each
// twice, as the caller does those of a worker that died. So what cuts calls can be seen in memory that is poisoned,
// guarded, checked or short.
import type { Threads } from "../../bindings/engine/instance.ts";
import type { ThreadKernel } from "../../bindings/engine/items.ts";
import { INSTANCE } from "../../bindings/engine/module.ts";
import type { Heed } from "../../bindings/heed.ts";
import { CONTROL_BYTES, Control } from "../../bindings/threads/control.ts";

/** How often each kernel was run on threads. */
export type Runs = Partial<Record<ThreadKernel, number>>;

/** Threads of the pool, of which each has scratch of its own. */
const THREADS = 3;

/** Gives an instance that pool. */
export function shareOut(heed: Heed): Runs {
  const instance = heed[INSTANCE];
  const { arena } = instance;
  const runs: Runs = {};
  const control = new Control(new ArrayBuffer(CONTROL_BYTES), 0);
  instance.pool = {
    threads: THREADS,
    workers: [],
    itemsFor: (work) => (work > 0 ? 7 : 0),
    run: (kernel, scratchBytes, items, next, at) => {
      let scratch: number[] = [];
      try {
        if (scratchBytes > 0) scratch = arena.allocateMany(scratchBytes, THREADS);
      } catch {
        return undefined;
      }
      control.scratch.set(scratch);
      control.fill(kernel, items, next, at);
      // 7 and 256 are coprime, so this is each item, first here and then there.
      const order = items.map((_, n) => n).sort((a, b) => ((a * 7) % 256) - ((b * 7) % 256));
      const results: number[] = [];
      const all = { ...instance.kernels, ...instance.fused };
      for (const item of [...order, ...order.reverse()]) {
        const thread = item % THREADS;
        if (scratch.length > 0) new Uint8Array(arena.buffer, scratch[thread], scratchBytes).fill(0xff);
        results[item] = control.compute(all, thread, item);
      }
      for (const ptr of scratch) arena.release(ptr);
      for (const each of next ? [kernel, next] : [kernel]) runs[each] = (runs[each] ?? 0) + 1;
      return results;
    },
    follow: () => undefined,
    pause: () => undefined,
    rest: () => false,
    dispose: () => undefined,
  } satisfies Threads;
  return runs;
}
