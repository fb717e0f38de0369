// The body of a worker: build.js bundles it into a string, from which pool.ts starts it, and into dist/worker.js for
// pages whose Content-Security-Policy wants a file.

import type { Kernels } from "../engine/abi.ts";
import { Control, EPOCH, READY } from "./control.ts";

/** What a worker is sent once. */
export interface Start {
  /** The build, and the module of `linear` where the instance has it. */
  modules: readonly [WebAssembly.Module, WebAssembly.Module | undefined];
  memory: WebAssembly.Memory;
  control: number;
  thread: number;
}

interface Port {
  postMessage(message: unknown): void;
  addEventListener?(type: "message", listener: (event: { data: Start }) => void): void;
  on?(type: "message", listener: (message: Start) => void): void;
}
interface Node {
  process?: { getBuiltinModule?(name: "worker_threads"): { parentPort: Port | null } };
}

const port: Port = (globalThis as Node).process?.getBuiltinModule?.("worker_threads").parentPort ?? globalThis;

/** Waits for calls and takes part in them, until the worker is terminated. */
function start({ modules, memory, control: address, thread }: Start): void {
  const [kernels, fused] = modules.map(
    (module) => module && new WebAssembly.Instance(module, { env: { memory } }).exports,
  );
  const all = { ...kernels, ...fused } as unknown as Kernels;
  const control = new Control(memory.buffer, address);
  let epoch = Atomics.load(control.words, EPOCH);
  Atomics.add(control.words, READY, 1);
  port.postMessage("ready");
  for (;;) {
    Atomics.wait(control.words, EPOCH, epoch);
    epoch = Atomics.load(control.words, EPOCH);
    control.work(all, thread);
    control.follow(all, memory, thread);
  }
}

if (port.on) port.on("message", start);
else port.addEventListener!("message", ({ data }) => start(data));
