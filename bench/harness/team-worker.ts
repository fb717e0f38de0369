// A worker of team.ts: calls its function once for every change of EPOCH.
import { parentPort, workerData } from "node:worker_threads";
import { DONE, EPOCH, type Task, instantiate } from "./team.ts";

const task = workerData as Task;
const words = new Int32Array(task.words);
const call = await instantiate(task);
parentPort!.postMessage("ready");
for (let epoch = 0; ;) {
  Atomics.wait(words, EPOCH, epoch);
  const now = Atomics.load(words, EPOCH);
  if (now === epoch) continue;
  epoch = now;
  call();
  Atomics.add(words, DONE, 1);
  Atomics.notify(words, DONE);
}
