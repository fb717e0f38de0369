// A worker of beside.ts: calls once for every change of EPOCH.
import { parentPort, workerData } from "node:worker_threads";
import { load } from "heed";
import type { Variant } from "../peers/heed.ts";
import { type BesideTask, DONE, EPOCH, WHICH } from "./beside.ts";
import { contendersOf } from "./threads.ts";

const { variant, one, words: buffer } = workerData as BesideTask;
const words = new Int32Array(buffer);
const contenders = contendersOf(await load({ variant: variant as Variant }), one);
parentPort!.postMessage("ready");
for (let epoch = 0; ;) {
  Atomics.wait(words, EPOCH, epoch);
  const now = Atomics.load(words, EPOCH);
  if (now === epoch) continue;
  epoch = now;
  contenders[Atomics.load(words, WHICH)]!.run();
  Atomics.add(words, DONE, 1);
  Atomics.notify(words, DONE);
}
