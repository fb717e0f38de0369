// What the program is doing, on standard error: one line that changes where that is a terminal, else a line for each
// stage and, where a stage is long, one more every ten seconds.
import { once } from "node:events";
import { writeSync } from "node:fs";
import { Worker } from "node:worker_threads";

const STDERR = 2;
const ERASE_LINE = "\r\x1b[2K";
const isTerminal = process.stderr.isTTY;
const [before, after] = isTerminal ? [`${ERASE_LINE}read: `, " …"] : ["read: ", " …\n"];
/** Milliseconds between two lines about one stage. */
const PACE = isTerminal ? 100 : 10_000;

/** Runs in a thread of its own. */
const WATCHER = `
const { writeSync } = require("node:fs");
const { stderr, what, expected, before, after, pace } = require("node:worker_threads").workerData;
const start = Date.now();
setInterval(() => {
  const taken = Math.round((Date.now() - start) / 1000);
  try {
    writeSync(stderr, before + what + ": " + taken + " s of about " + expected + " s" + after);
  } catch {}
}, pace);
`;

let saidAt = -Infinity;

/** Says what begins now. */
export function stage(what: string): void {
  saidAt = performance.now();
  say(before + what + after);
}

/** Says how much of a stage is done, but not too often. */
export function step(what: string, done: number, all: number): void {
  if (performance.now() - saidAt >= PACE) stage(`${what}: ${Math.floor((100 * done) / all)} %`);
}

/**
 * Makes a call during which nothing else runs in this thread; another says how many of the expected seconds have
 * passed.
 */
export async function watch<T>(what: string, expected: number, call: () => T): Promise<T> {
  const rounded = Math.max(1, Math.round(expected));
  stage(`${what}: about ${rounded} s`);
  const workerData = { stderr: STDERR, what, expected: rounded, before, after, pace: PACE };
  const watcher = new Worker(WATCHER, { eval: true, workerData });
  try {
    await once(watcher, "online");
    return call();
  } finally {
    await watcher.terminate();
  }
}

/** Takes the line away: what follows belongs to standard output. */
export function finish(): void {
  if (isTerminal) say(ERASE_LINE);
}

function say(text: string): void {
  try {
    writeSync(STDERR, text);
  } catch {
    // Nobody reads it: then nobody needs it.
  }
}
