// Threads come and go: hosts without them, workers that die or hang, instances that nobody disposes.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Worker } from "node:worker_threads";
import { type Heed, load, loadSync } from "heed";
import { afterEach, describe, expect, it, vi } from "vitest";
import { problemOf } from "../support/problems.ts";
import { loadThreads } from "../support/threads.ts";

const { q, k, v, options } = problemOf({ batch: 1, numHeads: 8, seqLenQ: 200, seqLenKv: 300, headDim: 64 });
const expected = loadSync({ variant: "simd" }).attention(q, k, v, options).out;

function expectRight(heed: Heed): void {
  expect(heed.attention(q, k, v, options).out).toEqual(expected);
}

/** What Node starts while `body` runs. */
async function workersOf(body: () => Promise<unknown>): Promise<Worker[]> {
  const started: Worker[] = [];
  const listen = (worker: Worker): void => void started.push(worker);
  process.on("worker", listen);
  try {
    await body();
  } finally {
    process.off("worker", listen);
  }
  return started;
}

const ended = (worker: Worker) => new Promise((resolve) => worker.once("exit", resolve));

describe("load with threads", () => {
  afterEach(() => void vi.unstubAllGlobals());

  it("has as many as it was asked for", async () => {
    const workers = await workersOf(async () => {
      using heed = await loadThreads({ variant: "simd", threads: 3 });
      expect([heed.threads, heed.threadsReason]).toEqual([3, undefined]);
      expectRight(heed);
    });
    expect(workers.length % 2).toBe(0);
    expect(workers.length).toBeGreaterThan(0);
  });

  it.each([[undefined], [false], [1]])("starts no worker for threads: %s", async (threads) => {
    const workers = await workersOf(async () => {
      using heed = await load({ variant: "simd", threads });
      expect([heed.threads, heed.threadsReason]).toEqual([1, undefined]);
      expect(heed.tensor(1).data.buffer).toBeInstanceOf(ArrayBuffer);
    });
    expect(workers).toEqual([]);
  });

  it("takes half of the processors, at most four, for true", async () => {
    vi.stubGlobal("navigator", { hardwareConcurrency: 6 });
    using heed = await loadThreads({ variant: "simd", threads: true });
    expect(heed.threads).toBe(3);
  });

  it.each([0, 65, 1.5, NaN])("refuses threads: %s", async (threads) => {
    await expect(load({ threads })).rejects.toThrow(/^"threads" expected an integer/);
  });

  it("refuses what is no number", async () => {
    await expect(load({ threads: "2" as unknown as number })).rejects.toThrow(/^"threads" expected/);
  });

  it("says in loadSync that there are none", () => {
    expect(() => loadSync({ threads: 2 } as object)).toThrow(/^"threads" is no option of loadSync/);
  });

  it("has shared memory, whose views outlive its growth", async () => {
    using heed = await loadThreads({ variant: "simd", threads: 2 });
    const x = heed.tensor(64);
    const before = x.data;
    expect(before.buffer).toBeInstanceOf(SharedArrayBuffer);
    const { reserved } = heed.memory;
    heed.tensor(2 ** 20);
    expect(heed.memory.reserved).toBeGreaterThan(reserved);
    before.fill(3);
    expect(x.data).toEqual(new Float32Array(64).fill(3));
    // It is still linear memory: no place for an output that is returned, and seen to overlap.
    const one = { numHeads: 1, headDim: 64 };
    expect(() => heed.attention(x, x, x, { ...one, out: before })).toThrow(/^"out" expected a Tensor/);
    expect(() => heed.attention(before, before, before, { ...one, out: x })).toThrow(/^"out" expected memory apart/);
    expect(() => heed.rotary(x, { ...one, out: x })).not.toThrow();
  });
});

