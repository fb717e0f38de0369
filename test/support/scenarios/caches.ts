// KV caches: what they keep must be as it was after a call that failed.
import type { Heed } from "../../../bindings/heed.ts";
import type { KvCacheOptions } from "../../../bindings/kv-cache/options.ts";
import type { Cache } from "../kv-model.ts";
import { type Numbers, type Scenarios, copies, random } from "./scenario.ts";

const dims = { numKvHeads: 2, headDim: 16, valueDim: 8, batch: 2, capacity: 1000 };

const kinds: Record<string, Partial<KvCacheOptions>> = {
  "f32 cache": {},
  "f16 cache": { dtype: "f16" },
  "int8 cache": { dtype: { k: "int8", v: "f16" } },
  "cache with a window": { window: 20, dtype: "int8" },
  "cache with rotary": { rotary: { interleaved: true } },
  "cache with a window and rotary": { window: 20, rotary: { rotaryDim: 8 } },
  "cache with frequencies": { rotary: { frequencies: random(8, 6), attentionScale: 1.2 } },
  "cache with tables": { rotary: { cos: random(1000 * 8, 3), sin: random(1000 * 8, 4) } },
};

/** `tokens` rows of k and v. */
const rows = (tokens: number, seed: number) =>
  [random(2 * tokens * 32, seed), random(2 * tokens * 16, seed + 1)] as const;

/** A cache whose sequences have 120 and 90 tokens, in a page of 128 each. */
function filled(heed: Heed, options: Partial<KvCacheOptions>): Cache {
  const cache = heed.createKvCache({ ...dims, ...options });
  try {
    cache.append(...rows(120, 1), { lengths: Int32Array.of(120, 90) });
    return cache;
  } catch (error) {
    cache.dispose();
    throw error;
  }
}

const q = random(4 * 64, 5);
const attention = { numHeads: 4, causal: true, lse: true };

/** All that a cache shows: a query that sees every token, the weights it gives them, and what it says of itself. */
function contents(cache: Cache): Numbers[] {
  const sizes = Int32Array.of(cache.length, cache.bytes, ...cache.lengths);
  if (cache.length === 0) return [sizes];
  const queries = q.subarray(0, cache.batch * 64);
  // At the last token of each sequence; tables have no row for a position before the first.
  const options = { ...attention, queryOffset: cache.lengths.map((length) => Math.max(length - 1, 0)) };
  return [
    sizes,
    ...copies(cache.attention(queries, options)),
    ...copies(cache.attentionWeights(queries, { ...options, lse: undefined, stage: "scores" })),
  ];
}

/** What is done to a cache, or with it. */
const acts: Record<string, (cache: Cache) => Numbers[]> = {
  // Into a second page each, and into a third: for these there are no angles yet either.
  append: (cache) => (cache.append(...rows(200, 7)), []),
  "append by lengths": (cache) => (cache.append(...rows(40, 7), { layout: "bhld", lengths: Int32Array.of(9, 40) }), []),
  truncate: (cache) => (cache.truncate(Int32Array.of(117, 90)), []),
  reset: (cache) => (cache.reset(), []),
  "reorder, a sequence taken twice": (cache) => (cache.reorder(Int32Array.of(1, 1)), []),
  "reorder, swapped": (cache) => (cache.reorder(Int32Array.of(1, 0)), []),
  // Within a page, where rows move, and in the second sequence all but the end, where none does.
  keep: (cache) => (cache.keep([Int32Array.of(0, 1, 7, 60, 119), Int32Array.from({ length: 80 }, (_, n) => n)]), []),
  "keep of one sequence": (cache) => (cache.keep([undefined, Int32Array.of(3, 80)]), []),
  add: (cache) => [Int32Array.of(cache.add(2))],
  remove: (cache) => (cache.remove(0), []),
  save: (cache) => [cache.save(), cache.save({ from: 70 })],
  read: (cache) => copies(cache.read(1, 5, 40)),
  fork: (cache) => {
    using fork = cache.fork();
    return contents(fork);
  },
  attention: (cache) => copies(cache.attention(random(2 * 5 * 64, 9), { ...attention, sinks: random(4, 6) })),
  // The positions of these queries have no angles yet.
  "attention far away": (cache) => copies(cache.attention(random(2 * 5 * 64, 9), { ...attention, queryOffset: 500 })),
  attentionWeights: (cache) =>
    copies(
      cache.attentionWeights(q.subarray(0, 128), { numHeads: 4, causal: true, reduce: "mean", topK: 4, entropy: true }),
    ),
};

export const caches: Scenarios = {};
for (const [kind, options] of Object.entries(kinds)) {
  caches[`create ${kind}`] = (heed) => ({
    act: () => {
      using cache = filled(heed, options);
      return contents(cache);
    },
    state: () => [],
  });
  caches[`restore ${kind}`] = (heed) => {
    using cache = filled(heed, options);
    const parts = [cache.save(), cache.save({ from: 70 })];
    return {
      act: () => {
        using restored = heed.restoreKvCache(parts);
        return contents(restored);
      },
      state: () => [],
    };
  };
  caches[`${kind}: keep of a fork`] = (heed) => {
    const cache = filled(heed, options);
    const fork = cache.fork();
    return {
      act: () => (fork.keep([Int32Array.of(2, 50, 119), undefined]), []),
      state: () => [...contents(cache), ...contents(fork)],
    };
  };
  caches[`${kind}: append to a fork`] = (heed) => {
    const cache = filled(heed, options);
    const fork = cache.fork();
    return {
      act: () => (fork.append(...rows(60, 7)), []),
      state: () => [...contents(cache), ...contents(fork)],
    };
  };
  for (const [name, act] of Object.entries(acts)) {
    caches[`${kind}: ${name}`] = (heed) => {
      const cache = filled(heed, options);
      return { act: () => act(cache), state: () => contents(cache) };
    };
  }
}
// Three beams: copies for the second and the third must both fit, or none is kept.
caches["cache of three: reorder, a sequence taken three times"] = (heed) => {
  const cache = heed.createKvCache({ numKvHeads: 1, headDim: 8, batch: 3, capacity: 1000 });
  cache.append(random(3 * 200 * 8, 1), random(3 * 200 * 8, 2), { lengths: Int32Array.of(200, 10, 20) });
  const query = random(3 * 8, 3);
  return {
    act: () => (cache.reorder(Int32Array.of(0, 0, 0)), []),
    state: () => [cache.lengths, ...copies(cache.attention(query, { numHeads: 1, lse: true }))],
  };
};
