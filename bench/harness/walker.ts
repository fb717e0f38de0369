// A program that takes a part of the second-level cache away: node walker.js BYTES. It reads one word of every line of
// its memory, sleeps, and does so again, until it is stopped; now and then it says how many walks it has made.
const LINE_BYTES = 64;
/** Between two walks. The kernel rounds it up by some 50 microseconds. */
const SLEEP_MS = 0.05;
const BATCH = 20;

const words = new Int32Array(Number(process.argv[2]) / 4).fill(1);
const never = new Int32Array(new SharedArrayBuffer(4));

function walk(): number {
  let sum = 0;
  for (let at = 0; at < words.length; at += LINE_BYTES / 4) sum += words[at]!;
  return sum;
}

for (let n = 0; n < 1000; n++) walk();
process.on("disconnect", () => process.exit());
for (let sum = 0; ;) {
  for (let n = 0; n < BATCH; n++) {
    sum += walk();
    Atomics.wait(never, 0, 0, SLEEP_MS);
  }
  process.send!({ walks: BATCH, sum });
  await new Promise(setImmediate);
}

export {};
