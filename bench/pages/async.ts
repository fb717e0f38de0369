// The page of `--async`: calls of heed on the main thread, and how long they hold it up. cases/async.ts drives it.
import { type AsyncOptions, type Heed, load } from "heed";
import { openTurns } from "../../bindings/steps/give-way.ts";
import { makeProblem, shape } from "../harness/problem.ts";

/** What cases/async.ts calls in the page. */
export interface AsyncPage {
  /** Loads heed and makes the inputs. Says how many threads it has, and why not as many as it was asked for. */
  open(dims: string, threads: number): Promise<{ variant: string; threads: number; reason: string }>;
  /** Milliseconds of one call. With `watched` between two marks, with a heartbeat beside it. */
  call(how: "attention" | "attentionAsync", watched: boolean): Promise<Call>;
  /** A loop of as many milliseconds that computes nothing, and gives the thread back as often and by the same way. */
  idle(ms: number): Promise<Idle>;
  /** A call with an abort that is due `after` milliseconds into it. */
  abort(after: number): Promise<Aborted>;
  close(): void;
}

export interface Call {
  ms: number;
  /** Calls of onProgress. */
  slices: number;
  /** The longest time without a message, and without a frame, where it was watched. */
  messageGap: number;
  frameGap: number;
}

export interface Idle {
  /** The time in all by that in the loop: what the page and the browser take between two slices. */
  overLoop: number;
  /** The longest time without a message. */
  messageGap: number;
}

export interface Aborted {
  /** Milliseconds from when the abort was due until the promise settled: that a timer waits for the thread counts. */
  ms: number;
  /** Whether the call ended by it, and not by having come to its end. */
  rejected: boolean;
}

/** The marks around a watched call. */
export const MARKS = { start: "heed-start", end: "heed-end" } as const;

/** As `budgetMs` is by default. */
const SLICE_MS = 8;

let heed: Heed | undefined;
let problem: ReturnType<typeof makeProblem>;

const optionsOf = () => ({ numHeads: problem.shape.numHeads, headDim: problem.shape.headDim });

function startAsync(options: AsyncOptions): Promise<unknown> {
  return heed!.attentionAsync(problem.q, problem.k, problem.v, { ...optionsOf(), ...options });
}

const page: AsyncPage = {
  async open(dims, threads) {
    heed = await load({ threads });
    problem = makeProblem(shape(dims));
    const { variant, threadsReason: reason = "" } = heed;
    return { variant, threads: heed.threads, reason };
  },
  async call(how, watched) {
    const heart = watched ? startHeart() : undefined;
    // What the page has had to do is done before.
    await new Promise((resolve) => setTimeout(resolve, 50));
    performance.mark(MARKS.start);
    heart?.reset();
    const start = performance.now();
    let slices = 0;
    if (how === "attention") heed!.attention(problem.q, problem.k, problem.v, optionsOf());
    else await startAsync({ onProgress: () => slices++ });
    const ms = performance.now() - start;
    // The beat that waited while the call ran counts too.
    if (heart) await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    performance.mark(MARKS.end);
    return { ms, slices, ...(heart?.stop() ?? { messageGap: 0, frameGap: 0 }) };
  },
  async idle(ms) {
    const loop = async (): Promise<number> => {
      const turns = openTurns();
      const start = performance.now();
      let inLoop = 0;
      for (let now = start; now - start < ms; now = performance.now()) {
        const end = now + SLICE_MS;
        while (performance.now() < end);
        inLoop += performance.now() - now;
        await turns.give();
      }
      turns.close();
      return (performance.now() - start) / inLoop;
    };
    // Once without a heartbeat, which takes time itself.
    const overLoop = await loop();
    const heart = startHeart();
    await new Promise((resolve) => setTimeout(resolve, 50));
    heart.reset();
    await loop();
    return { overLoop, messageGap: heart.stop().messageGap };
  },
  async abort(after) {
    const controller = new AbortController();
    const call = startAsync({ signal: controller.signal });
    const due = performance.now() + after;
    // In short timers, since Firefox lets one be late by an eighth of its time when the page is busy.
    const wait = (): void => {
      const left = due - performance.now();
      if (left > 0) setTimeout(wait, Math.min(left, 8));
      else controller.abort();
    };
    wait();
    const rejected = await call.then(
      () => false,
      () => true,
    );
    return { ms: performance.now() - due, rejected };
  },
  close() {
    heed?.dispose();
  },
};

/** Messages and frames, one after the other, and the longest time between two. */
function startHeart(): { reset(): void; stop(): { messageGap: number; frameGap: number } } {
  let isBeating = true;
  const gaps = { messageGap: 0, frameGap: 0 };
  const last = { messageGap: performance.now(), frameGap: performance.now() };
  const beat = (of: keyof typeof gaps): void => {
    const now = performance.now();
    gaps[of] = Math.max(gaps[of], now - last[of]);
    last[of] = now;
  };
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    beat("messageGap");
    if (isBeating) port2.postMessage(0);
    else port1.close();
  };
  port2.postMessage(0);
  const frame = (): void => {
    beat("frameGap");
    if (isBeating) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  return {
    reset: () => Object.assign(gaps, { messageGap: 0, frameGap: 0 }),
    stop: () => {
      isBeating = false;
      return gaps;
    },
  };
}

Object.assign(globalThis, { page });
