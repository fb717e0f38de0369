// The cases in a worker thread, so that the threads of heed are workers of a worker.
import { Worker, isMainThread, parentPort } from "node:worker_threads";
import { runCases } from "../cases.js";

if (isMainThread) new Worker(new URL(import.meta.url)).on("message", (report) => console.log(JSON.stringify(report)));
else parentPort?.postMessage(await runCases());
