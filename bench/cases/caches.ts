// What sharing and saving a KV cache cost: a fork, the first append after it, decoding from shared pages, and bytes.
import { type Heed, type KvCache, load } from "heed";
import type { Figure } from "../harness/figure.ts";
import { median } from "../harness/measure.ts";
import { mulberry32, uniform } from "../harness/random.ts";

const [LAYERS, TOKENS] = [32, 4096];
const DIMS = { numKvHeads: 1, headDim: 64, capacity: 2 * TOKENS } as const;
/** A cache of 105 MB: 25 600 tokens of eight heads of 128 floats in f16. */
const LARGE = { numKvHeads: 8, headDim: 128, capacity: 2 ** 15, dtype: "f16" } as const;
const [LARGE_TOKENS, QUICK_TOKENS] = [25_600, 2560];

export async function measureCaches(quick: boolean, say: (text: string) => void): Promise<Figure[]> {
  const figures: Figure[] = [];
  const heed = await load();
  const { variant } = heed;
  const atMost = (what: string, value: number, unit: string, bar: number): void => {
    figures.push({ variant, what, value, unit, bar: `≤ ${bar}`, holds: value <= bar });
  };
  const atLeast = (what: string, value: number, unit: string, bar: number): void => {
    figures.push({ variant, what, value, unit, bar: `≥ ${bar}`, holds: value >= bar });
  };

  say("forks");
  const layers = Array.from({ length: LAYERS }, () => filled(heed, DIMS, TOKENS - 8));
  const rounds = quick ? 20 : 200;
  const forks = timed(rounds, () => layers.map((cache) => cache.fork()), dispose);
  atMost(`fork of ${LAYERS} layers × ${TOKENS - 8} tokens`, forks, "ms", 1);

  const row = uniform(DIMS.headDim, mulberry32(3));
  const branches = layers.map((cache) => cache.fork());
  const before = heed.memory.used;
  for (const branch of branches) branch.append(row, row);
  const pages = (heed.memory.used - before) / pageBytes(heed) / LAYERS;
  atMost("pages that the first append after a fork copies, a layer", pages, "", 1);

  say("decoding from shared pages");
  // Each turn reads all layers, so that neither form finds its keys in the processor's cache because of the other.
  const q = uniform(8 * DIMS.headDim, mulberry32(4));
  const decode = (caches: readonly KvCache[]) => () => {
    for (const cache of caches) cache.attention(q, { numHeads: 8, causal: true });
  };
  dispose(branches);
  const own = layers.map(() => filled(heed, DIMS, TOKENS - 8));
  const shared = layers.map((cache) => cache.fork());
  const [ofOwn, ofShared] = inTurns(quick ? 6 : 40, [decode(own), decode(shared)]);
  atMost("decoding from shared pages beside own ones", ofShared! / ofOwn!, "×", 1.03);
  dispose([...own, ...shared, ...layers]);
  heed.dispose();

  say("saving and restoring");
  const large = await load();
  const cache = filled(large, LARGE, quick ? QUICK_TOKENS : LARGE_TOKENS);
  const into = cache.save();
  const rate = (milliseconds: number): number => into.length / milliseconds / 1e6;
  const times = quick ? 5 : 15;
  const megabytes = `${(into.length / 1e6).toFixed(0)} MB`;
  atLeast(`save of ${megabytes} to memory that is there`, rate(timed(times, () => cache.save({ into }))), "GB/s", 1);
  atLeast(
    `restore of ${megabytes}`,
    rate(
      timed(
        times,
        () => large.restoreKvCache(into),
        (one) => dispose([one]),
      ),
    ),
    "GB/s",
    1,
  );
  const fresh = rate(timed(times, () => cache.save()));
  figures.push({
    variant,
    what: `save of ${megabytes} to fresh memory`,
    value: fresh,
    unit: "GB/s",
    bar: "",
    holds: true,
  });
  const touched = rate(timed(times, () => new Uint8Array(into.length).fill(1)));
  figures.push({ variant, what: `fresh memory alone, filled`, value: touched, unit: "GB/s", bar: "", holds: true });
  cache.dispose();
  large.dispose();
  return figures;
}

interface Dims {
  numKvHeads: number;
  headDim: number;
  capacity: number;
  dtype?: "f16";
}

function filled(heed: Heed, dims: Dims, tokens: number): KvCache {
  const cache = heed.createKvCache(dims);
  const rows = uniform(tokens * dims.numKvHeads * dims.headDim, mulberry32(tokens));
  cache.append(rows, rows);
  return cache;
}

/** Bytes of linear memory that a page of DIMS takes. */
function pageBytes(heed: Heed): number {
  const before = heed.memory.used;
  const cache = filled(heed, DIMS, 1);
  const bytes = heed.memory.used - before;
  cache.dispose();
  return bytes;
}

function dispose(caches: readonly KvCache[]): void {
  for (const cache of caches) cache.dispose();
}

/** The median of `rounds` calls in milliseconds, after a few that do not count. `after` is not timed. */
function timed<Result>(rounds: number, call: () => Result, after?: (result: Result) => void): number {
  const samples: number[] = [];
  const warmUp = Math.ceil(rounds / 4);
  for (let n = 0; n < warmUp + rounds; n++) {
    const start = performance.now();
    const result = call();
    if (n >= warmUp) samples.push(performance.now() - start);
    after?.(result);
  }
  return median(samples);
}

/** The medians of some calls that take turns. */
function inTurns(rounds: number, calls: readonly (() => void)[]): number[] {
  const samples = calls.map((): number[] => []);
  for (let n = 0; n < rounds; n++) {
    const order = calls.map((call, at) => ({ call, at }));
    for (const { call, at } of n % 2 === 0 ? order : order.reverse()) {
      const start = performance.now();
      call();
      samples[at]!.push(performance.now() - start);
    }
  }
  return samples.map(median);
}
