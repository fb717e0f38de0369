// Asynchronous calls on threads: workers go on while the thread is given back, pause for other calls, and may die.
import type { Worker } from "node:worker_threads";
import { readFileSync } from "node:fs";
import { type Heed, load, loadSync } from "heed";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bitsOf } from "../support/bits.ts";
import { problemOf, randomMask } from "../support/problems.ts";
import { floats, uniform } from "../support/random.ts";
import { loadThreads } from "../support/threads.ts";

const cases = {
  "rows beyond a pass": problemOf({ batch: 1, numHeads: 3, seqLenQ: 1700, seqLenKv: 900, headDim: 32 }),
  "causal, of several sequences": problemOf(
    { batch: 3, numHeads: 4, numKvHeads: 2, seqLenQ: 301, seqLenKv: 517, headDim: 40, valueDim: 48 },
    { causal: true },
  ),
  "few queries": problemOf({ batch: 2, numHeads: 8, seqLenQ: 4, seqLenKv: 9000, headDim: 64 }),
  "more lanes than the threads know of at a time": problemOf({
    batch: 300,
    numHeads: 2,
    seqLenQ: 20,
    seqLenKv: 300,
    headDim: 16,
  }),
  "values that are not finite": (() => {
    const keepMask = randomMask([1, 1, 200, 1500]);
    const problem = problemOf({ batch: 1, numHeads: 4, seqLenQ: 200, seqLenKv: 1500, headDim: 32 }, { keepMask });
    for (const at of [1000, 100_000]) problem.v[at] = Infinity;
    problem.k[77_777] = NaN;
    return problem;
  })(),
};

describe.each(["simd", "relaxed"] as const)("%s", (variant) => {
  const build = readFileSync(new URL(`../../dist/${variant}.wasm`, import.meta.url));
  describe.skipIf(!WebAssembly.validate(build)).each([2, 3, 8])("on %s threads", (threads) => {
    let alone: Heed;
    let shared: Heed;
    beforeAll(async () => {
      alone = await load({ variant });
      shared = await loadThreads({ variant, threads });
      expect(shared.threads, shared.threadsReason).toBe(threads);
    }, 60_000);
    afterAll(() => {
      for (const heed of [alone, shared]) heed.dispose();
    });

    it.each(Object.entries(cases))("has the bits of a synchronous call on one: %s", async (_, { q, k, v, options }) => {
      const all = { ...options, lse: true };
      const expected = bitsOf(alone.attention(q, k, v, all));
      const { used } = shared.memory;
      for (const budgetMs of [1e-6, 8]) {
        const fractions: number[] = [];
        const onProgress = (fraction: number) => fractions.push(fraction);
        const got = await shared.attentionAsync(q, k, v, { ...all, budgetMs, onProgress });
        expect(bitsOf(got)).toEqual(expected);
        expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
        expect(fractions.at(-1)).toBe(1);
        expect(shared.memory.used).toBe(used);
      }
    });

    it("has them beside other calls, of which some are asynchronous and memory grows under", async () => {
      const [one, other] = [cases["rows beyond a pass"], cases["causal, of several sequences"]];
      const expected = [one, other].map(({ q, k, v, options }) => bitsOf(alone.attention(q, k, v, options)));
      const { used } = shared.memory;
      const held = shared.tensor(shared.memory.reserved / 4);
      const between = floats(500 * 256, uniform(1));
      const product = bitsOf(alone.linear(between, between, undefined, { inFeatures: 256 }));
      const onProgress = () => {
        expect(bitsOf(shared.linear(between, between, undefined, { inFeatures: 256 }))).toEqual(product);
      };
      const calls = [one, other].map(({ q, k, v, options }) =>
        shared.attentionAsync(q, k, v, { ...options, budgetMs: 1e-6, onProgress }),
      );
      expect((await Promise.all(calls)).map(bitsOf)).toEqual(expected);
      held.dispose();
      expect(shared.memory.used).toBe(used);
    });

    it("leaves nothing behind where it is aborted, and no worker in it", async () => {
      const { q, k, v, options } = cases["rows beyond a pass"];
      const { used } = shared.memory;
      const control = new AbortController();
      const doomed = { ...options, signal: control.signal, budgetMs: 1e-6, onProgress: () => control.abort("enough") };
      await expect(shared.attentionAsync(q, k, v, doomed)).rejects.toBe("enough");
      expect(shared.memory.used).toBe(used);
      const others = Array.from({ length: 30 }, () => shared.tensor(50_000));
      for (const other of others) other.data.fill(7);
      await new Promise((resolve) => setTimeout(resolve, 20));
      for (const other of others) {
        expect(other.data.every((x) => x === 7)).toBe(true);
        other.dispose();
      }
      expect(shared.threads).toBe(threads);
    });
  });
});

describe("workers that fail in the middle of an asynchronous call", () => {
  const { q, k, v, options } = cases["rows beyond a pass"];
  const expected = loadSync({ variant: "simd" }).attention(q, k, v, options).out;

  it("one that dies: another begins its lane again", async () => {
    const workers: Worker[] = [];
    const listen = (worker: Worker): void => void workers.push(worker);
    process.on("worker", listen);
    using heed = await loadThreads({ variant: "simd", threads: 3 });
    process.off("worker", listen);
    const { used } = heed.memory;
    let slices = 0;
    const onProgress = () => {
      if (++slices === 3) void workers.at(-1)!.terminate();
    };
    const { out } = await heed.attentionAsync(q, k, v, { ...options, budgetMs: 1e-6, onProgress });
    expect(out).toEqual(expected);
    expect(heed.memory.used).toBe(used);
    expect(heed.threads).toBe(2);
    expect((await heed.attentionAsync(q, k, v, options)).out).toEqual(expected);
  });

  // Words 2, 3 and 8 are EPOCH, READY and LANES of threads/control.ts, followed by scratch and busy of 64 threads; LEFT
  // is the first word of the lanes.
  const failing = (then: string) => `const { parentPort } = process.getBuiltinModule("worker_threads");
    parentPort.once("message", ({ memory, control, thread }) => {
      const words = new Int32Array(memory.buffer, control, 16 + 128);
      Atomics.add(words, 3, 1);
      parentPort.postMessage("ready");
      for (let lanes = 0; lanes === 0; ) {
        Atomics.wait(words, 2, Atomics.load(words, 2), 1);
        words[16 + 64 + thread] = 1;
        lanes = Atomics.load(words, 8) >>> 0;
        if (lanes === 0 || Atomics.sub(new Int32Array(memory.buffer), lanes / 4, 1) <= 0) lanes = 0;
        words[16 + 64 + thread] = 0;
      }
      ${then}
    });`;
  it.each([
    ["hangs in a step", "words[16 + 64 + thread] = 1; for (;;);", 1],
    ["never comes back to its lane", "setInterval(() => 0, 1000);", 2],
  ])("one that takes a lane and %s", async (_, then, threads) => {
    const worker = `data:text/javascript,${encodeURIComponent(failing(then))}`;
    using heed = await loadThreads({ variant: "simd", threads: 2, worker });
    expect(heed.threads).toBe(2);
    // On a busy machine the caller may have taken all lanes before the worker wakes.
    for (let calls = 0; calls < (threads === 1 ? 1000 : 10) && heed.threads === 2; calls++) {
      expect((await heed.attentionAsync(q, k, v, options)).out).toEqual(expected);
    }
    expect(heed.threads).toBe(threads);
    expect((await heed.attentionAsync(q, k, v, options)).out).toEqual(expected);
  });
});
