// Fills a conversation with tokens, among them one that is asked for later, and says what each step cost:
//   npm run demo -- [url] [tokens]
import { rows } from "../shard-threads/compare.ts";
import { send } from "./client.ts";

const [base = "http://localhost:8787", tokens = "64000"] = process.argv.slice(2);
const url = `${base}/demo-${Date.now()}`;
const count = Number(tokens);
const [kvHeads, dim] = [8, 64];
const width = kvHeads * dim;
const PIECE = 2000;
const planted = Math.floor(count / 3);

/** A direction that no other key has, and what is to be found there. */
const key = rows(1, width, 0, 99).map((x) => 3 * x);
const value = new Float32Array(width).fill(7);

const start = performance.now();
const cost = { calls: 0, bytes: 0 };
let length = 0;
while (length < count) {
  const piece = Math.min(PIECE, count - length);
  const [k, v] = [rows(piece, width, length, 1), rows(piece, width, length, 2)];
  if (planted >= length && planted < length + piece) {
    k.set(key, (planted - length) * width);
    v.set(value, (planted - length) * width);
  }
  const outcome = await send(url, { op: "append", k, v });
  cost.calls += outcome.calls;
  cost.bytes += outcome.bytes;
  ({ length } = outcome);
}
const seconds = (performance.now() - start) / 1000;
console.log(`${length} tokens appended, ${PIECE} at a time, in ${seconds.toFixed(1)} s: ${show(cost)}`);

const before = performance.now();
const asked = await send(url, { op: "attend", q: key, numHeads: kvHeads, causal: true });
const ms = performance.now() - before;
const found = asked.out!.reduce((sum, x) => sum + x, 0) / width;
console.log(
  `asked for the one at ${planted}: ${found.toFixed(3)} of ${value[0]} came back, in ${ms.toFixed(0)} ms: ${show(asked)}`,
);

const again = performance.now();
const one = await send(url, { op: "append", k: rows(1, width, length, 1), v: rows(1, width, length, 2) });
console.log(`one more token in ${(performance.now() - again).toFixed(0)} ms: ${show(one)}\n`);

type Stand = { length: number; memory: number; stored: number };
const stand = (await (await fetch(url)).json()) as Stand[];
stand.forEach((place, n) => {
  const [memory, stored] = [place.memory, place.stored].map((bytes) => (bytes / 1e6).toFixed(1));
  console.log(`object ${n}: ${place.length} tokens, ${memory} MB of memory, ${stored} MB stored`);
});

function show({ calls, bytes }: { calls: number; bytes: number }): string {
  return `${calls} calls of objects, ${(bytes / 1000).toFixed(1)} kB`;
}
