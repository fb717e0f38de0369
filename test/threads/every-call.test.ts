// Every function that uses threads has the same bits on any number of them, and uses them where a call is large enough.
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { type Heed, load } from "heed";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { INSTANCE } from "../../bindings/engine/module.ts";
import { KERNELS } from "../../bindings/threads/control.ts";
import { combinations } from "../support/combinations.ts";
import { difference, everyCall } from "../support/every-call.ts";
import { problemOf } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { copies } from "../support/scenarios/scenario.ts";
import type { Runs } from "../support/shared-out.ts";
import { runs } from "../support/sweep.ts";
import { loadThreads } from "../support/threads.ts";

/** Counts how often each kernel runs on the threads of an instance. */
function countRuns(heed: Heed): Runs {
  const counts: Runs = {};
  const pool = heed[INSTANCE].pool!;
  const run = pool.run.bind(pool);
  pool.run = (...call) => {
    const [kernel, , , next] = call;
    for (const each of next ? [kernel, next] : [kernel]) counts[each] = (counts[each] ?? 0) + 1;
    return run(...call);
  };
  return counts;
}

describe.each(["simd", "relaxed"] as const)("%s", (variant) => {
  const build = readFileSync(new URL(`../../dist/${variant}.wasm`, import.meta.url));
  describe.skipIf(!WebAssembly.validate(build)).each([2, 3, 8])("on %s threads", (threads) => {
    let alone: Heed;
    let shared: Heed;
    let counts: Runs;
    let used: number;
    beforeAll(async () => {
      alone = await load({ variant });
      shared = await loadThreads({ variant, threads });
      expect(shared.threads, shared.threadsReason).toBe(threads);
      ({ used } = shared.memory);
      counts = countRuns(shared);
    }, 60_000);
    afterAll(() => {
      for (const heed of [alone, shared]) heed.dispose();
    });

    it("has the same bits in any combination of options, however small the items", () => {
      const small = vi.spyOn(shared[INSTANCE].pool!, "itemsFor");
      small.mockImplementation((work) => (work > 0 ? 4 * threads : 0));
      const property = fc.property(combinations, (problem) => {
        for (const [call, act] of Object.entries(everyCall(problem)))
          expect(difference(act(shared), act(alone)), call).toBeUndefined();
        expect(shared.memory.used).toBe(used);
      });
      try {
        fc.assert(property, { seed: 20261202 + threads, numRuns: runs(100) });
      } finally {
        small.mockRestore();
      }
      expect(Object.keys(counts).sort()).toEqual([...KERNELS].sort());
      expect(shared.threads).toBe(threads);
    });

    if (threads !== 3) return;
    it("has the same bits, and uses the threads, where a call is large", () => {
      const large = problemOf({ batch: 1, numHeads: 6, seqLenQ: 500, seqLenKv: 1300, headDim: 64 }, { causal: true });
      const calls = everyCall(large);
      const few = problemOf({ batch: 1, numHeads: 6, seqLenQ: 32, seqLenKv: 1300, headDim: 64 });
      const weight = floats(800 * 800, uniform(3));
      calls["attention of few queries"] = (heed) => copies(heed.attention(few.q, few.k, few.v, few.options));
      calls.packLinear = (heed) => {
        using packed = heed.packLinear(weight, undefined, { inFeatures: 800 });
        return copies(heed.linear(weight.subarray(0, 800), packed));
      };
      for (const [call, act] of Object.entries(calls)) {
        for (const kernel of KERNELS) counts[kernel] = 0;
        expect(difference(act(shared), act(alone)), call).toBeUndefined();
        const seen = KERNELS.filter((kernel) => counts[kernel]! > 0);
        expect(seen, call).toEqual(expect.arrayContaining(kernelsOf(call)));
      }
      expect(shared.memory.used).toBe(used);
    });
  });
});

/** The kernels that a large call of everyCall runs on the threads, at least. */
function kernelsOf(call: string): (keyof Runs)[] {
  if (/^attentionWeights.*masked/.test(call)) return ["scoreRows"];
  if (/^attentionWeights.*topK of some/.test(call)) return ["scoreRows", "normalizeRows", "topOfRow"];
  if (call.startsWith("attentionWeights")) return ["scoreRows", "normalizeRows"];
  if (call.startsWith("a cache")) return ["storeRows", "attend", "scoreRows", "normalizeRows"];
  if (call === "merge") return ["mergeRows"];
  if (call === "linear") return ["linear", "linearFused"];
  if (call === "packLinear") return ["packPanels"];
  return ["attend"];
}