describe("one thread, and why", () => {
  afterEach(() => void vi.unstubAllGlobals());

  const expectOne = async (reason: RegExp, given: Parameters<typeof load>[0] = {}): Promise<void> => {
    using heed = await loadThreads({ variant: "simd", threads: 2, ...given }, reason);
    expect(heed.threads).toBe(1);
    expect(heed.threadsReason).toMatch(reason);
    expectRight(heed);
  };

  it("where the page is not isolated", async () => {
    vi.stubGlobal("crossOriginIsolated", false);
    await expectOne(/not cross-origin isolated/);
  });

  it("where there is no shared memory", async () => {
    vi.stubGlobal("SharedArrayBuffer", undefined);
    await expectOne(/no shared memory/);
  });

  it("where the build came compiled", async () => {
    const module = new WebAssembly.Module(readFileSync("dist/simd.wasm"));
    await expectOne(/came compiled/, { module });
  });

  it("where the address space is refused", async () => {
    const { Memory } = WebAssembly;
    vi.spyOn(WebAssembly, "Memory").mockImplementation(function (descriptor: WebAssembly.MemoryDescriptor) {
      if (descriptor.shared) throw new RangeError("could not allocate memory");
      return new Memory(descriptor);
    });
    await expectOne(/could not allocate memory/);
    vi.restoreAllMocks();
  });

  it.each([
    ["throws", "throw new Error('no worker today')", /no worker today/],
    ["ends", "process.exit()", /the worker ended/],
    ["gives no answer", "setInterval(() => {}, 1000)", /no answer within 1000 ms/],
    [
      "does not write to the memory",
      "process.getBuiltinModule('worker_threads').parentPort.once('message', function () { this.postMessage('ready') })",
      /does not show what a worker has written/,
    ],
  ])("where a worker %s", async (_, source, reason) => {
    const workers = await workersOf(() => expectOne(reason, { worker: `data:text/javascript,${source}` }));
    for (const worker of workers) if (worker.threadId !== -1) await ended(worker);
  });
});

describe("the end of threads", () => {
  it("ends the workers when the instance is disposed, however often", async () => {
    const workers = await workersOf(async () => {
      const heed = await loadThreads({ variant: "simd", threads: 3 });
      heed.dispose();
      heed.dispose();
      expect(heed.threads).toBe(1);
      expect(() => heed.attention(q, k, v, options)).toThrow(ReferenceError);
    });
    await Promise.all(workers.map(ended));
  });

  it("goes on without a worker that has died", async () => {
    let heed: Heed | undefined;
    const workers = await workersOf(async () => void (heed = await loadThreads({ variant: "simd", threads: 3 })));
    expectRight(heed!);
    await workers[0]!.terminate();
    expect(heed!.threads).toBe(2);
    // Of threads 0 and 2 each has scratch of its own: no other memory changes.
    const { used } = heed!.memory;
    const others = Array.from({ length: 40 }, () => heed!.tensor(20_000));
    for (const other of others) other.data.fill(7);
    for (let i = 0; i < 20; i++) expectRight(heed!);
    for (const other of others) {
      expect(other.data.every((x) => x === 7)).toBe(true);
      other.dispose();
    }
    expect(heed!.memory.used).toBe(used);
    await workers[1]!.terminate();
    expect(heed!.threads).toBe(1);
    expectRight(heed!);
    heed!.dispose();
  });

  it("does the items of a worker that hangs in the middle of a call", async () => {
    // It takes an item and never comes back. Words 0, 2 and 3 are LEFT, EPOCH and READY of threads/control.ts.
    const hanging = `const { parentPort } = process.getBuiltinModule("worker_threads");
      parentPort.once("message", ({ memory, control }) => {
        const words = new Int32Array(memory.buffer, control, 16);
        Atomics.add(words, 3, 1);
        parentPort.postMessage("ready");
        while (Atomics.sub(words, 0, 1) <= 0) Atomics.wait(words, 2, Atomics.load(words, 2));
        for (;;);
      });`;
    using heed = await loadThreads({
      variant: "simd",
      threads: 2,
      worker: `data:text/javascript,${encodeURIComponent(hanging)}`,
    });
    expect(heed.threads).toBe(2);
    // On a busy machine the caller may have done all items before the worker wakes.
    for (let calls = 0; heed.threads === 2 && calls < 1000; calls++) expectRight(heed);
    expect(heed.threads).toBe(1);
    expectRight(heed);
  });

  it("lets a process end that forgot to dispose", () => {
    const index = JSON.stringify(fileURLToPath(new URL("../../dist/index.js", import.meta.url)));
    const source = `const { load } = await import(${index}); let heed;
      do heed = await load({ threads: 2 }); while (heed.threads === 1); // a busy machine
      console.log(heed.threads);`;
    expect(execFileSync(process.execPath, ["--input-type=module", "-e", source], { timeout: 20_000 }).toString()).toBe(
      "2\n",
    );
  });

  it("leaves no worker behind after 40 loads", async () => {
    const workers = await workersOf(async () => {
      for (let i = 0; i < 40; i++) (await load({ variant: "simd", threads: 2 })).dispose();
    });
    expect(workers).toHaveLength(40);
    await Promise.all(workers.filter(({ threadId }) => threadId !== -1).map(ended));
  });
});
