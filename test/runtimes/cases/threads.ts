// Threads on shared memory: two where the host can have them, and else one and the reason.
import { load } from "heed";
import { LEFT, MAX_ITEMS } from "../../../bindings/threads/control.ts";
import { problemOf } from "../../support/problems.ts";
import { goldenCalls, goldenHashes, hashOf } from "../golden-bits.ts";
import { type Cases, type Heed, expect, expectError } from "./expect.ts";

interface Globals {
  crossOriginIsolated?: boolean;
  location?: { search: string };
  navigator?: { userAgent?: string };
  process?: object;
  EdgeRuntime?: unknown;
  SharedArrayBuffer?: unknown;
  Worker?: unknown;
}
const globals = globalThis as Globals;

/** Why this host has one thread, from what it is rather than from what heed says. */
function whyOne(): string | undefined {
  const isEdge = globals.navigator?.userAgent === "Cloudflare-Workers" || globals.EdgeRuntime !== undefined;
  if (isEdge) return "this host has no threads"; // what the entries of these hosts say
  if (!globals.Worker && !globals.process) return "the host has no workers"; // a service worker
  if (globals.crossOriginIsolated === false) return "the page is not cross-origin isolated";
  return globals.SharedArrayBuffer ? undefined : "the host has no shared memory"; // WebKitGTK, in isolated pages too
}

/** ?worker=URL: where a page has the file of the worker, whose policy wants one. */
const worker = () => new URLSearchParams(globals.location?.search).get("worker") ?? undefined;

/** An instance that was asked for two threads. A busy host may take longer than the second that a worker has. */
async function loadTwo(): Promise<Heed> {
  for (let left = 5; ; left--) {
    const heed = await load({ variant: "simd", threads: 2, worker: worker() });
    if (left === 0 || heed.threads === 2 || !heed.threadsReason?.includes("no answer")) return heed;
    heed.dispose();
  }
}

const large = problemOf({ batch: 1, numHeads: 4, seqLenQ: 200, seqLenKv: 300, headDim: 64 });

/** How many items `call` handed out, and how many of them the calling thread did. */
function countItems(call: () => void): { all: number; own: number } {
  const { store } = Atomics;
  let [all, own] = [0, 0];
  Atomics.store = ((array: Int32Array, index: number, value: number) => {
    if (array.length === MAX_ITEMS) own++;
    else if (index === LEFT) all += value;
    return store(array, index, value);
  }) as typeof store;
  try {
    call();
  } finally {
    Atomics.store = store;
  }
  return { all, own };
}

export const threadCases: Cases = {
  "two threads where the host has them, else the reason": async () => {
    const heed = await loadTwo();
    const reason = whyOne();
    expect(heed.threadsReason === reason, `the reason ${reason}, got ${heed.threadsReason}`);
    expect(heed.threads === (reason === undefined ? 2 : 1), `${heed.threads} threads`);
    const isShared = !(heed.tensor(1).data.buffer instanceof ArrayBuffer);
    expect(isShared === (reason === undefined), "shared memory where there are threads");
    heed.dispose();
    expect(heed.threads === 1, "no thread after dispose");
  },

  "the same bits on two threads": async () => {
    const heed = await loadTwo();
    for (const [name, call] of Object.entries(goldenCalls)) {
      const hash = hashOf(await call(heed));
      expect(hash === goldenHashes[name], `${name}: ${goldenHashes[name]}, got ${hash}`);
    }
    heed.dispose();
  },

  "a worker that takes part": async () => {
    const heed = await loadTwo();
    const { q, k, v, options } = large;
    // The calling thread may have done all items before the worker wakes.
    for (let calls = 0; ; calls++) {
      const { all, own } = countItems(() => heed.attention(q, k, v, options));
      expect(all > 0 === heed.threads > 1, `${all} items on ${heed.threads} threads`);
      if (own < all || heed.threads === 1) break;
      expect(calls < 1000, "an item for the worker, in a thousand calls");
    }
    heed.dispose();
  },

  "dispose in the middle of an asynchronous call on two threads": async () => {
    const heed = await loadTwo();
    const { q, k, v, options } = large;
    const call = heed.attentionAsync(q, k, v, { ...options, budgetMs: 1 });
    heed.dispose();
    await expectError(() => call, ReferenceError, /dispose/);
    const next = await loadTwo();
    expect(next.threads === (whyOne() === undefined ? 2 : 1), "threads of the next instance");
    next.dispose();
  },
};
