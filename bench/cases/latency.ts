// What several threads cost before they compute anything: the dispatch and join of a call, and the start of a pool.
import { type Heed, load } from "heed";
import type { Figure } from "../harness/figure.ts";
import { median } from "../harness/measure.ts";
import { insideOf } from "../peers/heed.ts";

const CALLS = 20_000;
const RESTED_CALLS = 500;
const STARTS = 15;
const WARM_UP = 2000;
/** Multiply-adds of a call that is cut into as many items as any. */
const LARGE = 2 ** 30;

/** `linear` over no rows reads and writes nothing: out, x, panels, bias, scratch, rows, inFeatures, outFeatures, … */
const EMPTY = [0, 0, 0, 0, -1, 0, 1, 1, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const SCRATCH_BYTES = 64;

/** Figures of heed with `threads` threads, and why some are not there. */
export async function measureLatency(
  threads: number,
  quick: boolean,
  say: (text: string) => void,
): Promise<{ figures: Figure[]; notes: string[] }> {
  const heed = await load({ threads });
  const { variant } = heed;
  const figures: Figure[] = [];
  const notes: string[] = [];
  const add = (what: string, value: number, unit: string, atMost: number): void => {
    figures.push({ variant, what, value, unit, bar: `≤ ${atMost}`, holds: value <= atMost });
  };
  if (heed.threads === threads) {
    say(`dispatch and join on ${threads} threads`);
    const least = quick ? 10 : 1;
    const dispatch = `dispatch and join of a call of nothing, ${threads} threads`;
    add(`${dispatch}, one after the other`, 1000 * timeDispatches(heed, CALLS / least, 0), "µs", 60);
    add(`${dispatch}, workers asleep before`, 1000 * timeDispatches(heed, RESTED_CALLS / least, 1), "µs", 60);
  } else {
    notes.push(`dispatch and join on ${threads} threads skipped: ${heed.threadsReason ?? ""}`);
  }
  heed.dispose();
  const { alone, several, refused } = await timeStarts(threads, quick ? 10 : STARTS, say);
  if (several.length > 0) {
    const what = `load({ threads: ${threads} }) less load(), medians of ${several.length}`;
    add(what, median(several) - median(alone), "ms", 80);
  }
  notes.push(...refused.map((reason) => `a start of ${threads} threads skipped: ${reason}`));
  return { figures, notes };
}

/**
 * The median of calls without work, in milliseconds: each puts as many items into the table as a large call, wakes the
 * workers, takes items as long as there are any, and waits until all are done. Before each call the thread rests.
 */
function timeDispatches(heed: Heed, calls: number, restMs: number): number {
  const pool = insideOf(heed).pool!;
  const items = Array.from({ length: pool.itemsFor(LARGE) }, () => EMPTY);
  const dispatch = (): unknown => pool.run("linear", SCRATCH_BYTES, items);
  const never = new Int32Array(new SharedArrayBuffer(4));
  for (let n = 0; n < WARM_UP; n++) dispatch();
  const samples: number[] = [];
  for (let n = 0; n < calls; n++) {
    if (restMs > 0) Atomics.wait(never, 0, 0, restMs);
    const start = performance.now();
    dispatch();
    samples.push(performance.now() - start);
  }
  return median(samples);
}

/** Milliseconds of `load()` and of `load({ threads })`, in turns, and why some of the latter had no threads. */
async function timeStarts(
  threads: number,
  starts: number,
  say: (text: string) => void,
): Promise<{ alone: number[]; several: number[]; refused: string[] }> {
  const times = { alone: [] as number[], several: [] as number[], refused: [] as string[] };
  for (let n = 0; n < starts; n++) {
    say(`starting a pool, ${n + 1} of ${starts}`);
    for (const count of [1, threads]) {
      const start = performance.now();
      const heed = await load({ threads: count });
      const taken = performance.now() - start;
      if (heed.threads !== count) times.refused.push(heed.threadsReason ?? "");
      else (count === 1 ? times.alone : times.several).push(taken);
      heed.dispose();
    }
  }
  return times;
}
